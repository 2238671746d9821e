//! What histories are made of, and what is said of them afterwards.

use std::collections::BTreeMap;

/// What a pod says of its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Nothing.
    None,
    /// One of a few legal values.
    Legal(u8),
    /// A value that no SPIFFE ID can have.
    Illegal,
    /// A value that no pod may have: under our own root.
    Reserved,
}

/// What happens to a call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It never arrives, and that is known.
    Refused,
    /// It never arrives, and nobody knows.
    RequestLost,
    /// It is performed, and the reply never arrives.
    ReplyLost,
    /// Its first item is performed, then the deadline passes.
    CutShort,
    /// It is not performed now, nobody knows, and it arrives after the next call.
    Late,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A pod is made or changed; `again` makes it a new object of the same name.
    Pod {
        /// Which of a few names.
        name: u8,
        /// Which of a few nodes, or none.
        node: Option<u8>,
        /// What it says of its identity.
        identity: Identity,
        /// Whether it names a trust domain, and which.
        federates: Option<u8>,
        /// Whether it is deleted and made again.
        again: bool,
    },
    /// A pod is reviewed, and never comes to be.
    RefusedPod {
        /// Which of a few names.
        name: u8,
        /// What it says of its identity.
        identity: Identity,
        /// Whether it names a trust domain, and which.
        federates: Option<u8>,
    },
    /// A pod is deleted.
    DeletePod(u8),
    /// A node is made.
    Node(u8),
    /// A node is deleted.
    DeleteNode(u8),
    /// The machine sees this many of the changes that wait.
    See(u8),
    /// The watch of pods or nodes breaks: what waits is lost, and a list follows. The list may be cut short first.
    Relist {
        /// Pods, else nodes.
        pods: bool,
        /// Whether the first attempt at the list fails half-way.
        cut: bool,
    },
    /// One of the calls under way is answered.
    Answer(u8, Fault),
    /// Someone deletes one of our entries on the server.
    Vandal(u8),
    /// Someone changes the SPIFFE ID of one of our entries on the server.
    Forger(u8),
    /// Someone duplicates one of our entries under another ID.
    Copyist(u8),
    /// A bundle arrives or goes.
    Bundle(u8, bool),
    /// The process is killed and started again.
    Restart,
    /// The lease is lost or won.
    Lead(bool),
    /// Time passes, in tenths of seconds.
    Wait(u8),
}

/// A deliberate defect, to show that a property can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The last change of every batch that is seen gets lost.
    LosesWakeUp,
    /// An entry that is right is written again on every comparison.
    WritesAtRest,
    /// The machine is told that it leads when it does not.
    LeadsAlways,
    /// Deletes go to a foreign entry instead.
    TouchesForeign,
    /// An object absent from a list that was cut short is taken for gone.
    TrustsCutLists,
    /// Two calls for the same object are sent at once.
    SendsTwice,
    /// After a restart, empty lists are taken for the truth until real ones come.
    BelievesEmptyLists,
    /// A pod whose value is no SPIFFE ID is taken for one that says nothing.
    ForgetsHolds,
    /// Updates say that nothing is to be changed.
    SendsEmptyMasks,
    /// A living pod's right entry is deleted with others.
    DeletesOneMore,
    /// A review is granted as soon as it is asked.
    GrantsReviewsAtOnce,
}

/// How often what occurred, over all histories of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(pub BTreeMap<String, usize>);

impl Seen {
    /// Counts one.
    pub fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Adds the counts of another history.
    pub fn add(&mut self, other: &Seen) {
        for (what, n) in &other.0 {
            *self.0.entry(what.clone()).or_default() += n;
        }
    }
}
