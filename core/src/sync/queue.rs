//! Which subjects want a look, in which order, and when those that failed may be tried again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::Now;
use crate::{
    cluster::Uid,
    entry::{Entry, EntryId},
    index::{Index, IndexSet},
    rules::Subject,
};

/// Why a subject wants a look; the order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Someone waits for it: an admission review, or all pods for the entry of all nodes.
    Asked,
    /// A node: its pods hang under it.
    Node,
    /// An object without an entry.
    New,
    /// An object that changed.
    Changed,
    /// An object that is gone.
    Gone,
    /// A comparison, or a first look at what is there already.
    Resync,
    /// An object that gets a SpiffeID: entries come before those that are yet to be asked for.
    Object,
    /// A SpiffeID whose status is yet to say what it has.
    Standing,
}

const URGENCIES: usize = 8;

/// What there is room for among the writes to the Kubernetes API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) objects: bool,
    pub(super) statuses: bool,
}

/// A write whose answer never came: if it turns out to have arrived, the entry is this object's.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What an update made of it. A create leaves none: whatever stands under an ID that was made for it came by it.
    pub(super) updated: Option<Arc<Entry>>,
    pub(super) owner: Uid,
}

/// What is going on with one subject. There is none for a subject at rest.
#[derive(Debug)]
pub(super) struct Work {
    /// In which queue it stands.
    queued: Option<Urgency>,
    /// Operations staged or in flight for it.
    pub(super) in_flight: usize,
    /// What it should be queued as once those are done.
    again: Option<Urgency>,
    /// Failures in a row.
    pub(super) failures: u32,
    retry_at: Option<Now>,
    /// When it first wanted a look.
    pub(super) since: Now,
    /// Entries about which an unanswered write left us in doubt: read them before anything else.
    pub(super) doubtful: BTreeMap<EntryId, Option<Attempt>>,
    /// Whether it must travel alone, because a batch with it failed as a whole.
    pub(super) alone: bool,
}

impl Work {
    /// Whether it waits for its back-off to end.
    pub(super) fn is_backing_off(&self) -> bool {
        self.retry_at.is_some()
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    work: Index<Subject, Work>,
    queues: [VecDeque<Subject>; URGENCIES],
    queued: [usize; URGENCIES],
    retries: IndexSet<(Now, Subject)>,
}

impl Queue {
    /// The subject wants a look. A change from outside does not wait for a back-off.
    pub(super) fn mark(&mut self, subject: &Subject, urgency: Urgency, now: Now) {
        let work = self.work.entry(subject.clone()).or_insert_with(|| Work {
            queued: None,
            in_flight: 0,
            again: None,
            failures: 0,
            retry_at: None,
            since: now,
            doubtful: BTreeMap::new(),
            alone: false,
        });
        if work.in_flight > 0 {
            work.again = Some(work.again.map_or(urgency, |a| a.min(urgency)));
            return;
        }
        if let Some(at) = work.retry_at.take() {
            self.retries.remove(&(at, subject.clone()));
        }
        match work.queued {
            Some(queued) if queued <= urgency => return,
            Some(queued) => self.queued[queued as usize] -= 1,
            None => {}
        }
        work.queued = Some(urgency);
        self.queued[urgency as usize] += 1;
        self.queues[urgency as usize].push_back(subject.clone());
    }

