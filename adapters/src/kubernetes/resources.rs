//! Writes SpiffeIDs, and reads their definition: performs the core's calls to the Kubernetes API.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use registrar_core::{
    cluster::{SPIFFE_ID_API_VERSION, SPIFFE_ID_FINALIZER, SpiffeIdStatus, Uid},
    ports::{
        AppliedResource, Failure, FailureClass, KubeAnswer, KubeCall, KubeReply, ResourceName,
    },
};
use serde_json::{Value, json};

use super::{access::needs, definition};
use crate::{
    causes::causes,
    objects::spiffe_id::{self, FIELD_MANAGER, SERVICES_MANAGER},
};

/// How long a call may take: as for SPIRE, below lease duration minus renew deadline.
const DEADLINE: Duration = Duration::from_secs(4);

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// The Kubernetes API, as the driver sees it.
#[async_trait]
pub trait KubeApi: Send + Sync {
    /// Performs one call of the core; see [`registrar_core::ports::KubeCall`] for the contract.
    async fn perform(&self, call: KubeCall) -> KubeReply;
}

/// The API server of a client.
#[derive(Clone)]
pub struct SpiffeIds {
    client: Client,
    may_begin: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for SpiffeIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpiffeIds")
    }
}

#[async_trait]
impl KubeApi for SpiffeIds {
    async fn perform(&self, call: KubeCall) -> KubeReply {
        match tokio::time::timeout(DEADLINE, self.answer(&call)).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::new(
                FailureClass::Unknown,
                "the API server did not answer in time",
            )),
        }
    }
}

/// A request that was answered with an error.
struct Refusal {
    status: Option<u16>,
    message: String,
}

impl SpiffeIds {
    /// With this client, which must try nothing again by itself. `may_begin` is asked before each request that writes.
    pub fn new(client: Client, may_begin: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { client, may_begin }
    }

