//! SpiffeID resources as the API and manifests write them, and from there to the core's snapshots and back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use registrar_core::cluster::{
    self, AppliedFields, Controller, NODE_UID_LABEL, POD_UID_LABEL, SpiffeIdSnapshot, Uid,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// Under which name we apply fields of SpiffeIDs.
pub const FIELD_MANAGER: &str = "k8s-workload-registrar";

/// Under which name we add the names of Services to SpiffeIDs that others wrote.
pub const SERVICES_MANAGER: &str = "k8s-workload-registrar-services";

/// `spec`. The names and types are those of the original registrar's v1beta1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpiffeIdSpec {
    /// The SPIFFE ID of what the entry hangs under.
    pub parent_id: String,
    /// The SPIFFE ID that workloads get.
    pub spiffe_id: String,
    /// Which workloads.
    pub selector: SpiffeIdSelector,
    /// Whether its identity may get a CA certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downstream: Option<bool>,
    /// DNS names of the certificate; the first becomes its common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Trust domains whose bundles the workload gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federates_with: Option<Vec<String>>,
}

/// `spec.selector`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpiffeIdSelector {
    /// The cluster of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The UID of the agent's node.
    #[serde(
        default,
        rename = "agent_node_uid",
        skip_serializing_if = "Option::is_none"
    )]
    pub agent_node_uid: Option<String>,
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_label: Option<BTreeMap<String, String>>,
    /// The pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The pod's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The image of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    /// The name of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The pod's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Further values of selectors of type `k8s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arbitrary: Option<Vec<String>>,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpiffeIdStatus {
    /// The ID of the entry on the SPIRE Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_id: Option<String>,
    /// The generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}

/// A condition of the status, in the usual form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Registered`, for example.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation of the spec that the condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// A word for machines.
    #[serde(default)]
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    name: String,
    #[serde(default)]
    namespace: String,
    // A review of an object that is to be created comes without these.
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    creation_timestamp: Option<String>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(borrow, default)]
    managed_fields: Option<Vec<ManagedFields<'a>>>,
}

#[derive(Deserialize)]
struct OwnerReference {
    kind: String,
    name: String,
    uid: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct ManagedFields<'a> {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    subresource: String,
    #[serde(borrow, rename = "fieldsV1", default)]
    fields: Option<&'a RawValue>,
}

/// A SpiffeID from JSON. What its author wrote into spec and status may be anything; only the metadata must be legible.
///
/// # Errors
/// If the metadata is not.
pub fn snapshot(json: &str) -> serde_json::Result<SpiffeIdSnapshot> {
    let Envelope {
        metadata,
        spec,
        status,
    } = serde_json::from_str(json)?;
    let spec = match spec.map(|raw| serde_json::from_str::<SpiffeIdSpec>(raw.get())) {
        Some(Ok(spec)) => Ok(Arc::new(spec.into())),
        Some(Err(error)) => Err(super::told(&error).into()),
        None => Err("it has no spec".into()),
    };
    let status = status
        .and_then(|raw| serde_json::from_str::<SpiffeIdStatus>(raw.get()).ok())
        .unwrap_or_default();
    let labels = metadata.labels.unwrap_or_default();
    let kept = [POD_UID_LABEL, NODE_UID_LABEL].into_iter();
    let owners = metadata.owner_references.into_iter().flatten();
    Ok(SpiffeIdSnapshot {
        namespace: metadata.namespace.into(),
        name: metadata.name.into(),
        uid: Uid::new(metadata.uid),
        resource_version: metadata.resource_version.into(),
        generation: metadata.generation,
        created: metadata.creation_timestamp.unwrap_or_default().into(),
        deleting: metadata.deletion_timestamp.is_some(),
        finalizers: metadata
            .finalizers
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect(),
        controller: owners
            .filter(|o| o.controller == Some(true))
            .map(|o| Controller {
                kind: o.kind.into(),
                name: o.name.into(),
                uid: Uid::new(o.uid),
            })
            .next(),
        labels: kept
            .filter_map(|key| labels.get(key).map(|v| (key.into(), v.as_str().into())))
            .collect(),
        applied: applied(
            metadata.managed_fields.as_deref().unwrap_or_default(),
            &spec,
        ),
        service_names: service_names(metadata.managed_fields.as_deref().unwrap_or_default()),
        spec,
        status: status.into(),
    })
}

