//! The Lease that replicas elect their writer by, and the lock that the original registrar used before Leases.
//!
//! Every request is one HTTP request with a deadline; nothing is tried again here, since the machine counts from when a
//! request was sent.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{ConfigMap, Endpoints},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, api::PostParams};
use registrar_core::leader::{Answer, Failed, Record, Request, Version, Write, WriteFailure};
use serde::Deserialize;

use super::access::needs;
use crate::causes::causes;

/// Where the lock was before Leases: on a ConfigMap or Endpoints object of the Lease's name.
const OLD_LOCK: &str = "control-plane.alpha.kubernetes.io/leader";
const ABSENT: u16 = 404;
const CONFLICT: u16 = 409;
const FORBIDDEN: u16 = 403;

/// One Lease, and the old locks of the same name.
#[derive(Debug)]
pub struct LeaseLock {
    name: String,
    namespace: String,
    leases: Api<Lease>,
    config_maps: Api<ConfigMap>,
    endpoints: Api<Endpoints>,
    deadline: Duration,
    /// As last read: what people wrote into its metadata stays when it is replaced.
    last: Option<Lease>,
}

/// A request's answer, and what people should know about it.
#[derive(Debug)]
pub struct Performed {
    /// For the election.
    pub answer: Answer,
    /// Why there is no better answer.
    pub trouble: Option<String>,
}

impl LeaseLock {
    /// The Lease `name` of `namespace`. `client` must not try again by itself.
    pub fn new(client: Client, namespace: &str, name: &str, deadline: Duration) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            leases: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client.clone(), namespace),
            endpoints: Api::namespaced(client, namespace),
            deadline,
            last: None,
        }
    }

    /// Performs one request of the election.
    pub async fn perform(&mut self, request: Request) -> Performed {
        let deadline = self.deadline;
        let late = match &request {
            Request::Read => Answer::Lease(Err(Failed)),
            Request::ReadOldLocks => Answer::OldLocks(Err(Failed)),
            Request::Write(_) => Answer::Written(Err(WriteFailure::Unknown)),
        };
        let performed = tokio::time::timeout(deadline, async {
            match request {
                Request::Read => self.read().await,
                Request::ReadOldLocks => self.read_old_locks().await,
                Request::Write(write) => self.write(write).await,
            }
        })
        .await;
        performed.unwrap_or_else(|_| Performed {
            answer: late,
            trouble: Some(format!(
                "{}: the API server did not answer within {deadline:?}",
                self.shown()
            )),
        })
    }

    async fn read(&mut self) -> Performed {
        match self.leases.get_opt(&self.name).await {
            Ok(found) => {
                let read = found.as_ref().map(|l| (version(l), record(l)));
                self.last = found;
                told(Answer::Lease(Ok(read)))
            }
            Err(error) => self.failed(Answer::Lease(Err(Failed)), &error),
        }
    }

    async fn write(&mut self, write: Write) -> Performed {
        let lease = self.replacement(&write);
        let params = PostParams::default();
        let written = match &write.version {
            None => self.leases.create(&params, &lease).await,
            Some(_) => self.leases.replace(&self.name, &params, &lease).await,
        };
        match written {
            Ok(lease) => {
                let stored = (version(&lease), record(&lease));
                self.last = Some(lease);
                told(Answer::Written(Ok(stored)))
            }
            Err(kube::Error::Api(status)) if matches!(status.code, ABSENT | CONFLICT) => {
                // A namespace that is not there answers so, too: that will not mend itself.
                let trouble = (write.version.is_none() && status.code == ABSENT)
                    .then(|| format!("{}: {}", self.shown(), status.message));
                let failure = match trouble {
                    Some(_) => WriteFailure::Unknown,
                    None => WriteFailure::Conflict,
                };
                Performed {
                    answer: Answer::Written(Err(failure)),
                    trouble,
                }
            }
            Err(error) => self.failed(Answer::Written(Err(WriteFailure::Unknown)), &error),
        }
    }

    fn replacement(&self, write: &Write) -> Lease {
        let metadata = match (&self.last, &write.version) {
            (Some(last), Some(_)) => ObjectMeta {
                managed_fields: None,
                ..last.metadata.clone()
            },
            _ => ObjectMeta::default(),
        };
        let now = Timestamp::now();
        let acquired = write
            .acquired
            .as_deref()
            .and_then(|t| t.parse().ok())
            .unwrap_or(now);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: write.version.as_deref().map(str::to_owned),
                ..metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(write.holder.to_string()),
                lease_duration_seconds: i32::try_from(write.duration.as_secs()).ok(),
                acquire_time: Some(MicroTime(acquired)),
                renew_time: Some(MicroTime(now)),
                lease_transitions: i32::try_from(write.transitions).ok(),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn read_old_locks(&mut self) -> Performed {
        let mut found = Vec::new();
        let config_map = old_lock(&self.config_maps, &self.name).await;
        let endpoints = old_lock(&self.endpoints, &self.name).await;
        for (kind, lock) in [("ConfigMap", config_map), ("Endpoints", endpoints)] {
            match lock {
                Ok(record) => found.extend(record.map(|r| (kind, r))),
                Err(error) => return self.failed(Answer::OldLocks(Err(Failed)), &error),
            }
        }
        told(Answer::OldLocks(Ok(found)))
    }

    fn shown(&self) -> String {
        format!("Lease {}/{}", self.namespace, self.name)
    }

    fn failed(&self, answer: Answer, error: &kube::Error) -> Performed {
        let remedy = match error {
            kube::Error::Api(status) if matches!(status.code, 401 | FORBIDDEN) => {
                let name = &self.name;
                let needed = format!(
                    "create on leases (coordination.k8s.io), and get and update on {name:?}"
                );
                format!("; {}", needs(&needed))
            }
            _ => String::new(),
        };
        Performed {
            answer,
            trouble: Some(format!("{}: {}{remedy}", self.shown(), causes(error))),
        }
    }
}

