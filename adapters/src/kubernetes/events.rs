//! Kubernetes Events on the objects that are held, refused, or get less than they asked for.

use std::time::Duration;

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use registrar_core::cluster::{Kind, ObjectKey, SPIFFE_ID_API_VERSION, Uid};
use tokio::sync::mpsc;

use super::access::needs;
use crate::causes::causes;

/// Events waiting to be written; more are dropped and counted.
const QUEUE: usize = 256;
/// Kubernetes takes this many bytes.
const LONGEST_NOTE: usize = 1024;
/// At most ten a second: what tenants write must not become a load on the API server.
const PAUSE: Duration = Duration::from_millis(100);

/// The object that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regarding {
    /// `v1`, for example.
    pub api_version: &'static str,
    /// `Pod`, for example.
    pub kind: &'static str,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl From<&ObjectKey> for Regarding {
    fn from(key: &ObjectKey) -> Self {
        Self {
            api_version: match key.kind {
                Kind::Pod | Kind::Node => "v1",
                Kind::EndpointSlice => "discovery.k8s.io/v1",
                Kind::SpiffeId => SPIFFE_ID_API_VERSION,
            },
            kind: key.kind.name(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }
}

/// One Event to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventNote {
    /// About which object; its Event lives in its namespace (a node's in `default`).
    pub object: Regarding,
    /// Its UID, if it is known.
    pub uid: Option<Uid>,
    /// Whether it is a `Warning`; else `Normal`.
    pub warning: bool,
    /// In CamelCase.
    pub reason: String,
    /// For people.
    pub note: String,
}

/// Queues Events and never waits for the API server.
#[derive(Debug, Clone)]
pub struct EventPublisher {
    /// `None`: nobody is told.
    queue: Option<mpsc::Sender<EventNote>>,
}

impl EventPublisher {
    /// A publisher that tells nobody: where we know no API server.
    pub fn silent() -> Self {
        Self { queue: None }
    }

    /// A publisher, and the task that writes for it (to be spawned). `failed` is told why an Event could not be written.
    pub fn new(
        client: Client,
        instance: String,
        failed: impl Fn(String) + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut notes) = mpsc::channel::<EventNote>(QUEUE);
        let task = async move {
            while let Some(note) = notes.recv().await {
                let namespace = match &*note.object.namespace {
                    "" => "default".to_owned(),
                    namespace => namespace.to_owned(),
                };
                let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
                let event = event(&note, &namespace, &instance, Timestamp::now());
                if let Err(error) = api.create(&PostParams::default(), &event).await {
                    let why = causes(&error);
                    let remedy = match error {
                        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                            format!("; {}", needs("create on events (events.k8s.io)"))
                        }
                        _ => String::new(),
                    };
                    failed(format!(
                        "an Event on {} {}/{} cannot be written: {why}{remedy}",
                        note.object.kind, note.object.namespace, note.object.name
                    ));
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        (Self { queue: Some(queue) }, task)
    }

    /// Whether half of the queue is free: whoever has been told of enough leaves the other half to others.
    pub fn has_room(&self) -> bool {
        self.queue
            .as_ref()
            .is_none_or(|queue| queue.capacity() >= QUEUE / 2)
    }

    /// Queues one. Returns whether there was room.
    pub fn publish(&self, note: EventNote) -> bool {
        self.queue
            .as_ref()
            .is_none_or(|queue| queue.try_send(note).is_ok())
    }
}

fn event(note: &EventNote, namespace: &str, instance: &str, now: Timestamp) -> Event {
    // The API server appends five characters; what it appends to must be a legal beginning of a name.
    let prefix: String = note.object.name.chars().take(200).collect();
    let prefix = prefix.trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Register".into()),
        event_time: Some(MicroTime(now)),
        note: Some(shortened(&note.note)),
        reason: Some(note.reason.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(note.object.api_version.into()),
            kind: Some(note.object.kind.into()),
            name: Some(note.object.name.clone()),
            namespace: Some(note.object.namespace.clone()).filter(|n| !n.is_empty()),
            uid: note.uid.as_ref().map(ToString::to_string),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("k8s-workload-registrar".into()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}

/// At most what Kubernetes takes, cut between characters.
fn shortened(note: &str) -> String {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_while_half_of_the_queue_is_free_and_who_needs_none_may_fill_it() {
        let (queue, _notes) = mpsc::channel(QUEUE);
        let publisher = EventPublisher { queue: Some(queue) };
        let note = EventNote {
            object: Regarding {
                api_version: "v1",
                kind: "Pod",
                namespace: "ns".into(),
                name: "a".into(),
            },
            uid: None,
            warning: true,
            reason: "IllegalPath".into(),
            note: "why".into(),
        };
        for n in 0..QUEUE {
            assert_eq!(publisher.has_room(), n <= QUEUE / 2, "after {n}");
            assert!(publisher.publish(note.clone()), "after {n}");
        }
        assert!(!publisher.publish(note));
        assert!(EventPublisher::silent().has_room());
    }
}
