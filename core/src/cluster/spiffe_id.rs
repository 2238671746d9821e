//! SpiffeID resources: what people and the registrar itself write between pods and entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Metadata, Uid};

/// The API group and version of SpiffeIDs.
pub const SPIFFE_ID_API_VERSION: &str = "spiffeid.spiffe.io/v1beta1";
/// The finalizer by which an entry leaves before its SpiffeID does.
pub const SPIFFE_ID_FINALIZER: &str = "finalizers.spiffeid.spiffe.io";
/// The label of a pod's SpiffeID that holds the pod's UID.
pub const POD_UID_LABEL: &str = "podUid";
/// The label of a node's SpiffeID that holds the node's UID.
pub const NODE_UID_LABEL: &str = "nodeUid";

/// A SpiffeID resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeIdSnapshot {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.uid`
    pub uid: Uid,
    /// `metadata.resourceVersion`
    pub resource_version: Arc<str>,
    /// `metadata.generation`: counts changes of the spec.
    pub generation: i64,
    /// `metadata.creationTimestamp` as the API writes it: such texts are in the order of their times.
    pub created: Arc<str>,
    /// Whether `metadata.deletionTimestamp` is set: it goes when its last finalizer has.
    pub deleting: bool,
    /// `metadata.finalizers`, in order.
    pub finalizers: Arc<[Arc<str>]>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Controller>,
    /// Of `metadata.labels`, [`POD_UID_LABEL`] and [`NODE_UID_LABEL`].
    pub labels: Metadata,
    /// What of it we applied, or the original registrar wrote; `None` where neither did.
    pub applied: Option<AppliedFields>,
    /// Of `spec.dnsNames`, the names of Services that we added to an object that others wrote.
    pub service_names: BTreeSet<Arc<str>>,
    /// `spec`, or why it cannot be read: such an object can still be deleted.
    pub spec: Result<Arc<SpiffeIdSpec>, Arc<str>>,
    /// `status`; empty where there is none, or none that can be read.
    pub status: SpiffeIdStatus,
}

impl SpiffeIdSnapshot {
    /// Whether our finalizer is on it.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER)
    }
}

/// The controller of an object, by its owner reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// `kind`
    pub kind: Arc<str>,
    /// `name`
    pub name: Arc<str>,
    /// `uid`
    pub uid: Uid,
}

/// What the API server's `managedFields` say that our field manager applied, or the original registrar wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedFields {
    /// Whether we applied it: then it goes when we apply without it.
    pub by_us: bool,
    /// Items of `spec.dnsNames`.
    pub dns_names: BTreeSet<Arc<str>>,
    /// Items of `spec.federatesWith`.
    pub federates_with: BTreeSet<Arc<str>>,
}

/// `spec` of a SpiffeID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpiffeIdSpec {
    /// `parentId`, a whole SPIFFE ID.
    pub parent_id: Arc<str>,
    /// `spiffeId`, a whole SPIFFE ID.
    pub spiffe_id: Arc<str>,
    /// `selector`
    pub selector: SpiffeIdSelector,
    /// `downstream`
    pub downstream: bool,
    /// `dnsNames`, in order.
    pub dns_names: Vec<Arc<str>>,
    /// `federatesWith`, in order.
    pub federates_with: Vec<Arc<str>>,
}

/// `spec.selector` of a SpiffeID. Empty strings are as if absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpiffeIdSelector {
    /// `cluster`: selector `k8s_psat:cluster:<value>`
    pub cluster: Option<Arc<str>>,
    /// `agent_node_uid`: selector `k8s_psat:agent_node_uid:<value>`
    pub agent_node_uid: Option<Arc<str>>,
    /// `podLabel`: selectors `k8s:pod-label:<key>:<value>`
    pub pod_label: BTreeMap<Arc<str>, Arc<str>>,
    /// `podName`: selector `k8s:pod-name:<value>`
    pub pod_name: Option<Arc<str>>,
    /// `podUid`: selector `k8s:pod-uid:<value>`
    pub pod_uid: Option<Arc<str>>,
    /// `namespace`: selector `k8s:ns:<value>`
    pub namespace: Option<Arc<str>>,
    /// `serviceAccount`: selector `k8s:sa:<value>`
    pub service_account: Option<Arc<str>>,
    /// `containerName`: selector `k8s:container-name:<value>`
    pub container_name: Option<Arc<str>>,
    /// `containerImage`: selector `k8s:container-image:<value>`
    pub container_image: Option<Arc<str>>,
    /// `nodeName`: selector `k8s:node-name:<value>`
    pub node_name: Option<Arc<str>>,
    /// `arbitrary`: values of selectors of type `k8s`.
    pub arbitrary: Vec<Arc<str>>,
}

/// `status` of a SpiffeID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpiffeIdStatus {
    /// `entryId`; empty is as if absent.
    pub entry_id: Option<Arc<str>>,
    /// `observedGeneration`
    pub observed_generation: Option<i64>,
    /// `conditions`, of all types.
    pub conditions: Vec<Condition>,
}

/// A condition of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`
    pub kind: Arc<str>,
    /// `status`: `True`, `False` or `Unknown`.
    pub status: Arc<str>,
    /// `observedGeneration`
    pub observed_generation: Option<i64>,
    /// `lastTransitionTime` as the API has it; `None` in a condition to be written whose status is new.
    pub last_transition: Option<Arc<str>>,
    /// `reason`, in CamelCase.
    pub reason: Arc<str>,
    /// `message`, for people.
    pub message: Arc<str>,
}
