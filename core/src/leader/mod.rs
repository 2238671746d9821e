//! Which replica writes: the Lease protocol of client-go's leader election, as a machine without a clock of its own.
//!
//! An adapter performs the [`Request`]s and brings the [`Answer`]s back, each exactly once and within [`Terms::deadline`].
//!
//! What the protocol promises, and the tests of the model show: a replica leads until `renew` has passed since it *sent*
//! its last successful write, by its own clock; another one takes the Lease when it has seen it unchanged for `duration`,
//! by its own clock. A call that begins while we lead and ends within `duration - renew` therefore ends before anyone
//! else begins, as long as the clocks run equally fast; the times that stand in the record are for people.

mod election;

pub use election::Election;

use std::{sync::Arc, time::Duration};

pub use crate::sync::Now;

/// How long a record of another holder is honoured at most, whatever it says.
pub const LONGEST_DURATION: Duration = Duration::from_secs(3600);

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// After this long without a change of the record, others may take it.
    pub duration: Duration,
    /// After this long without a successful renewal, we stop.
    pub renew: Duration,
    /// Between renewals, and between attempts after a failure.
    pub retry: Duration,
    /// Between looks of a standby.
    pub look: Duration,
    /// Within this long the adapter answers.
    pub deadline: Duration,
    /// Up to this much longer each wait is, so that replicas do not move in step.
    pub jitter: Duration,
}

impl Default for Terms {
    /// What Kubernetes' own controllers use; a standby looks twice a second, so that a hand-over takes less than one.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            look: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
            jitter: Duration::from_millis(100),
        }
    }
}

/// Terms under which two replicas could write at once, or none would stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Others would take the Lease while we still write.
    #[error(
        "the renew deadline of {0:?} and {1:?} for calls under way are not below the lease duration of {2:?}"
    )]
    Overlap(Duration, Duration, Duration),
    /// We would stop before we could renew.
    #[error("renewing every {0:?} does not fit into the renew deadline of {1:?}")]
    NoTimeToRenew(Duration, Duration),
}

impl Terms {
    /// Whether they keep the promise when calls that write end within `call`.
    ///
    /// # Errors
    /// If they do not.
    pub fn check(&self, call: Duration) -> Result<(), TermsError> {
        if self.renew + call >= self.duration {
            return Err(TermsError::Overlap(self.renew, call, self.duration));
        }
        if self.retry + self.jitter >= self.renew {
            return Err(TermsError::NoTimeToRenew(self.retry, self.renew));
        }
        Ok(())
    }
}

/// Who holds a lock, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// Empty: nobody.
    pub holder: Arc<str>,
    /// How long others must see it unchanged before they take it; zero where the record does not say.
    pub duration: Duration,
    /// How often the holder changed.
    pub transitions: u32,
    /// When the holder took it, as written. Only compared.
    pub acquired: Arc<str>,
    /// When it was last renewed, as written. Only compared.
    pub renewed: Arc<str>,
}

/// Which version of the Lease object was read: a write of another version fails.
pub type Version = Arc<str>;

/// What the adapter is to do next; one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read the Lease. Answered by [`Answer::Lease`].
    Read,
    /// Read the lock of the kinds that the original registrar used before Leases. Answered by [`Answer::OldLocks`].
    ReadOldLocks,
    /// Write the Lease, if it still has this version. Answered by [`Answer::Written`].
    Write(Write),
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Write {
    /// Of the object to replace; `None` creates it.
    pub version: Option<Version>,
    /// Empty: nobody.
    pub holder: Arc<str>,
    /// See [`Record::duration`].
    pub duration: Duration,
    /// See [`Record::transitions`].
    pub transitions: u32,
    /// `None`: now.
    pub acquired: Option<Arc<str>>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The Lease, or that there is none.
    Lease(Result<Option<(Version, Record)>, Failed>),
    /// The old locks that there are, by the kind of their object.
    OldLocks(Result<Vec<(&'static str, Record)>, Failed>),
    /// The Lease as it is stored now.
    Written(Result<(Version, Record), WriteFailure>),
}

/// No answer; it has been told to people already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failed;

/// Why a write did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteFailure {
    /// Another version is stored, or the object appeared or vanished.
    Conflict,
    /// Perhaps it was written.
    Unknown,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// To be performed now.
    pub request: Option<Request>,
    /// What happened, in order.
    pub news: Vec<News>,
    /// When to step again at the latest, if no answer comes before.
    pub wake_at: Option<Now>,
    /// Nothing is left to do: we resigned, and hold nothing.
    pub over: bool,
}

/// What happened in an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// We lead.
    Leading,
    /// We do not lead any more.
    Stopped(Why),
    /// Another one holds the Lease.
    HeldBy(Arc<str>),
    /// An old lock of this kind was held by this one within its duration: we stand by.
    OldLock(&'static str, Arc<str>),
}

/// Why we stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It could not be renewed in time.
    Expired,
    /// Another one has it.
    TakenBy(Arc<str>),
    /// Another one renews an old lock.
    OldLock(Arc<str>),
    /// We were asked to.
    Resigned,
}
