//! What the core asks of a SPIRE Server and of the Kubernetes API, and the answers, as values.
//!
//! The step machine emits a [`SpireCall`]; an adapter performs it and feeds the [`SpireReply`] back. The contract:
//!
//! * An adapter answers every call exactly once, whatever happens, within a deadline of its own.
//! * Results of batch calls come in the order of the request, one for each item.
//! * An adapter does not retry writes: the machine decides what a failure means.

mod kubernetes;

pub use kubernetes::{
    AppliedResource, Definition, KubeAnswer, KubeCall, KubeReply, Owner, ResourceName, Schema,
};

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    entry::{Entry, EntryId, FieldMask, RegisteredEntry, Selectors},
    spiffe::{SpiffeId, TrustDomain},
};

/// One RPC (for [`SpireCall::Read`]: one RPC per ID) to the SPIRE Server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpireCall {
    /// One page of all entries. Answered by [`SpireAnswer::Page`].
    List {
        /// Where the page before this one ended; `None` for the first.
        page_token: Option<Arc<str>>,
        /// At most this many entries; the adapter halves it while replies are too large.
        page_size: u32,
    },
    /// Reads entries by ID. Answered by [`SpireAnswer::Read`].
    Read {
        /// Which.
        ids: Vec<EntryId>,
    },
    /// All entries with exactly these selectors and this parent. Answered by [`SpireAnswer::Page`], the only one.
    Find {
        /// Exactly.
        parent: SpiffeId,
        /// Exactly.
        selectors: Selectors,
    },
    /// `BatchCreateEntry`. Answered by [`SpireAnswer::Written`].
    Create {
        /// Each with the ID it is to have.
        entries: Vec<(EntryId, Arc<Entry>)>,
    },
    /// `BatchUpdateEntry`. Answered by [`SpireAnswer::Written`].
    Update {
        /// The `input_mask`; never empty.
        mask: FieldMask,
        /// Which, and the new values.
        entries: Vec<(EntryId, Arc<Entry>)>,
    },
    /// `BatchDeleteEntry`. Answered by [`SpireAnswer::Written`].
    Delete {
        /// Which.
        ids: Vec<EntryId>,
    },
    /// All trust domains whose bundle the server has, its own not among them. Answered by [`SpireAnswer::Bundles`].
    ListBundles,
}

impl SpireCall {
    /// Whether the call changes anything on the server.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            SpireCall::Create { .. } | SpireCall::Update { .. } | SpireCall::Delete { .. }
        )
    }
}

/// The answer to a call, or why there is none.
pub type SpireReply = Result<SpireAnswer, Failure>;

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpireAnswer {
    /// To [`SpireCall::List`] and [`SpireCall::Find`].
    Page {
        /// Those of the page that can be understood.
        entries: Vec<RegisteredEntry>,
        /// How many could not (an ID that is none, say). They are never ours and never touched.
        unreadable: u32,
        /// `None` after the last page.
        next: Option<Arc<str>>,
    },
    /// To [`SpireCall::Read`]: `None` where the server has no such entry.
    Read(Vec<Result<Option<RegisteredEntry>, Failure>>),
    /// To the three batch writes.
    Written(Vec<Outcome>),
    /// To [`SpireCall::ListBundles`].
    Bundles(BTreeSet<TrustDomain>),
}

/// What became of one item of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Create: the server already has a similar entry (this one), or the ID or a value is taken (`None`).
    AlreadyExists(Option<Box<RegisteredEntry>>),
    /// Update or delete: no such entry.
    NotFound,
    /// The server will not have it.
    Refused(Failure),
}

/// Why a call or an item failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What may be done about it.
    pub class: FailureClass,
    /// The server's or the transport's own words.
    pub message: Arc<str>,
}

impl Failure {
    /// A failure with its message.
    pub fn new(class: FailureClass, message: impl Into<Arc<str>>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

/// What a failure means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// Certainly not done; may succeed later (connection refused, for example).
    Retry,
    /// Certainly not done; the same request will fail again (an invalid argument).
    Permanent,
    /// The server does not let us.
    Denied,
    /// Perhaps done: the deadline passed or the connection broke after the request had left.
    Unknown,
}
