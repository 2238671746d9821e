//! Where the machine stands: for metrics, probes and people.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Now, Reconciler, TripId};
use crate::{
    cluster::{Kind, ObjectKey, Uid},
    rules::Subject,
};

/// What still stands between the machine and readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// This kind is not listed yet.
    NotListed(Kind),
    /// The entries of the server are not read yet.
    EntriesNotRead,
    /// The trust domains with a bundle are not read yet.
    BundlesNotRead,
    /// The server does not answer.
    ServerAway,
    /// The one entry that all pods hang under is not there yet.
    NodeEntry,
    /// The first sync is not done.
    FirstSync,
    /// The CustomResourceDefinition of SpiffeIDs is not read yet.
    DefinitionNotRead,
    /// The CustomResourceDefinition of SpiffeIDs is not installed.
    DefinitionMissing,
    /// The CustomResourceDefinition of SpiffeIDs is being deleted.
    DefinitionTerminating,
    /// The Kubernetes API does not take our writes.
    KubernetesAway,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::NotListed(kind) => write!(f, "{} objects are not listed yet", kind.name()),
            NotReady::EntriesNotRead => f.write_str("the server's entries are not read yet"),
            NotReady::BundlesNotRead => f.write_str("the server's bundles are not read yet"),
            NotReady::ServerAway => f.write_str("the SPIRE Server does not answer"),
            NotReady::NodeEntry => f.write_str("the entry of all nodes is not there yet"),
            NotReady::FirstSync => f.write_str("the first sync is not done"),
            NotReady::DefinitionNotRead => f.write_str(
                "the CustomResourceDefinition spiffeids.spiffeid.spiffe.io is not read yet",
            ),
            NotReady::DefinitionMissing => f.write_str(
                "the CustomResourceDefinition spiffeids.spiffeid.spiffe.io is not installed; \
                 the command crd prints it",
            ),
            NotReady::DefinitionTerminating => f.write_str(
                "the CustomResourceDefinition spiffeids.spiffeid.spiffe.io is being deleted",
            ),
            NotReady::KubernetesAway => f.write_str("the Kubernetes API does not take writes"),
        }
    }
}

/// A summary of the machine's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Empty: ready. A standby is ready with warm caches.
    pub not_ready: Vec<NotReady>,
    /// Whether we lead.
    pub leading: bool,
    /// Whether an operator stopped all writing.
    pub paused: bool,
    /// Nodes and pods that exist.
    pub objects: (usize, usize),
    /// Our entries for nodes and for pods.
    pub entries: (usize, usize),
    /// Objects held, by [`crate::rules::Problem::word`].
    pub held: BTreeMap<&'static str, usize>,
    /// Objects skipped, by [`crate::rules::SkipReason::word`].
    pub skipped: BTreeMap<&'static str, usize>,
    /// Objects that the server refuses.
    pub refused: usize,
    /// Subjects that wait for a look.
    pub queued: usize,
    /// Subjects that are not at rest: waiting, on their way, or backing off.
    pub busy: usize,
    /// How long the one that waits longest has waited.
    pub oldest: Option<Duration>,
    /// Calls under way.
    pub in_flight: usize,
    /// SpiffeIDs that exist.
    pub spiffe_ids: usize,
    /// Whether the definition of SpiffeIDs is there; `None` where they play no part.
    pub definition: Option<bool>,
    /// The trip of the breaker, if it is open, and how many deletes it holds back.
    pub tripped: Option<(TripId, usize)>,
    /// When all entries were last compared with the server.
    pub last_compared: Option<Now>,
}

impl Reconciler {
    /// Where it stands. Costs in proportion to what is held and skipped: not for every step.
    pub fn status(&self, now: Now) -> Status {
        let mut held = BTreeMap::new();
        for problem in self.held.values() {
            *held.entry(problem.word()).or_default() += 1;
        }
        let mut skipped = BTreeMap::new();
        for reason in self.skipped.values() {
            *skipped.entry(reason.word()).or_default() += 1;
        }
        let nodes = self.mirror.of_nodes();
        Status {
            not_ready: self.not_ready(),
            leading: self.leading,
            paused: self.paused,
            objects: self.observed.counts(),
            entries: (nodes, self.mirror.len() - nodes),
            held,
            skipped,
            refused: self.refused.len(),
            queued: self.queue.len(),
            busy: self.queue.busy(),
            oldest: self.queue.oldest().map(|since| now.saturating_sub(since)),
            in_flight: self.flights.len() + self.kube.in_flight(),
            spiffe_ids: self.observed.resources.len(),
            definition: self
                .policy
                .spiffe_ids
                .is_some()
                .then(|| self.kube.definition.is_serving()),
            tripped: self
                .breaker
                .tripped()
                .map(|t| (t.clone(), self.breaker.condemned())),
            last_compared: self.last_compared,
        }
    }

    /// The object that a subject is about, and its UID if it is known; `None` where not even its name is.
    pub fn object_of(&self, subject: &Subject) -> Option<(ObjectKey, Option<Uid>)> {
        match subject {
            Subject::Node(name) => Some((
                ObjectKey::new(Kind::Node, "", name.clone()),
                self.observed.node(name).map(|n| n.uid.clone()),
            )),
            Subject::Pod(namespace, name) => Some((
                ObjectKey::new(Kind::Pod, namespace.clone(), name.clone()),
                self.observed.pod(subject).map(|p| p.uid.clone()),
            )),
            Subject::PodUid(uid) => self.observed.pod(subject).map(|p| {
                (
                    ObjectKey::new(Kind::Pod, p.namespace.clone(), p.name.clone()),
                    Some(uid.clone()),
                )
            }),
            Subject::SpiffeId(namespace, name) => Some((
                ObjectKey::new(Kind::SpiffeId, namespace.clone(), name.clone()),
                self.uid_of_resource(subject),
            )),
            Subject::Entry(_) => None,
        }
    }

    /// What still stands between the machine and readiness; cheap.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let mut missing: Vec<NotReady> = Self::kinds(&self.policy)
            .into_iter()
            .filter(|k| !self.observed.is_synced(*k))
            .map(NotReady::NotListed)
            .collect();
        if !self.scan.has_completed() {
            missing.push(NotReady::EntriesNotRead);
        }
        if !self.bundle_poll.attempted {
            missing.push(NotReady::BundlesNotRead);
        }
        if !self.gate.is_well() {
            missing.push(NotReady::ServerAway);
        }
        if missing.is_empty() && self.all_nodes_missing() {
            missing.push(NotReady::NodeEntry);
        }
        if self.policy.spiffe_ids.is_some() {
            let definition = &self.kube.definition;
            if !definition.is_known() {
                missing.push(NotReady::DefinitionNotRead);
            } else if definition.is_terminating() {
                missing.push(NotReady::DefinitionTerminating);
            } else if !definition.is_serving() {
                missing.push(NotReady::DefinitionMissing);
            }
            if !self.kube.is_well() {
                missing.push(NotReady::KubernetesAway);
            }
        }
        if missing.is_empty() && self.leading && !self.paused && !self.first_sync_done {
            missing.push(NotReady::FirstSync);
        }
        missing
    }
}
