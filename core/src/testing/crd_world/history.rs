//! What may happen in crd mode, and how a world may be spoilt on purpose.

use crate::testing::{Fault, Identity};

/// One thing that happens in crd mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrdAction {
    /// A pod is made or changed; `again` makes it a new object of the same name.
    Pod {
        /// Which of a few names.
        name: u8,
        /// What it says of its identity.
        identity: Identity,
        /// Whether it is deleted and made again.
        again: bool,
    },
    /// A pod is deleted.
    DeletePod(u8),
    /// The one node is made, or deleted.
    Node(bool),
    /// A person writes a SpiffeID: which of a few names, asking for which of a few things.
    Hand(u8, u8),
    /// A person deletes a SpiffeID: one of their own, or whichever there is.
    Delete(u8),
    /// A tenant writes into a status: the ID of whichever entry.
    Forge(u8, u8),
    /// The garbage collector runs.
    Collect,
    /// The definition is deleted, or installed.
    Definition(bool),
    /// The machine sees this many of the changes that wait.
    See(u8),
    /// The watch of SpiffeIDs begins anew.
    Relist,
    /// One of the calls under way that write to the Kubernetes API is done; its answer comes later than the watch shows it.
    Perform(u8),
    /// One of the calls under way is answered.
    Answer(u8, Fault),
    /// The process is killed and started again; what is under way arrives, or not.
    Kill(bool),
    /// Someone deletes one of our entries on the server.
    Vandal(u8),
    /// The operator makes the entry of their own, or deletes it.
    Operator(bool),
    /// The server refuses for good, or takes again, the second of the things that people ask for.
    Refuse(bool),
    /// The lease is lost or won.
    Lead(bool),
    /// Time passes, in tenths of seconds.
    Wait(u8),
}

/// A deliberate defect, to show that a property can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrdDefect {
    /// The machine is told that it leads when it does not.
    LeadsAlways,
    /// Deletes go to a foreign entry instead.
    TouchesForeign,
    /// The definition is never said to be on its way out.
    MissesTheEndOfTheDefinition,
    /// Deletes of entries are acknowledged and not done.
    LosesDeletes,
    /// The entry of a living SpiffeID is deleted with others.
    DeletesOneMore,
    /// Whatever trips the breaker is confirmed at once.
    IgnoresTheBreaker,
    /// Writes are counted at rest.
    WritesAtRest,
    /// Finalizers are said to have left, and have not.
    LosesFinalizers,
    /// The last change of every batch that is seen gets lost.
    LosesWakeUp,
    /// Statuses are acknowledged and not written.
    LosesStatuses,
    /// Lists show no entry that no SpiffeID asks for.
    HidesOrphans,
    /// The server stores each new entry twice, and shows one.
    MakesTwins,
}
