//! Snapshots of Kubernetes objects: only the fields that the rules read, so that a hundred thousand pods fit in memory.

mod metadata;
mod spiffe_id;

pub use metadata::Metadata;
pub use spiffe_id::{
    AppliedFields, Condition, Controller, NODE_UID_LABEL, POD_UID_LABEL, SPIFFE_ID_API_VERSION,
    SPIFFE_ID_FINALIZER, SpiffeIdSelector, SpiffeIdSnapshot, SpiffeIdSpec, SpiffeIdStatus,
};

use std::{fmt, sync::Arc};

use crate::intern::Interner;

/// The UID of a Kubernetes object. Opaque; usually a UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub Arc<str>);

impl Uid {
    /// From text.
    pub fn new(uid: impl Into<Arc<str>>) -> Self {
        Self(uid.into())
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of objects that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// core/v1 Node
    Node,
    /// core/v1 Pod
    Pod,
    /// discovery.k8s.io/v1 EndpointSlice
    EndpointSlice,
    /// spiffeid.spiffe.io/v1beta1 SpiffeID
    SpiffeId,
}

impl Kind {
    /// The kind's name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::SpiffeId => "SpiffeID",
        }
    }
}

/// Which object: kind, namespace (empty for nodes) and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.name(), self.name),
            namespace => write!(f, "{} {}/{}", self.kind.name(), namespace, self.name),
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSnapshot {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.uid`
    pub uid: Uid,
    /// `spec.nodeName`; `None` until the pod is bound.
    pub node_name: Option<Arc<str>>,
    /// `spec.serviceAccountName`; mirror pods have none.
    pub service_account: Option<Arc<str>>,
    /// `spec.hostname`, which few pods have.
    pub hostname: Option<Arc<str>>,
    /// Of `metadata.labels`, those the policy asks for.
    pub labels: Metadata,
    /// Of `metadata.annotations`, those the policy asks for.
    pub annotations: Metadata,
    /// `status.podIPs[].ip`, first `status.podIP`, as the API writes them.
    pub pod_ips: Box<[Box<str>]>,
    /// Whether this is the API's image of a static pod (annotation `kubernetes.io/config.mirror`): its UID here is not the kubelet's.
    pub mirror: bool,
    /// Whether `metadata.deletionTimestamp` is set. Its containers may still run.
    pub terminating: bool,
    /// Whether `status.phase` is `Succeeded` or `Failed`.
    pub finished: bool,
}

impl PodSnapshot {
    /// Makes the names that it has in common with other pods the shared copies of themselves.
    pub(crate) fn share(&mut self, strings: &mut Interner) {
        strings.share(&mut self.namespace);
        let shared = [&mut self.node_name, &mut self.service_account];
        for name in shared.into_iter().flatten() {
            strings.share(name);
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSnapshot {
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.uid`
    pub uid: Uid,
    /// Of `metadata.annotations`, those the policy asks for.
    pub annotations: Metadata,
}

/// One EndpointSlice of a Service: which pods the Service's name reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsSnapshot {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name` (generated; not the Service's).
    pub name: Arc<str>,
    /// Label `kubernetes.io/service-name`; slices without it are not about a Service.
    pub service: Option<Arc<str>>,
    /// Only endpoints whose `targetRef` is a Pod.
    pub endpoints: Box<[EndpointSnapshot]>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSnapshot {
    /// `addresses[0]`
    pub address: Box<str>,
    /// `hostname`: set for a pod with `spec.hostname` whose `spec.subdomain` is the Service (a StatefulSet's pods).
    pub hostname: Option<Box<str>>,
    /// `targetRef.name`
    pub pod_name: Arc<str>,
    /// `targetRef.namespace`; the slice's own where it is absent.
    pub pod_namespace: Arc<str>,
    /// `targetRef.uid`, where SpiffeIDs are found by it.
    pub pod_uid: Option<Uid>,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
}

/// Any of the watched objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A node.
    Node(NodeSnapshot),
    /// A pod.
    Pod(PodSnapshot),
    /// An EndpointSlice.
    EndpointSlice(EndpointsSnapshot),
    /// A SpiffeID.
    SpiffeId(Box<SpiffeIdSnapshot>),
}

impl Object {
    /// Which object this is.
    pub fn key(&self) -> ObjectKey {
        match self {
            Object::Node(n) => ObjectKey::new(Kind::Node, "", n.name.clone()),
            Object::Pod(p) => ObjectKey::new(Kind::Pod, p.namespace.clone(), p.name.clone()),
            Object::EndpointSlice(e) => {
                ObjectKey::new(Kind::EndpointSlice, e.namespace.clone(), e.name.clone())
            }
            Object::SpiffeId(s) => {
                ObjectKey::new(Kind::SpiffeId, s.namespace.clone(), s.name.clone())
            }
        }
    }
}
