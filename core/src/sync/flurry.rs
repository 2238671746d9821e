//! Flurries: an object that changes again and again costs the others nothing.
//!
//! The first changes of what an object should have are written at once. Where they do not end, each waits longer than the one
//! before, and what is written then is what the object asks for by then. Nothing else waits: not a new object, not an end, not
//! a review, not a write that is tried again.

use std::{sync::Arc, time::Duration};

use super::{Now, Reconciler, review::is_pod};
use crate::{
    cluster::Uid,
    entry::Entry,
    index::{Index, IndexSet},
    rules::Subject,
};

/// Changes that wait for nothing.
const AT_ONCE: u32 = 3;
/// After those, the pause after a change; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long nothing must change, beyond the pause, for a flurry to be over.
const QUIET: Duration = Duration::from_secs(10);

/// The changes of one object that came one after the other.
#[derive(Debug)]
struct Flurry {
    owner: Uid,
    /// What was written last, or none if that was an end.
    wanted: Vec<Arc<Entry>>,
    changes: u32,
    last: Now,
    /// Whether a change waits for the pause to pass.
    held: bool,
}

impl Flurry {
    fn pause(&self) -> Duration {
        match self.changes.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => FIRST_PAUSE
                .saturating_mul(1 << more.min(4))
                .min(LONGEST_PAUSE),
        }
    }

    fn over_at(&self) -> Now {
        self.last + 2 * self.pause() + QUIET
    }
}

/// The objects that changed lately.
#[derive(Debug, Default)]
pub(super) struct Flurries {
    of: Index<Subject, Flurry>,
    /// When each is over, in order.
    over: IndexSet<(Now, Subject)>,
}

impl Flurries {
    /// What this object has is to become `wanted`: now, or not before then.
    fn admit(
        &mut self,
        subject: &Subject,
        owner: &Uid,
        wanted: &[Arc<Entry>],
        now: Now,
    ) -> Result<(), Now> {
        if let Some(flurry) = self.of.get_mut(subject).filter(|f| f.owner == *owner) {
            let opens = flurry.last + flurry.pause();
            let again = flurry.wanted == wanted;
            flurry.held = !again && now < opens;
            if flurry.held {
                return Err(opens);
            }
            if again {
                return Ok(());
            }
        }
        self.note(subject, owner, wanted, now);
        Ok(())
    }

    /// One more change, which waits for nothing.
    fn note(&mut self, subject: &Subject, owner: &Uid, wanted: &[Arc<Entry>], now: Now) {
        let flurry = self.of.entry(subject.clone()).or_insert_with(|| Flurry {
            owner: owner.clone(),
            wanted: Vec::new(),
            changes: 0,
            last: now,
            held: false,
        });
        self.over.remove(&(flurry.over_at(), subject.clone()));
        if flurry.owner != *owner {
            flurry.owner = owner.clone();
            flurry.changes = 0;
        }
        flurry.changes = flurry.changes.saturating_add(1);
        flurry.wanted = wanted.to_vec();
        flurry.last = now;
        flurry.held = false;
        self.over.insert((flurry.over_at(), subject.clone()));
    }

    fn knows(&self, subject: &Subject, owner: &Uid) -> bool {
        self.of.get(subject).is_some_and(|f| f.owner == *owner)
    }

    /// Whether a change of this object waits.
    pub(super) fn holds(&self, subject: &Subject) -> bool {
        self.of.get(subject).is_some_and(|f| f.held)
    }

    pub(super) fn forget(&mut self, subject: &Subject) {
        if let Some(flurry) = self.of.remove(subject) {
            self.over.remove(&(flurry.over_at(), subject.clone()));
        }
    }

    /// Forgets those that are over.
    pub(super) fn expire(&mut self, now: Now) {
        while self.over.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, subject)) = self.over.pop_first() {
                self.of.remove(&subject);
            }
        }
    }
}

impl Reconciler {
    /// Whether what an object has may become `wanted` now; else it is looked at again when it may. `has` says whether it has
    /// anything: the first that a new object gets waits for nothing.
    pub(super) fn may_change(
        &mut self,
        subject: &Subject,
        owner: &Uid,
        wanted: &[Arc<Entry>],
        has: bool,
        now: Now,
    ) -> bool {
        let asked = is_pod(subject) && self.reviews.waits_for(subject);
        if asked || !has && !self.flurries.knows(subject, owner) {
            return true;
        }
        match self.flurries.admit(subject, owner, wanted, now) {
            Ok(()) => true,
            Err(at) => {
                self.queue.sleep_until(subject, now, at);
                false
            }
        }
    }

    /// A living object asks for nothing any more. That waits for nothing; what it asks for next may.
    pub(super) fn note_skipped(&mut self, subject: &Subject, now: Now) {
        if let Some(owner) = self.uid_of(subject) {
            let ended = self.flurries.of.get(subject);
            if !ended.is_some_and(|f| f.owner == owner && f.wanted.is_empty()) {
                self.flurries.note(subject, &owner, &[], now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_flurry_ends_with_it() {
        let mut flurries = Flurries::default();
        let subject = Subject::Node("n1".into());
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            flurries.note(&subject, &Uid::new("u"), &[], now);
            now += Duration::from_millis(100);
            assert_eq!((flurries.of.len(), flurries.over.len()), (1, 1));
        }
        flurries.expire(now);
        assert_eq!((flurries.of.len(), flurries.over.len()), (1, 1));
        flurries.expire(now + 2 * LONGEST_PAUSE + QUIET);
        assert_eq!((flurries.of.len(), flurries.over.len()), (0, 0));
    }

    #[test]
    fn an_object_of_the_same_name_begins_anew() {
        let mut flurries = Flurries::default();
        let subject = Subject::Node("n1".into());
        for _ in 0..10 {
            flurries.note(&subject, &Uid::new("former"), &[], Duration::ZERO);
        }
        assert!(!flurries.knows(&subject, &Uid::new("new")));
        for _ in 0..AT_ONCE {
            let admitted = flurries.admit(&subject, &Uid::new("new"), &[], Duration::ZERO);
            assert_eq!(admitted, Ok(()));
        }
        assert_eq!(flurries.of.len(), 1);
    }
}
