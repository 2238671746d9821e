//! The CustomResourceDefinition of SpiffeIDs: whether it is there, and whether a SpiffeID goes by itself or with it.
//!
//! When the definition is deleted, the API server deletes every SpiffeID. That says nothing about the workloads, so no entry
//! goes with them. A deletion counts as one of its own only after a reading of the definition that was asked for later
//! than the deletion was seen: what deletes SpiffeIDs was there before they were.

use std::time::Duration;

use super::Now;
use crate::{
    index::IndexSet,
    ports::{Definition, Schema},
    rules::Subject,
};

/// How often the definition is looked for while it is not serving.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked at while its schema lacks what we build on.
const LOOK_WHILE_OLD: Duration = Duration::from_secs(10);
/// How long entries without a SpiffeID stay after the definition came back: its objects come back after it.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// What a reading changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// It is there now.
    Serving,
    /// It is another one than before: all that was deleted until this reading went with the former one.
    Replaced,
    /// It is being deleted.
    Terminating,
    /// It is not installed.
    Missing,
}

#[derive(Debug, Default)]
pub(super) struct DefinitionPoll {
    /// The last reading; `None` before the first.
    known: Option<Option<Definition>>,
    /// The one that was serving last.
    last_uid: Option<crate::cluster::Uid>,
    /// When the last reading that was answered was asked for, by the machine's count.
    answered: u64,
    /// A reading asked for at this count or later is wanted.
    wanted: u64,
    pub(super) under_way: bool,
    last_at: Option<Now>,
    /// When it was first seen again after it had been away.
    back_at: Option<Now>,
    /// Whose deletion is to be judged.
    pub(super) waiting: IndexSet<Subject>,
}

impl DefinitionPoll {
    /// Whether it was read at least once.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(&self.known, Some(Some(d)) if !d.terminating)
    }

    /// Whether an object that was made then is of a former definition.
    pub(super) fn is_newer_than(&self, created: &str) -> bool {
        matches!(&self.known, Some(Some(d)) if *d.created > *created)
    }

    /// Whether several writers can add to its lists; `true` before it was read.
    pub(super) fn merges_lists(&self) -> bool {
        self.schema().is_none_or(|s| s.sets)
    }

    /// What its schema has, while it is there.
    pub(super) fn schema(&self) -> Option<Schema> {
        self.known.as_ref()?.as_ref().map(|d| d.schema)
    }

    pub(super) fn is_terminating(&self) -> bool {
        matches!(&self.known, Some(Some(d)) if d.terminating)
    }

    /// Whether the last reading was asked for after `stamp`.
    pub(super) fn covers(&self, stamp: u64) -> bool {
        self.answered > stamp
    }

    /// A reading that covers `stamp` is wanted.
    pub(super) fn want(&mut self, stamp: u64) {
        self.wanted = self.wanted.max(stamp + 1);
    }

    /// Whether all readings that were wanted are there.
    pub(super) fn is_settled(&self) -> bool {
        self.is_serving() && self.answered >= self.wanted
    }

    /// When entries without a SpiffeID may go, if that is later than now.
    pub(super) fn grace_ends(&self) -> Option<Now> {
        self.back_at.map(|at| at + GRACE)
    }

    /// When the next reading is due.
    pub(super) fn due_at(&self) -> Option<Now> {
        if self.under_way {
            return None;
        }
        let Some(last) = self.last_at.filter(|_| self.is_known()) else {
            return Some(Now::ZERO);
        };
        if self.answered < self.wanted {
            return Some(Now::ZERO);
        }
        match self.is_serving() {
            false => Some(last + LOOK_EVERY),
            true if self.schema() != Some(Schema::WHOLE) => Some(last + LOOK_WHILE_OLD),
            true => None,
        }
    }

    pub(super) fn asked(&mut self, now: Now) {
        self.under_way = true;
        self.last_at = Some(now);
    }

    pub(super) fn read(&mut self, asked: u64, now: Now, definition: Option<Definition>) -> News {
        self.under_way = false;
        self.answered = self.answered.max(asked);
        let before = self.known.replace(definition.clone());
        match definition {
            None if before == Some(None) => News::None,
            None => News::Missing,
            Some(d) if d.terminating => match before {
                Some(Some(was)) if was.terminating => News::None,
                _ => News::Terminating,
            },
            Some(d) => {
                let last = self.last_uid.replace(d.uid.clone());
                let was_serving = matches!(&before, Some(Some(was)) if !was.terminating);
                let replaced = last.is_some_and(|last| last != d.uid);
                if replaced || (before.is_some() && !was_serving) {
                    self.back_at = Some(now);
                }
                match replaced {
                    true => News::Replaced,
                    false if was_serving => News::None,
                    false => News::Serving,
                }
            }
        }
    }
}
