//! Lists a kind completely, then watches it from there on; and again, whenever the watch cannot be resumed.
//!
//! A list that fails, is cut short, or is older than what was seen never ends in [`Event::RelistDone`]: what it did not show
//! is not absent.

use std::{sync::Arc, time::Duration};

use futures::{AsyncBufReadExt, StreamExt};
use kube::Client;
use registrar_core::{cluster::Kind, policy::WantedMetadata, sync::Event};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::Instant};

use super::{access::needs, newest::Newest};
use crate::{causes::causes, objects::decode};

/// Objects in a page: what kubectl and client-go ask for.
const PAGE: usize = 500;
/// The API server ends a watch after this long; then it is resumed.
const WATCH_SECONDS: u64 = 290;
/// The same while an object is there whose very name or UID cannot be read: then absence proves nothing until a list
/// without such an object was read, so another list is due soon.
const BLIND_WATCH_SECONDS: u64 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Watched {
    /// For the step machine.
    Event(Event),
    /// A list or watch failed and is tried again.
    Failed {
        /// Of which kind.
        kind: Kind,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// The API server's or the transport's words.
        why: String,
    },
}

/// Watches one kind until the receiver is gone.
pub async fn watch(
    client: Client,
    kind: Kind,
    wanted: Arc<WantedMetadata>,
    out: mpsc::Sender<Watched>,
) {
    let mut watcher = Watcher {
        client,
        kind,
        wanted,
        out,
        blind: false,
        newest: Newest::default(),
    };
    let mut pause = FIRST_PAUSE;
    let mut resume_from: Option<String> = None;
    loop {
        let begun = Instant::now();
        let result = match resume_from.take() {
            None => watcher.list().await,
            Some(version) => watcher.watch(version).await,
        };
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match result {
            Ok(version) => resume_from = Some(version),
            Err(Trouble::Receiver) => return,
            // Too old to be resumed: what happened since is only to be had from a new list. An API server that says so
            // of every version is not asked without a pause.
            Err(Trouble::Expired) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(Trouble::Failed {
                status,
                why,
                resume,
            }) => {
                let kind = watcher.kind;
                if watcher
                    .out
                    .send(Watched::Failed { kind, status, why })
                    .await
                    .is_err()
                {
                    return;
                }
                resume_from = resume;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

enum Trouble {
    /// Nobody listens any more.
    Receiver,
    /// 410 Gone.
    Expired,
    /// Anything else; `resume` is where a watch can go on.
    Failed {
        status: Option<u16>,
        why: String,
        resume: Option<String>,
    },
}

impl Trouble {
    fn of(error: &kube::Error, resume: Option<String>) -> Self {
        let status = match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        match status {
            Some(410) => Trouble::Expired,
            status => Trouble::Failed {
                status,
                why: causes(error),
                resume,
            },
        }
    }

    fn garbled(what: &str, error: impl std::fmt::Display, resume: Option<String>) -> Self {
        Trouble::Failed {
            status: None,
            why: format!("{what}: {error}"),
            resume,
        }
    }
}

struct Watcher {
    client: Client,
    kind: Kind,
    wanted: Arc<WantedMetadata>,
    out: mpsc::Sender<Watched>,
    /// Whether an object is there whose name or UID cannot be read.
    blind: bool,
    newest: Newest,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
    #[serde(rename = "continue", default)]
    next: String,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct WatchLine<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

#[derive(Deserialize)]
struct ErrorStatus {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// What is to be done about a list or watch of a kind that failed with this status.
pub fn watch_remedy(kind: Kind, status: Option<u16>) -> String {
    match status {
        Some(401 | 403) => {
            let resource = match kind {
                Kind::Node => "nodes",
                Kind::Pod => "pods",
                Kind::EndpointSlice => "endpointslices (discovery.k8s.io)",
                Kind::SpiffeId => "spiffeids (spiffeid.spiffe.io)",
            };
            needs(&format!("list and watch on {resource}"))
        }
        _ => "it is tried again, and nothing is deleted meanwhile".to_owned(),
    }
}

/// Where all objects of a kind are.
pub(super) fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Node => "/api/v1/nodes",
        Kind::Pod => "/api/v1/pods",
        Kind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
        Kind::SpiffeId => "/apis/spiffeid.spiffe.io/v1beta1/spiffeids",
    }
}

impl Watcher {
    async fn send(&mut self, event: Event) -> Result<(), Trouble> {
        self.out
            .send(Watched::Event(event))
            .await
            .map_err(|_| Trouble::Receiver)
    }

    fn request(&self, query: &str) -> Result<http::Request<Vec<u8>>, Trouble> {
        http::Request::get(format!("{}?{query}", path(self.kind)))
            .body(Vec::new())
            .map_err(|e| Trouble::garbled("the request cannot be made", e, None))
    }

    /// Reads every page; returns the version to watch from.
    async fn list(&mut self) -> Result<String, Trouble> {
        self.send(Event::RelistBegan(self.kind)).await?;
        self.blind = false;
        let mut next = String::new();
        loop {
            let request = self.request(&format!("limit={PAGE}&continue={next}"))?;
            let body = self
                .client
                .request_text(request)
                .await
                .map_err(|e| Trouble::of(&e, None))?;
            let page: List<'_> = serde_json::from_str(&body)
                .map_err(|e| Trouble::garbled("the list cannot be read", e, None))?;
            self.newest
                .may_take(&page.metadata.resource_version, Instant::now())
                .map_err(|why| Trouble::Failed {
                    status: None,
                    why,
                    resume: None,
                })?;
            for item in page.items.into_iter().flatten() {
                let event = match decode::object(self.kind, item.get(), &self.wanted) {
                    Ok(object) => Event::Listed(object),
                    Err(undecodable) => *undecodable,
                };
                self.blind |= is_blind(&event);
                self.send(event).await?;
            }
            if page.metadata.next.is_empty() {
                self.send(Event::RelistDone(self.kind)).await?;
                self.newest.seen(&page.metadata.resource_version);
                return Ok(page.metadata.resource_version);
            }
            next = page.metadata.next;
        }
    }

    /// Watches until the API server ends it; returns the version to resume from.
    async fn watch(&mut self, mut version: String) -> Result<String, Trouble> {
        let seconds = if self.blind {
            BLIND_WATCH_SECONDS
        } else {
            WATCH_SECONDS
        };
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}"
        );
        let request = self.request(&query)?;
        let reader = self
            .client
            .request_stream(request)
            .await
            .map_err(|e| Trouble::of(&e, Some(version.clone())))?;
        let mut lines = Box::pin(reader).lines();
        // A connection that died silently says nothing, not even the server's own end of the watch.
        let patience = Duration::from_secs(WATCH_SECONDS + 15);
        loop {
            let line = match tokio::time::timeout(patience, lines.next()).await {
                Ok(Some(Ok(line))) => line,
                Ok(None) if self.blind => return Err(Trouble::Expired),
                Ok(None) => return Ok(version),
                Ok(Some(Err(e))) => {
                    return Err(Trouble::garbled("the watch broke off", e, Some(version)));
                }
                Err(_) => {
                    return Err(Trouble::garbled("the watch went silent", "", Some(version)));
                }
            };
            if line.trim().is_empty() {
                continue;
            }
            self.line(&line, &mut version).await?;
        }
    }

    async fn line(&mut self, line: &str, version: &mut String) -> Result<(), Trouble> {
        let WatchLine { r#type, object } = serde_json::from_str(line)
            .map_err(|e| Trouble::garbled("a watch event cannot be read", e, None))?;
        if r#type == "ERROR" {
            let status: ErrorStatus = serde_json::from_str(object.get()).unwrap_or(ErrorStatus {
                code: 0,
                message: object.get().to_owned(),
            });
            return Err(match status.code {
                410 => Trouble::Expired,
                code => Trouble::Failed {
                    status: Some(code),
                    why: status.message,
                    resume: Some(version.clone()),
                },
            });
        }
        if let Ok(bookmark) = serde_json::from_str::<Bookmark>(object.get())
            && !bookmark.metadata.resource_version.is_empty()
        {
            *version = bookmark.metadata.resource_version;
            self.newest.seen(version);
        }
        let decoded = decode::object(self.kind, object.get(), &self.wanted).map_err(|e| *e);
        let event = match (&*r#type, decoded) {
            ("ADDED" | "MODIFIED", Ok(object)) => Event::Applied(object),
            ("ADDED" | "MODIFIED", Err(undecodable)) => undecodable,
            ("DELETED", Ok(object)) => deleted(&object),
            (
                "DELETED",
                Err(Event::Undecodable {
                    key: Some(key),
                    uid: Some(uid),
                    ..
                }),
            ) => Event::Deleted(key, uid),
            // Which object is gone cannot be told: only a list can.
            ("DELETED", Err(_)) => return Err(Trouble::Expired),
            _ => return Ok(()),
        };
        self.blind |= is_blind(&event);
        self.send(event).await
    }
}

fn is_blind(event: &Event) -> bool {
    matches!(event, Event::Undecodable { key, uid, .. } if key.is_none() || uid.is_none())
}

fn deleted(object: &registrar_core::cluster::Object) -> Event {
    use registrar_core::cluster::{Object, Uid};
    let uid = match object {
        Object::Pod(pod) => pod.uid.clone(),
        Object::Node(node) => node.uid.clone(),
        Object::SpiffeId(resource) => resource.uid.clone(),
        // Slices are replaced as a whole: which one it was does not matter.
        Object::EndpointSlice(_) => Uid::new(""),
    };
    Event::Deleted(object.key(), uid)
}