    async fn answer(&self, call: &KubeCall) -> KubeReply {
        let result = match call {
            KubeCall::Apply(resource) => {
                let query = format!("?fieldManager={FIELD_MANAGER}&force=true");
                let body = applied(resource);
                self.patch(&resource.name, &query, APPLY, &body).await
            }
            KubeCall::ApplyNames { name, uid, names } => {
                let query = format!("?fieldManager={SERVICES_MANAGER}&force=true");
                self.patch(name, &query, APPLY, &named(name, uid, names))
                    .await
            }
            KubeCall::TakeOver(name, uid) => self.take_over(name, uid).await,
            KubeCall::Delete(name, uid) => {
                let body = json!({"preconditions": {"uid": uid.as_str()}});
                self.send("DELETE", &path(name), None, &body).await
            }
            KubeCall::SetFinalizers {
                name,
                uid,
                resource_version,
                finalizers,
            } => {
                let body = json!({"metadata": {
                    "uid": uid.as_str(),
                    "resourceVersion": &**resource_version,
                    "finalizers": finalizers.iter().map(|f| &**f).collect::<Vec<_>>(),
                }});
                let query = format!("?fieldManager={FIELD_MANAGER}");
                self.patch(name, &query, MERGE, &body).await
            }
            KubeCall::WriteStatus { name, uid, status } => {
                let body = json!({
                    "metadata": {"uid": uid.as_str()},
                    "status": written_status(status, Timestamp::now()),
                });
                let query = format!("/status?fieldManager={FIELD_MANAGER}");
                self.patch(name, &query, MERGE, &body).await
            }
            KubeCall::ReadDefinition => return self.definition().await,
        };
        match result {
            // Without a name it is no object but the words of a Status: deleted at once.
            Ok(body) => Ok(match spiffe_id::snapshot(&body) {
                Ok(resource) => KubeAnswer::Written(Box::new(resource)),
                Err(_) => KubeAnswer::Gone,
            }),
            Err(refusal) => refused(call, refusal),
        }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &Value,
    ) -> Result<String, Refusal> {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        if method != "GET" && !(self.may_begin)() {
            return Err(Refusal {
                status: None,
                message: "not begun: this replica does not lead any more".into(),
            });
        }
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content_type.unwrap_or("application/json"))
            .body(body)
            .map_err(|e| Refusal {
                status: None,
                message: e.to_string(),
            })?;
        self.client
            .request_text(request)
            .await
            .map_err(|error| match &error {
                kube::Error::Api(status) => Refusal {
                    status: Some(status.code),
                    message: status.message.clone(),
                },
                _ => Refusal {
                    status: None,
                    message: causes(&error),
                },
            })
    }

    async fn patch(
        &self,
        name: &ResourceName,
        query: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<String, Refusal> {
        let path = format!("{}{query}", path(name));
        self.send("PATCH", &path, Some(content_type), body).await
    }

    /// What the original wrote counts as applied by us from now on: its entry in the books becomes ours.
    async fn take_over(&self, name: &ResourceName, uid: &Uid) -> Result<String, Refusal> {
        let text = self.send("GET", &path(name), None, &Value::Null).await?;
        let mut object: Value = serde_json::from_str(&text).unwrap_or_default();
        if object["metadata"]["uid"].as_str() != Some(uid.as_str()) {
            return Err(Refusal {
                status: Some(404),
                message: "another object has its name".into(),
            });
        }
        let version = object["metadata"]["resourceVersion"].take();
        let mut managed = object["metadata"]["managedFields"].take();
        let entries = managed.as_array_mut().into_iter().flatten();
        for entry in entries.filter(|e| {
            e["manager"] == FIELD_MANAGER
                && e["operation"] == "Update"
                && e["subresource"].as_str().unwrap_or_default().is_empty()
        }) {
            entry["operation"] = "Apply".into();
        }
        let body = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": managed},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]);
        self.patch(name, "", JSON_PATCH, &body).await
    }

    async fn definition(&self) -> KubeReply {
        let path = format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}",
            definition::NAME
        );
        match self.send("GET", &path, None, &Value::Null).await {
            Ok(text) => {
                let object: Value = serde_json::from_str(&text).unwrap_or_default();
                Ok(KubeAnswer::Definition(Some(definition::read(&object))))
            }
            Err(Refusal {
                status: Some(404), ..
            }) => Ok(KubeAnswer::Definition(None)),
            Err(refusal) => Err(failure(&refusal)),
        }
    }
}

fn path(name: &ResourceName) -> String {
    format!(
        "/apis/{SPIFFE_ID_API_VERSION}/namespaces/{}/spiffeids/{}",
        name.namespace, name.name
    )
}

fn refused(call: &KubeCall, refusal: Refusal) -> KubeReply {
    // To make one where there is none needs more than the object: its namespace, and the definition.
    let makes = matches!(call, KubeCall::Apply(resource) if resource.uid.is_none());
    match refusal.status {
        Some(404) if !makes => Ok(KubeAnswer::Gone),
        Some(409) => Ok(KubeAnswer::Conflict),
        _ => Err(failure(&refusal)),
    }
}

fn failure(refusal: &Refusal) -> Failure {
    let (class, remedy) = match refusal.status {
        Some(401 | 403) => (
            FailureClass::Denied,
            needs(
                "get on the CustomResourceDefinition, get, create, patch and delete on spiffeids, and patch on \
                 spiffeids/status",
            ),
        ),
        Some(429) | None => (FailureClass::Retry, String::new()),
        Some(status) if status >= 500 => (FailureClass::Retry, String::new()),
        Some(_) => (FailureClass::Permanent, String::new()),
    };
    let message = &refusal.message;
    match remedy.is_empty() {
        true => Failure::new(class, message.clone()),
        false => Failure::new(class, format!("{message}; {remedy}")),
    }
}