fn told(answer: Answer) -> Performed {
    Performed {
        answer,
        trouble: None,
    }
}

fn version(lease: &Lease) -> Version {
    lease
        .metadata
        .resource_version
        .as_deref()
        .unwrap_or_default()
        .into()
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let text = |time: Option<MicroTime>| -> Arc<str> {
        time.map_or_else(String::new, |t| t.0.to_string()).into()
    };
    Record {
        holder: spec.holder_identity.unwrap_or_default().into(),
        duration: seconds(spec.lease_duration_seconds.map(i64::from)),
        transitions: spec
            .lease_transitions
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_default(),
        acquired: text(spec.acquire_time),
        renewed: text(spec.renew_time),
    }
}

fn seconds(written: Option<i64>) -> Duration {
    Duration::from_secs(written.and_then(|s| u64::try_from(s).ok()).unwrap_or(0))
}

/// The lock in an object's annotation, if the object is there and has one.
async fn old_lock<K>(api: &Api<K>, name: &str) -> kube::Result<Option<Record>>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    match api.get_metadata_opt(name).await {
        Ok(found) => Ok(found
            .and_then(|f| f.metadata.annotations)
            .and_then(|mut a| a.remove(OLD_LOCK))
            .map(|text| old_record(&text))),
        // The role that let the original hold such a lock lets us read it: where we may not, there is none.
        Err(kube::Error::Api(status)) if status.code == FORBIDDEN => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct OldRecord {
    #[serde(rename = "holderIdentity", default)]
    holder: String,
    #[serde(rename = "leaseDurationSeconds", default)]
    duration: i64,
    #[serde(rename = "acquireTime", default)]
    acquired: Option<String>,
    #[serde(rename = "renewTime", default)]
    renewed: Option<String>,
}

fn old_record(text: &str) -> Record {
    match serde_json::from_str::<OldRecord>(text) {
        Ok(old) => Record {
            holder: old.holder.into(),
            duration: seconds(Some(old.duration)),
            transitions: 0,
            acquired: old.acquired.unwrap_or_default().into(),
            renewed: old.renewed.unwrap_or_default().into(),
        },
        // Somebody's, whatever it says: honoured as long as it keeps changing.
        Err(_) => Record {
            holder: "unreadable".into(),
            renewed: text.into(),
            ..Record::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_lock_is_read_as_the_original_wrote_it() {
        let text = r#"{"holderIdentity":"pod-0_1","leaseDurationSeconds":15,"acquireTime":"2022-01-01T00:00:00Z","renewTime":"2022-01-01T00:00:02Z","leaderTransitions":3}"#;
        let record = old_record(text);
        assert_eq!(&*record.holder, "pod-0_1");
        assert_eq!(record.duration, Duration::from_secs(15));
        assert_eq!(&*record.renewed, "2022-01-01T00:00:02Z");
    }

    #[test]
    fn an_old_lock_that_cannot_be_read_is_somebodys() {
        for text in ["", "{", "[1]", r#"{"holderIdentity":7}"#] {
            assert!(!old_record(text).holder.is_empty(), "{text}");
        }
        let negative = r#"{"holderIdentity":"a","leaseDurationSeconds":-5}"#;
        assert_eq!(old_record(negative).duration, Duration::ZERO);
    }
}
