//! What happened, as values: telemetry turns them into log lines, metrics and Kubernetes Events, tests assert them.

use std::{fmt, sync::Arc, time::Duration};

use super::TripId;
use crate::{
    cluster::{Kind, Uid},
    entry::{EntryId, FieldMask},
    ports::{Failure, ResourceName, Schema},
    rules::{Note, Problem, SkipReason, Subject},
    spiffe::{SpiffeId, TrustDomain},
};

/// Why an entry is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeleteReason {
    /// The deletion of its object was watched.
    ObjectDeleted,
    /// Its object is absent from a complete list.
    ObjectAbsent,
    /// Its object gets no entry any more.
    Skipped(SkipReason),
    /// The object has another, right one.
    Surplus,
    /// It belonged to a former object of the same name.
    FormerObject,
    /// Its SpiffeID now asks for what another one has.
    Duplicate,
}

impl DeleteReason {
    /// Whether there is no object any more.
    pub(super) fn is_absence(self) -> bool {
        matches!(
            self,
            DeleteReason::ObjectDeleted | DeleteReason::ObjectAbsent
        )
    }

    /// Whether the breaker lets it pass: the object's own end was seen, or the object keeps an identity.
    pub(super) fn is_proven(self) -> bool {
        matches!(
            self,
            DeleteReason::ObjectDeleted | DeleteReason::Surplus | DeleteReason::FormerObject
        )
    }
}

impl fmt::Display for DeleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeleteReason::ObjectDeleted => f.write_str("its object was deleted"),
            DeleteReason::ObjectAbsent => f.write_str("its object does not exist"),
            DeleteReason::Skipped(reason) => reason.fmt(f),
            DeleteReason::Surplus => f.write_str("its object has another entry"),
            DeleteReason::FormerObject => {
                f.write_str("it belonged to a former object of the same name")
            }
            DeleteReason::Duplicate => {
                f.write_str("its SpiffeID asks for what another SpiffeID has")
            }
        }
    }
}

/// What a comparison with the server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// An entry of ours is not on the server any more.
    Missing,
    /// An entry of ours was changed.
    Changed,
    /// There is one that we did not know.
    Unknown,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// An entry was created.
    Created {
        /// For whom.
        subject: Subject,
        /// Its ID.
        id: EntryId,
        /// Its identity.
        spiffe_id: SpiffeId,
        /// Between the change that asked for it and the server's answer.
        waited: Duration,
    },
    /// An entry that was already there is taken over.
    Adopted {
        /// For whom.
        subject: Subject,
        /// Its ID.
        id: EntryId,
    },
    /// An entry was changed in place.
    Updated {
        /// For whom.
        subject: Subject,
        /// Its ID.
        id: EntryId,
        /// Its identity now.
        spiffe_id: SpiffeId,
        /// What was written.
        fields: FieldMask,
    },
    /// An entry was deleted.
    Deleted {
        /// Whose it was.
        subject: Subject,
        /// Its ID.
        id: EntryId,
        /// Why.
        reason: DeleteReason,
    },
    /// What would have been written, were this not a dry run.
    WouldWrite {
        /// For whom.
        subject: Subject,
        /// `create`, `update` or `delete`.
        operation: &'static str,
        /// Of the entry, where it has one already.
        id: Option<EntryId>,
    },
    /// A SpiffeID was written or deleted in the Kubernetes API.
    ResourceWritten {
        /// For whom.
        subject: Subject,
        /// Which.
        name: ResourceName,
        /// [`crate::ports::KubeCall::word`]
        operation: &'static str,
    },
    /// The Kubernetes API would not have it; tried again later.
    WriteRefused {
        /// For whom.
        subject: Subject,
        /// The API server's words.
        failure: Failure,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// The Kubernetes API does not answer, or not as it should.
    KubernetesFailed {
        /// What was asked of it.
        operation: &'static str,
        /// Its words or the transport's.
        failure: Failure,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// The CustomResourceDefinition of SpiffeIDs is there.
    DefinitionServing,
    /// It lacks what we build on: it is the original's.
    DefinitionOld(Schema),
    /// It is being deleted, and all SpiffeIDs with it; their entries stay.
    DefinitionTerminating,
    /// It is not installed.
    DefinitionMissing,
    /// The server would not have it; tried again later.
    Refused {
        /// For whom.
        subject: Subject,
        /// Of its object, where there is one.
        uid: Option<Uid>,
        /// The server's words.
        failure: Failure,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// An object is held from now on, or for another reason than before.
    Held {
        /// Whom.
        subject: Subject,
        /// Of the object, where it can be read.
        uid: Option<Uid>,
        /// Why.
        problem: Problem,
    },
    /// An object is not held any more.
    Released {
        /// Whom.
        subject: Subject,
    },
    /// Something is left out of an entry from now on.
    LeftOut {
        /// Of whose.
        subject: Subject,
        /// Of the object.
        uid: Uid,
        /// What and why.
        note: Note,
    },
    /// An entry under our root that is none of ours; said once an entry.
    Foreign {
        /// Its ID.
        id: EntryId,
        /// What it hangs under.
        parent_id: SpiffeId,
    },
    /// The comparison with the server found a difference.
    Drifted {
        /// Whose entry.
        subject: Subject,
        /// Its ID.
        id: EntryId,
        /// What.
        drift: Drift,
    },
    /// A kind is listed completely.
    Synced(Kind),
    /// All entries of the server were read.
    Compared {
        /// Of all on the server.
        total: usize,
        /// Of those, ours.
        owned: usize,
    },
    /// Every object of the first lists has its entry, or is skipped, held or refused.
    FirstSyncDone,
    /// Deletes stopped.
    BreakerTripped {
        /// What an operator confirms.
        trip: TripId,
        /// How many are to be deleted.
        condemned: usize,
        /// How many may be, a minute.
        limit: usize,
    },
    /// Deletes go on.
    BreakerClosed {
        /// Whether an operator confirmed them; else the objects came back or the minute passed.
        confirmed: bool,
    },
    /// A confirmation that names no trip that there is.
    UnknownTrip(TripId),
    /// The server does not answer, or not as it should.
    ServerFailed {
        /// What was asked of it.
        method: &'static str,
        /// Its words or the transport's.
        failure: Failure,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// The server answers again.
    ServerBack,
    /// A bundle of this trust domain is there now.
    BundleArrived(TrustDomain),
    /// A bundle of this trust domain is not there any more.
    BundleGone(TrustDomain),
    /// An object cannot be read, not even its UID: entries of its kind are not deleted for being absent.
    Blind {
        /// The kind.
        kind: Kind,
        /// Why it cannot be read.
        why: Arc<str>,
    },
}
