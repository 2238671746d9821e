//! What goes into a step and what comes out of it.

use std::{sync::Arc, time::Duration};

use super::Fact;
use crate::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    ports::{KubeCall, KubeReply, SpireCall, SpireReply},
    spiffe::SpiffeId,
};

/// Time since some fixed moment of this process, from a monotonic clock.
pub type Now = Duration;

/// Names a call between its effect and its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names one trip of the mass-delete breaker; what an operator confirms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TripId(pub Arc<str>);

impl std::fmt::Display for TripId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an admission review between its arrival and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReviewId(pub u64);

/// What an admission review asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// This pod is about to be: answered once its entry is there.
    Created(PodSnapshot),
    /// This pod is no more, and no watch will tell: answered once its entries are gone.
    Deleted(PodSnapshot),
}

/// Whether a pod is there, by a read of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// There is none of that name.
    Absent,
    /// There is this one; as it is now, where that can be read.
    There(Uid, Option<Box<PodSnapshot>>),
    /// It could not be read.
    Failed(Arc<str>),
}

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A full list of this kind begins; what it does not contain by [`Event::RelistDone`] is absent.
    RelistBegan(Kind),
    /// An object of the list.
    Listed(Object),
    /// The list of this kind is complete: every page was read.
    RelistDone(Kind),
    /// A watched object was made or changed.
    Applied(Object),
    /// A watched object was deleted: this very one is gone.
    Deleted(ObjectKey, Uid),
    /// An object that is there, but cannot be read.
    Undecodable {
        /// Its kind.
        kind: Kind,
        /// Which, if at least that can be read.
        key: Option<ObjectKey>,
        /// Its UID, if that can be read.
        uid: Option<Uid>,
        /// Why it cannot.
        why: Arc<str>,
    },
    /// The answer to a call.
    Replied(CallId, SpireReply),
    /// The answer to a call to the Kubernetes API.
    KubeReplied(CallId, KubeReply),
    /// Whether this replica may write from now on.
    Leading(bool),
    /// This replica may answer reviews from now on, leading or not: the server is the right one.
    Answering,
    /// An admission review asks for something; it is answered by one of [`Step::answers`], within `patience`.
    Reviewed {
        /// Names it.
        id: ReviewId,
        /// What it asks for.
        review: Review,
        /// How long its answer may take.
        patience: Duration,
    },
    /// What the API server said of an object that a step wanted to look up.
    LookedUp(ObjectKey, LookUp),
    /// What a clock on the wall shows now, in seconds since 1970: how old the server's entries are.
    UnixTime(i64),
    /// The SPIFFE ID that the server knows us by: nobody else may have it from now on.
    KnownAs(SpiffeId),
    /// Whether an operator stopped all writing.
    Paused(bool),
    /// An operator confirms the deletes of a trip; `None` confirms whichever there is.
    ConfirmDeletes(Option<TripId>),
}

/// What a step asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Calls to perform. Each is to be answered by one [`Event::Replied`].
    pub calls: Vec<(CallId, SpireCall)>,
    /// Objects to look up once more. Each is to be answered by one [`Event::LookedUp`].
    pub look_ups: Vec<ObjectKey>,
    /// The answers to reviews: an `Err` says in one line why the review cannot be granted now.
    pub answers: Vec<(ReviewId, Result<(), Arc<str>>)>,
    /// Calls to perform on the Kubernetes API. Each is to be answered by one [`Event::KubeReplied`].
    pub kube_calls: Vec<(CallId, KubeCall)>,
    /// What happened, in order.
    pub facts: Vec<Fact>,
    /// When to step again at the latest, even without an event; at once, if this is not later than the step itself.
    pub wake_at: Option<Now>,
}
