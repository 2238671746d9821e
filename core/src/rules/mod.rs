//! The rules: which entry an object gets, and which stored entries are ours. Total functions of policy, snapshot and look-ups.

mod dns;
mod federation;
mod former;
mod node;
mod ownership;
mod pod;
mod resource;
mod spiffe_id;
pub mod template;

pub use dns::{DroppedName, MAX_DNS_NAMES, kept_service_names, pod_dns_names, service_names_of};
pub use federation::{
    Bundles, DroppedTrustDomain, Federation, WhyDropped, federation, trust_domains,
};
pub use former::{FormerRoot, FormerRootError};
pub use node::{decide_node, entry_of_all_nodes};
pub use ownership::{Foreign, Ownership, classify};
pub use pod::{PodLookups, decide_pod, selectors_of, subject_of_pod};
pub use resource::{Tuple, decide_spiffe_id, spec_of, tuple_of};
pub use spiffe_id::pod_path;
pub use template::{Template, TemplateError};

use std::{fmt, sync::Arc};

use crate::{
    cluster::Uid,
    entry::{Entry, EntryId},
    spiffe::{SpiffeError, TrustDomain},
};

/// Whom an entry is about: what a stored entry's selectors tell of its object. The unit of work of the step machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node, by name. With one entry for all nodes: the empty name.
    Node(Arc<str>),
    /// A pod whose entry has selectors `ns` and `pod-name`: namespace and name.
    Pod(Arc<str>, Arc<str>),
    /// A pod whose entry has selector `pod-uid` and not both of the above.
    PodUid(Uid),
    /// A SpiffeID resource: namespace and name.
    SpiffeId(Arc<str>, Arc<str>),
    /// An entry of ours of which no SpiffeID is known.
    Entry(EntryId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Node(name) if name.is_empty() => f.write_str("all nodes"),
            Subject::Node(name) => write!(f, "node {name}"),
            Subject::Pod(namespace, name) => write!(f, "pod {namespace}/{name}"),
            Subject::PodUid(uid) => write!(f, "pod with UID {uid}"),
            Subject::SpiffeId(namespace, name) => write!(f, "SpiffeID {namespace}/{name}"),
            Subject::Entry(id) => write!(f, "entry {id}"),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the rules say of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It gets these entries, by slot (one today); `notes` says what was left out of them.
    Register {
        /// In the order of their slots.
        entries: Vec<Arc<Entry>>,
        /// What was dropped while making them.
        notes: Vec<Note>,
    },
    /// It gets none, and those we own for it go.
    Skip(SkipReason),
    /// We cannot tell: it is *held*. An entry it has stays as it is; none is made.
    Invalid(Problem),
}

/// Why an object gets no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SkipReason {
    /// The label that gives the ID is absent.
    #[error("the pod has no label that names its SPIFFE ID")]
    NoLabel,
    /// The annotation that gives the ID is absent.
    #[error("the pod has no annotation that names its SPIFFE ID")]
    NoAnnotation,
    /// The label that `identity_template_label` names is absent, or not `true`.
    #[error("the pod is not labelled to get an entry by the template")]
    NotLabelled,
    /// Its namespace is one of `disabled_namespaces`.
    #[error("its namespace is disabled")]
    NamespaceDisabled,
    /// Not bound to a node yet.
    #[error("the pod is not bound to a node yet")]
    NotScheduled,
    /// Finished, and `terminal_pods = "release"`.
    #[error("the pod has finished")]
    Finished,
    /// A mirror pod has no service account to take the ID from.
    #[error("it is a mirror pod without a service account")]
    MirrorWithoutServiceAccount,
    /// The policy gives nodes no entries of their own.
    #[error("nodes get no entries here")]
    NodesHaveNone,
}

