//! What the core asks of the Kubernetes API, and the answers, as values.
//!
//! The contract is that of SPIRE's calls: every call is answered exactly once, within a deadline of the adapter's own, and
//! the adapter does not retry. Every call may be repeated: what it asks for is a state, not a change.

use std::sync::Arc;

use super::Failure;
use crate::cluster::{SpiffeIdSnapshot, SpiffeIdSpec, SpiffeIdStatus, Uid};

/// Which SpiffeID resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
}

impl ResourceName {
    /// A name from its parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// The fields of a SpiffeID that we apply, and no others: what other managers wrote into the rest stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedResource {
    /// Which.
    pub name: ResourceName,
    /// The object that is meant, if it is there already; without it, one is made.
    pub uid: Option<Uid>,
    /// A label and its value: whom the object is about.
    pub label: (&'static str, Uid),
    /// The controller owner reference; without one, the garbage collector leaves the object to us.
    pub owner: Option<Owner>,
    /// Only those of its fields that are not empty.
    pub spec: SpiffeIdSpec,
}

/// An owner of an object. It is its controller, and does not wait for it when it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `Pod` or `Node`, of core/v1.
    pub kind: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Uid,
}

/// One request to the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeCall {
    /// Server-side apply of these fields and our finalizer, by force, with our field manager. Answered by
    /// [`KubeAnswer::Written`].
    Apply(Box<AppliedResource>),
    /// Server-side apply of these DNS names, and of nothing else, with a field manager of their own: to an object that others
    /// wrote. Answered by [`KubeAnswer::Written`].
    ApplyNames {
        /// Which.
        name: ResourceName,
        /// Which object of that name.
        uid: Uid,
        /// All of them; those that were applied before and are not among these go.
        names: Box<[Arc<str>]>,
    },
    /// Makes the fields that the original registrar wrote fields that we applied, so that we can take them back. Answered
    /// by [`KubeAnswer::Written`].
    TakeOver(ResourceName, Uid),
    /// Deletes this very object. Answered by [`KubeAnswer::Written`] or [`KubeAnswer::Gone`].
    Delete(ResourceName, Uid),
    /// Sets all finalizers of this very object, if it is still at this resource version.
    SetFinalizers {
        /// Which.
        name: ResourceName,
        /// Which object of that name.
        uid: Uid,
        /// At which version the others were read.
        resource_version: Arc<str>,
        /// All of them.
        finalizers: Arc<[Arc<str>]>,
    },
    /// Writes the status of this very object. Conditions without a time of transition get the time of now.
    WriteStatus {
        /// Which.
        name: ResourceName,
        /// Which object of that name.
        uid: Uid,
        /// The whole of it.
        status: Box<SpiffeIdStatus>,
    },
    /// Reads the CustomResourceDefinition of SpiffeIDs, not from a cache. Answered by [`KubeAnswer::Definition`].
    ReadDefinition,
}

impl KubeCall {
    /// Whether the call changes anything.
    pub fn is_write(&self) -> bool {
        *self != KubeCall::ReadDefinition
    }

    /// A word for what it does, for logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            KubeCall::Apply(_) => "apply",
            KubeCall::ApplyNames { .. } => "apply_names",
            KubeCall::TakeOver(..) => "take_over",
            KubeCall::Delete(..) => "delete",
            KubeCall::SetFinalizers { .. } => "set_finalizers",
            KubeCall::WriteStatus { .. } => "write_status",
            KubeCall::ReadDefinition => "read_definition",
        }
    }
}

/// The CustomResourceDefinition of SpiffeIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `metadata.uid`
    pub uid: Uid,
    /// `metadata.creationTimestamp`, as the API writes it.
    pub created: Arc<str>,
    /// Whether it is being deleted, and all SpiffeIDs with it.
    pub terminating: bool,
    /// What of its schema we build on.
    pub schema: Schema,
}

/// What the schema of SpiffeIDs has, and that of the original's definition does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Whether conditions of a status are kept.
    pub conditions: bool,
    /// Whether lists of names are sets, to which several writers can add.
    pub sets: bool,
}

impl Schema {
    /// All of it.
    pub const WHOLE: Self = Self {
        conditions: true,
        sets: true,
    };
}

/// What the API server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeAnswer {
    /// The object as it is now.
    Written(Box<SpiffeIdSnapshot>),
    /// There is no such object, or another one of that name.
    Gone,
    /// It changed meanwhile: what it is now comes with the watch.
    Conflict,
    /// `None` if it is not installed.
    Definition(Option<Definition>),
}

/// The answer to a call, or why there is none.
pub type KubeReply = Result<KubeAnswer, Failure>;