    /// Those whose back-off has passed want a look again; `floor` says how urgently at least.
    pub(super) fn wake(&mut self, now: Now, floor: impl Fn(&Subject) -> Urgency) {
        while self.retries.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, subject)) = self.retries.pop_first() else {
                return;
            };
            if let Some(work) = self.work.get_mut(&subject) {
                work.retry_at = None;
            }
            let urgency = floor(&subject).min(Urgency::Changed);
            self.mark(&subject, urgency, now);
        }
    }

    /// The most urgent subject that is at least so urgent, no longer queued; of those that are about writes to the Kubernetes
    /// API alone only if there is room for these.
    pub(super) fn pop(&mut self, least: Urgency, room: Room) -> Option<Subject> {
        let full = |n: usize| {
            n == Urgency::Object as usize && !room.objects
                || n == Urgency::Standing as usize && !room.statuses
        };
        for (n, queue) in self.queues.iter_mut().enumerate().take(least as usize + 1) {
            if full(n) {
                continue;
            }
            while let Some(subject) = queue.pop_front() {
                if let Some(work) = self.work.get_mut(&subject)
                    && let Some(queued) = work.queued
                    && queued as usize == n
                {
                    work.queued = None;
                    self.queued[n] -= 1;
                    return Some(subject);
                }
            }
        }
        None
    }

    /// This subject, no longer queued.
    pub(super) fn take(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get_mut(subject)
            && let Some(queued) = work.queued.take()
        {
            self.queued[queued as usize] -= 1;
        }
    }

    pub(super) fn get(&self, subject: &Subject) -> Option<&Work> {
        self.work.get(subject)
    }

    pub(super) fn get_mut(&mut self, subject: &Subject) -> Option<&mut Work> {
        self.work.get_mut(subject)
    }

    /// Nothing to do for it: at rest, unless something happened meanwhile.
    pub(super) fn rest(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get(subject)
            && work.queued.is_none()
            && work.retry_at.is_none()
            && work.in_flight == 0
        {
            self.work.remove(subject);
        }
    }

    /// One operation for it begins.
    pub(super) fn begin(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get_mut(subject) {
            work.in_flight += 1;
        }
    }

    /// Whether something changed since its operation was staged.
    pub(super) fn is_stale(&self, subject: &Subject) -> bool {
        self.work.get(subject).is_some_and(|w| w.again.is_some())
    }

    /// One operation for it ended; when the last has, it wants a look again, at least as urgently as `floor`.
    pub(super) fn end(&mut self, subject: &Subject, now: Now, floor: Urgency) {
        let Some(work) = self.work.get_mut(subject) else {
            return;
        };
        work.in_flight = work.in_flight.saturating_sub(1);
        if work.in_flight > 0 || work.retry_at.is_some() {
            return;
        }
        let urgency = work.again.take().unwrap_or(Urgency::Changed).min(floor);
        self.mark(subject, urgency, now);
    }

    /// One operation for it was only told, not done: at rest, unless something happened meanwhile.
    pub(super) fn give_up(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get_mut(subject) {
            work.in_flight = work.in_flight.saturating_sub(1);
        }
        self.rest(subject);
    }

    /// It failed: not before `delay` has passed, unless it changes.
    pub(super) fn back_off(&mut self, subject: &Subject, now: Now, delay: Duration) {
        let Some(work) = self.work.get_mut(subject) else {
            return;
        };
        if work.queued.is_some() || work.again.is_some() {
            return;
        }
        if let Some(old) = work.retry_at.replace(now + delay) {
            self.retries.remove(&(old, subject.clone()));
        }
        self.retries.insert((now + delay, subject.clone()));
    }

    /// Nothing to do for it before then, unless it changes.
    pub(super) fn sleep_until(&mut self, subject: &Subject, now: Now, at: Now) {
        if self.work.get(subject).is_some_and(|w| w.in_flight == 0) {
            self.back_off(subject, now, at.saturating_sub(now));
        }
    }

    pub(super) fn next_retry(&self) -> Option<Now> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// How many wait in the queues.
    pub(super) fn len(&self) -> usize {
        self.queued.iter().sum()
    }

    /// How many of them wait for a new or changed object.
    pub(super) fn waiting_objects(&self) -> usize {
        [
            Urgency::Asked,
            Urgency::Node,
            Urgency::New,
            Urgency::Changed,
            Urgency::Object,
            Urgency::Standing,
        ]
        .iter()
        .map(|u| self.queued[*u as usize])
        .sum()
    }

    /// Everything that is going on, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Subject, &Work)> {
        self.work.iter()
    }

    /// How many subjects are not at rest.
    pub(super) fn busy(&self) -> usize {
        self.work.len()
    }

    /// Since when the one that waits longest does.
    pub(super) fn oldest(&self) -> Option<Now> {
        let fronts = self.queues.iter().filter_map(|q| q.front());
        fronts
            .filter_map(|s| self.work.get(s))
            .map(|w| w.since)
            .min()
    }
}