fn applied(resource: &AppliedResource) -> Value {
    let (label, value) = &resource.label;
    let mut metadata = json!({
        "namespace": &*resource.name.namespace,
        "name": &*resource.name.name,
        "labels": {*label: value.as_str()},
        "finalizers": [SPIFFE_ID_FINALIZER],
    });
    if let Some(uid) = &resource.uid {
        metadata["uid"] = uid.as_str().into();
    }
    if let Some(owner) = &resource.owner {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "v1",
            "kind": owner.kind,
            "name": &*owner.name,
            "uid": owner.uid.as_str(),
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    let spec = spiffe_id::SpiffeIdSpec::from(&resource.spec);
    json!({
        "apiVersion": SPIFFE_ID_API_VERSION,
        "kind": "SpiffeID",
        "metadata": metadata,
        "spec": spec,
    })
}

/// Names in the list of an object that others wrote; without any, we take back those that we applied.
fn named(name: &ResourceName, uid: &Uid, names: &[Arc<str>]) -> Value {
    let mut object = json!({
        "apiVersion": SPIFFE_ID_API_VERSION,
        "kind": "SpiffeID",
        "metadata": {
            "namespace": &*name.namespace, "name": &*name.name, "uid": uid.as_str(),
        },
    });
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(|n| &**n).collect();
        object["spec"] = json!({ "dnsNames": names });
    }
    object
}

fn written_status(status: &SpiffeIdStatus, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions = status.conditions.iter().map(|c| {
        json!({
            "type": &*c.kind,
            "status": &*c.status,
            "observedGeneration": c.observed_generation,
            "lastTransitionTime": c.last_transition.as_deref().unwrap_or(&now),
            "reason": &*c.reason,
            "message": &*c.message,
        })
    });
    json!({
        // Null takes it out.
        "entryId": status.entry_id.as_deref(),
        "observedGeneration": status.observed_generation,
        "conditions": conditions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use registrar_core::cluster::{Condition, SpiffeIdSpec};
    use registrar_core::ports::Owner;

    use super::*;

    #[test]
    fn what_is_applied_is_an_object_of_the_original() {
        let resource = AppliedResource {
            name: ResourceName::new("apps", "blog"),
            uid: None,
            label: ("podUid", Uid::new("u1")),
            owner: Some(Owner {
                kind: "Pod",
                name: "blog".into(),
                uid: Uid::new("u1"),
            }),
            spec: SpiffeIdSpec {
                parent_id: "spiffe://example.org/p".into(),
                spiffe_id: "spiffe://example.org/s".into(),
                dns_names: vec!["blog".into()],
                ..SpiffeIdSpec::default()
            },
        };
        let expected = json!({
            "apiVersion": "spiffeid.spiffe.io/v1beta1",
            "kind": "SpiffeID",
            "metadata": {
                "namespace": "apps", "name": "blog",
                "labels": {"podUid": "u1"},
                "finalizers": ["finalizers.spiffeid.spiffe.io"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "blog", "uid": "u1",
                    "controller": true, "blockOwnerDeletion": false}],
            },
            "spec": {"parentId": "spiffe://example.org/p", "spiffeId": "spiffe://example.org/s",
                "selector": {}, "dnsNames": ["blog"]},
        });
        assert_eq!(applied(&resource), expected);
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let condition = |last: Option<&str>| Condition {
            kind: "Registered".into(),
            status: "True".into(),
            observed_generation: Some(1),
            last_transition: last.map(Into::into),
            reason: "Registered".into(),
            message: "".into(),
        };
        let status = SpiffeIdStatus {
            entry_id: None,
            observed_generation: Some(1),
            conditions: vec![condition(Some("2026-01-02T03:04:05Z")), condition(None)],
        };
        let now: Timestamp = "2026-02-03T04:05:06.789Z".parse().expect("a time");
        let written = written_status(&status, now);
        assert!(written["entryId"].is_null());
        assert_eq!(
            written["conditions"][0]["lastTransitionTime"],
            "2026-01-02T03:04:05Z"
        );
        assert_eq!(
            written["conditions"][1]["lastTransitionTime"],
            "2026-02-03T04:05:06Z"
        );
    }
}