/// What our field manager applied, by the API server's books; else what the original, of the same name, wrote.
fn applied(
    managed: &[ManagedFields<'_>],
    spec: &Result<Arc<cluster::SpiffeIdSpec>, Arc<str>>,
) -> Option<AppliedFields> {
    let by = |operation: &str| {
        managed.iter().find(|m| {
            m.manager == FIELD_MANAGER && m.operation == operation && m.subresource.is_empty()
        })
    };
    let by_us = by("Apply").is_some();
    let ours = by("Apply").or_else(|| by("Update"))?;
    let fields: Value = serde_json::from_str(ours.fields?.get()).ok()?;
    if !by_us && fields["f:spec"].is_null() {
        return None;
    }
    let items = |field: &str, all: &[Arc<str>]| match &fields["f:spec"][field] {
        // A list that is one value to the API server (the original's schema) is ours as a whole.
        Value::Object(items) if items.is_empty() => all.iter().cloned().collect(),
        Value::Object(items) => set_items(items),
        _ => Default::default(),
    };
    let (dns_names, federates_with) = match spec {
        Ok(spec) => (&spec.dns_names[..], &spec.federates_with[..]),
        Err(_) => Default::default(),
    };
    Some(AppliedFields {
        by_us,
        dns_names: items("f:dnsNames", dns_names),
        federates_with: items("f:federatesWith", federates_with),
    })
}

/// The items of a set that a manager applied.
fn set_items(items: &serde_json::Map<String, Value>) -> BTreeSet<Arc<str>> {
    items
        .keys()
        .filter_map(|key| serde_json::from_str::<String>(key.strip_prefix("v:")?).ok())
        .map(Into::into)
        .collect()
}

/// The names of Services that we added.
fn service_names(managed: &[ManagedFields<'_>]) -> BTreeSet<Arc<str>> {
    let ours = managed
        .iter()
        .find(|m| m.manager == SERVICES_MANAGER && m.operation == "Apply");
    let fields = ours.and_then(|m| serde_json::from_str::<Value>(m.fields?.get()).ok());
    match fields.as_ref().map(|f| &f["f:spec"]["f:dnsNames"]) {
        Some(Value::Object(items)) => set_items(items),
        _ => BTreeSet::new(),
    }
}

fn some(text: Option<String>) -> Option<Arc<str>> {
    text.filter(|t| !t.is_empty()).map(Into::into)
}

fn list(list: Option<Vec<String>>) -> Vec<Arc<str>> {
    list.into_iter().flatten().map(Into::into).collect()
}

fn text(text: &Option<Arc<str>>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

fn texts(list: &[Arc<str>]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.iter().map(ToString::to_string).collect())
}

impl From<SpiffeIdSpec> for cluster::SpiffeIdSpec {
    fn from(spec: SpiffeIdSpec) -> Self {
        let selector = spec.selector;
        Self {
            parent_id: spec.parent_id.into(),
            spiffe_id: spec.spiffe_id.into(),
            selector: cluster::SpiffeIdSelector {
                cluster: some(selector.cluster),
                agent_node_uid: some(selector.agent_node_uid),
                pod_label: selector
                    .pod_label
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect(),
                pod_name: some(selector.pod_name),
                pod_uid: some(selector.pod_uid),
                namespace: some(selector.namespace),
                service_account: some(selector.service_account),
                container_name: some(selector.container_name),
                container_image: some(selector.container_image),
                node_name: some(selector.node_name),
                arbitrary: list(selector.arbitrary),
            },
            downstream: spec.downstream.unwrap_or(false),
            dns_names: list(spec.dns_names),
            federates_with: list(spec.federates_with),
        }
    }
}

impl From<&cluster::SpiffeIdSpec> for SpiffeIdSpec {
    fn from(spec: &cluster::SpiffeIdSpec) -> Self {
        let selector = &spec.selector;
        let labels = selector.pod_label.iter();
        Self {
            parent_id: spec.parent_id.to_string(),
            spiffe_id: spec.spiffe_id.to_string(),
            selector: SpiffeIdSelector {
                cluster: text(&selector.cluster),
                agent_node_uid: text(&selector.agent_node_uid),
                pod_label: (!selector.pod_label.is_empty()).then(|| {
                    labels
                        .map(|(k, v)| (k.to_string(), v.to_string()))
                        .collect()
                }),
                pod_name: text(&selector.pod_name),
                pod_uid: text(&selector.pod_uid),
                namespace: text(&selector.namespace),
                service_account: text(&selector.service_account),
                container_image: text(&selector.container_image),
                container_name: text(&selector.container_name),
                node_name: text(&selector.node_name),
                arbitrary: texts(&selector.arbitrary),
            },
            downstream: spec.downstream.then_some(true),
            dns_names: texts(&spec.dns_names),
            federates_with: texts(&spec.federates_with),
        }
    }
}

impl From<SpiffeIdStatus> for cluster::SpiffeIdStatus {
    fn from(status: SpiffeIdStatus) -> Self {
        Self {
            entry_id: some(status.entry_id),
            observed_generation: status.observed_generation,
            conditions: status
                .conditions
                .into_iter()
                .flatten()
                .map(|c| cluster::Condition {
                    kind: c.kind.into(),
                    status: c.status.into(),
                    observed_generation: c.observed_generation,
                    last_transition: some(c.last_transition_time),
                    reason: c.reason.into(),
                    message: c.message.into(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &str = r#"{
        "apiVersion": "spiffeid.spiffe.io/v1beta1", "kind": "SpiffeID",
        "metadata": {"name": "blog", "namespace": "apps", "uid": "u1", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["finalizers.spiffeid.spiffe.io"],
            "labels": {"podUid": "p1", "other": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "blog", "uid": "p1",
                "controller": true, "blockOwnerDeletion": false}]},
        "spec": {"parentId": "spiffe://example.org/p", "spiffeId": "spiffe://example.org/s",
            "selector": {"podUid": "p1", "namespace": "apps", "nodeName": "n", "agent_node_uid": "",
                "podLabel": {"a": "b"}, "arbitrary": ["sa:x"]},
            "dnsNames": ["b", "a"]},
        "status": {"entryId": "e1"}}"#;

    #[test]
    fn an_object_of_the_original_is_read_and_its_spec_written_alike() {
        let read = snapshot(ORIGINAL).expect("legible");
        assert!(read.has_finalizer() && !read.deleting);
        assert_eq!(read.labels.len(), 1);
        assert_eq!(read.controller.as_ref().map(|c| &*c.kind), Some("Pod"));
        assert_eq!(read.applied, None, "the original did not apply");
        assert_eq!(read.status.entry_id.as_deref(), Some("e1"));
        let spec = read.spec.expect("legible");
        assert_eq!(spec.selector.agent_node_uid, None, "empty is absent");
        let written = serde_json::to_value(SpiffeIdSpec::from(&*spec)).expect("serializable");
        let mut original: Value = serde_json::from_str(ORIGINAL).expect("JSON");
        original["spec"]["selector"]
            .as_object_mut()
            .expect("an object")
            .remove("agent_node_uid");
        assert_eq!(written, original["spec"]);
    }

    #[test]
    fn whatever_the_spec_is_the_object_can_be_read() {
        for spec in [r#""x""#, "{}", "[]", r#"{"parentId": 1}"#, "null"] {
            let json = format!(
                r#"{{"metadata": {{"name": "a", "uid": "u"}}, "spec": {spec}, "status": 5}}"#
            );
            let read = snapshot(&json).expect("its metadata is legible");
            assert!(read.spec.is_err(), "{spec}");
            assert_eq!(read.status, cluster::SpiffeIdStatus::default());
        }
    }

    #[test]
    fn our_items_of_a_list_are_those_that_we_applied() {
        let with = |fields: &str| {
            let json = format!(
                r#"{{"metadata": {{"name": "a", "uid": "u", "managedFields": [
                    {{"manager": "kubectl", "operation": "Apply", "fieldsV1": {{"f:spec": {{"f:dnsNames": {{"v:\"k\"": {{}}}}}}}}}},
                    {{"manager": "k8s-workload-registrar", "operation": "Update", "fieldsV1": {{}}}},
                    {{"manager": "k8s-workload-registrar", "operation": "Apply", "fieldsV1": {{"f:spec": {{"f:dnsNames": {fields}}}}}}}]}},
                  "spec": {{"parentId": "", "spiffeId": "", "selector": {{}}, "dnsNames": ["a", "b", "k"]}}}}"#
            );
            snapshot(&json)
                .expect("legible")
                .applied
                .expect("applied")
                .dns_names
        };
        assert_eq!(
            with(r#"{".": {}, "v:\"a\"": {}}"#),
            ["a".into()].into(),
            "one of a set"
        );
        assert_eq!(
            with("{}"),
            ["a".into(), "b".into(), "k".into()].into(),
            "a list that is one value"
        );
    }
}