impl SkipReason {
    /// A short stable word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            SkipReason::NoLabel => "no_label",
            SkipReason::NoAnnotation => "no_annotation",
            SkipReason::NotLabelled => "not_labelled",
            SkipReason::NamespaceDisabled => "namespace_disabled",
            SkipReason::NotScheduled => "not_scheduled",
            SkipReason::Finished => "finished",
            SkipReason::MirrorWithoutServiceAccount => "mirror_without_service_account",
            SkipReason::NodesHaveNone => "nodes_have_none",
        }
    }
}

/// Why an object is held. Each text says what is wrong and what mends it; values a tenant wrote are quoted and shortened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// The label's or annotation's value is not a legal path.
    #[error("{what} has the value {value}, which cannot be a SPIFFE ID path: {error}")]
    IllegalPath {
        /// `label "x"`, `annotation "x"`.
        what: String,
        /// Quoted and shortened.
        value: String,
        /// SPIRE's reason.
        error: SpiffeError,
    },
    /// The template cannot be rendered with the pod's values.
    #[error("the template fails for this pod: {0}")]
    Template(TemplateError),
    /// The path is one that no pod may have.
    #[error(
        "{what} asks for the path {}, which is reserved (rule {rule:?}); choose another one",
        quoted(path)
    )]
    ReservedPath {
        /// Where the path comes from.
        what: String,
        /// The path.
        path: String,
        /// The rule it falls under.
        rule: String,
    },
    /// The pod's node is not known, and its UID is needed for the parent.
    #[error(
        "node {} is not known, so the agent's SPIFFE ID cannot be told; waiting for the Node object", quoted(.0)
    )]
    UnknownNode(Arc<str>),
    /// The parent cannot be made of the node's name.
    #[error("node name {} cannot be part of a SPIFFE ID: {error}", quoted(name))]
    IllegalNodeName {
        /// The node's name.
        name: Arc<str>,
        /// SPIRE's reason.
        error: SpiffeError,
    },
    /// A SpiffeID's spec asks for nothing that can be an entry, or for what it may not have.
    #[error("{text}")]
    Spec {
        /// A short stable word.
        word: &'static str,
        /// What is wrong, and what mends it.
        text: String,
    },
    /// The SpiffeID that a pod or node would get has a name that another object's SpiffeID has.
    #[error(
        "SpiffeID {namespace}/{name} is there already and not this object's; rename or delete it"
    )]
    NameTaken {
        /// Of the SpiffeID.
        namespace: Arc<str>,
        /// Of the SpiffeID.
        name: Arc<str>,
    },
    /// The object could not be decoded.
    #[error("the object cannot be read: {0}")]
    Undecodable(Arc<str>),
}

impl Problem {
    /// A short stable word, for metrics and for the reason of a Kubernetes Event.
    pub fn word(&self) -> &'static str {
        match self {
            Problem::IllegalPath { .. } => "IllegalPath",
            Problem::Template(_) => "TemplateFailed",
            Problem::ReservedPath { .. } => "ReservedPath",
            Problem::UnknownNode(_) => "UnknownNode",
            Problem::IllegalNodeName { .. } => "IllegalNodeName",
            Problem::Spec { word, .. } => word,
            Problem::NameTaken { .. } => "NameTaken",
            Problem::Undecodable(_) => "Undecodable",
        }
    }
}

/// Something left out of an entry that is made all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// A DNS name.
    Name(DroppedName),
    /// A trust domain of the federation annotation.
    TrustDomain(DroppedTrustDomain),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Name(name) => name.fmt(f),
            Note::TrustDomain(domain) => domain.fmt(f),
        }
    }
}

/// What a value that a tenant wrote looks like in a message: quoted, control characters escaped, at most 80 characters.
pub fn quoted(value: &str) -> String {
    let mut short: String = value.chars().take(80).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The trust domains an object waits for: named by it, legal and allowed, but without a bundle on the server.
pub fn awaited_bundles(notes: &[Note]) -> impl Iterator<Item = &TrustDomain> {
    notes.iter().filter_map(|note| match note {
        Note::TrustDomain(DroppedTrustDomain {
            why: WhyDropped::NoBundle(td),
            ..
        }) => Some(td),
        _ => None,
    })
}
