//! Operations on their way: staged, put into batches of one kind, in flight.

use std::{sync::Arc, time::Duration};

use super::{CallId, Fact, Now, Reconciler, plan::Operation, queue::Urgency};
use crate::{
    cluster::{PodSnapshot, Uid},
    entry::{Entry, EntryId, FieldMask},
    ports::SpireCall,
    rules::Subject,
};

/// Items in a batch before anything is known of the server's speed.
pub(super) const FIRST_BATCH: usize = 50;
/// Items in a batch at most.
pub(super) const LARGEST_BATCH: usize = 200;
/// How long a batch should take: well within a call's deadline, and no long wait for the pod that comes next.
const BATCH_TIME: Duration = Duration::from_millis(800);
/// Batches that no new object waits for carry so many times fewer, and take so many times fewer of the slots: the server writes
/// one thing after the other, so more of them in flight are hardly faster, and a new object that comes meanwhile waits longer.
const PATIENT: usize = 4;
/// And so many times fewer while new objects come one after the other.
const PATIENT_BESIDE_OTHERS: usize = 16;

/// An operation that waits for a slot.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) subject: Subject,
    pub(super) operation: Operation,
    pub(super) alone: bool,
    /// Whether someone waits for its end.
    awaited: bool,
}

/// What one call carries.
#[derive(Debug)]
pub(super) enum Flight {
    /// A page of all entries, asked for at this stamp.
    Page { asked: u64 },
    /// The entries of a pod that is gone for good.
    Find {
        subject: Subject,
        pod: PodSnapshot,
        asked: u64,
    },
    /// The list of bundles.
    Bundles { asked: u64 },
    /// Operations of one kind.
    Batch {
        items: Vec<Staged>,
        sent: Now,
        asked: u64,
        /// How many there might have been.
        limit: usize,
    },
}

impl Flight {
    /// How many operations it carries.
    fn items(&self) -> usize {
        match self {
            Flight::Batch { items, .. } => items.len(),
            Flight::Page { .. } | Flight::Find { .. } | Flight::Bundles { .. } => 0,
        }
    }

    pub(super) fn is_patient(&self) -> bool {
        match self {
            Flight::Batch { items, .. } => items.first().is_some_and(|item| item.is_patient()),
            Flight::Page { .. } | Flight::Find { .. } | Flight::Bundles { .. } => false,
        }
    }
}

/// What may travel in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchKind {
    Create,
    Update(FieldMask),
    Delete,
    Read,
}

impl Staged {
    /// Whether it can wait for others: nobody is without an identity for want of it, or waits for it.
    fn is_patient(&self) -> bool {
        let waits = matches!(
            self.operation,
            Operation::Update { .. } | Operation::Delete { .. }
        );
        waits && !self.awaited
    }

    fn kind(&self) -> BatchKind {
        match &self.operation {
            Operation::Create { .. } => BatchKind::Create,
            Operation::Update { mask, .. } => BatchKind::Update(*mask),
            Operation::Delete { .. } => BatchKind::Delete,
            Operation::Read { .. } => BatchKind::Read,
        }
    }
}

impl Reconciler {
    /// How many slots are free.
    fn free_slots(&self) -> usize {
        let batches = self
            .flights
            .values()
            .filter(|f| matches!(f, Flight::Batch { .. }))
            .count();
        self.slots.limit().saturating_sub(batches)
    }

    /// How many slots are free for what can wait: a quarter of all, and never fewer than one, but none while it stands back.
    fn free_patient_slots(&self, now: Now) -> usize {
        if self.precedence.stands_back(now) {
            return 0;
        }
        let patient = self.flights.values().filter(|f| f.is_patient()).count();
        let most = (self.slots.limit() / PATIENT).max(1);
        most.saturating_sub(patient).min(self.free_slots())
    }

    /// How many of this kind a batch may hold.
    fn limit_of(&self, patient: bool, now: Now) -> usize {
        match (patient, self.precedence.expects_another(now)) {
            (false, _) => self.batch_limit,
            (true, false) => (self.batch_limit / PATIENT).max(1),
            (true, true) => (self.batch_limit / PATIENT_BESIDE_OTHERS).max(1),
        }
    }

    /// How many of those that cannot wait the next call takes: each slot an equal part of what is under way and what is staged.
    /// The server does the items of a call one after the other, and while it is busy with its own tables most of that is
    /// waiting; a few pods in one call would wait for each other while other slots are free or soon to be.
    fn share(&self) -> usize {
        let batches = self.flights.values().filter(|f| !f.is_patient());
        let under_way: usize = batches.map(Flight::items).sum();
        let staged = self.staged.len() - self.staged_patient;
        (under_way + staged).div_ceil(self.slots.limit())
    }

    /// How urgent a subject must be to be looked at now. We look no further ahead than the free slots can carry: what waits
    /// longer may have changed by then.
    pub(super) fn least_with_room(&self, least: Urgency, now: Now) -> Option<Urgency> {
        let patient = self.staged_patient;
        let creates = self.staged.len() - patient;
        if creates >= self.free_slots() * self.limit_of(false, now) {
            return None;
        }
        match patient < self.free_patient_slots(now) * self.limit_of(true, now) {
            true => Some(least),
            false => Some(least.min(Urgency::New)),
        }
    }

    pub(super) fn stage(&mut self, subject: &Subject, operation: Operation) {
        self.queue.begin(subject);
        let alone = self.queue.get(subject).is_some_and(|w| w.alone);
        let item = Staged {
            subject: subject.clone(),
            awaited: self.is_awaited(subject, &operation),
            operation,
            alone,
        };
        self.staged_patient += usize::from(item.is_patient());
        self.staged.push_back(item);
    }

    /// Sends what is staged while slots are free: first what cannot wait, and of that the oldest.
    pub(super) fn send_staged(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        while self.free_slots() > 0 && self.gate.is_open(now, self.flights.len()) {
            let urgent = self.staged.len() > self.staged_patient;
            if !urgent && (self.staged.is_empty() || self.free_patient_slots(now) == 0) {
                return;
            }
            let limit = self.limit_of(!urgent, now);
            let most = match urgent {
                true => self.share().min(limit),
                false => limit,
            };
            let items = self.next_batch(now, most, !urgent);
            if items.is_empty() {
                continue;
            }
            if self.policy.dry_run && !matches!(items[0].operation, Operation::Read { .. }) {
                self.only_tell(items, now);
                continue;
            }
            let call = call_of(&items);
            let asked = self.stamp;
            self.precedence.launched(now, !urgent);
            let id = self.launch(Flight::Batch {
                items,
                sent: now,
                asked,
                limit,
            });
            calls.push((id, call));
        }
    }

    pub(super) fn launch(&mut self, flight: Flight) -> CallId {
        self.stamp += 1;
        let id = CallId(self.stamp);
        self.flights.insert(id, flight);
        id
    }

    /// Takes the oldest staged operation that can wait, or cannot, and all that may travel with it. What changed meanwhile is
    /// looked at again instead.
    fn next_batch(&mut self, now: Now, limit: usize, patient: bool) -> Vec<Staged> {
        let mut batch: Vec<Staged> = Vec::new();
        let mut rest = std::collections::VecDeque::new();
        let mut stale = Vec::new();
        while let Some(item) = self.staged.pop_front() {
            if self.queue.is_stale(&item.subject) || self.pods_came(&item) || self.heir_came(&item)
            {
                stale.push(item.subject);
                continue;
            }
            let fits = match batch.first() {
                None => item.is_patient() == patient,
                Some(first) => {
                    first.kind() == item.kind()
                        && !first.alone
                        && !item.alone
                        && batch.len() < limit
                }
            };
            if fits {
                batch.push(item)
            } else {
                rest.push_back(item)
            }
        }
        self.staged = rest;
        self.count_staged();
        for subject in stale {
            self.end(&subject, now);
        }
        batch
    }

    /// Whether someone waits for this operation. Nobody waits for a delete that the watch asked for.
    fn is_awaited(&self, subject: &Subject, operation: &Operation) -> bool {
        let removes = matches!(operation, Operation::Delete { .. });
        self.floor(subject) == Urgency::Asked && !(removes && self.policy.pods.watched)
    }

    /// We do not lead any more: what was staged is looked at again by whoever does, but for what someone waits for.
    pub(super) fn unstage(&mut self, now: Now) {
        for item in std::mem::take(&mut self.staged) {
            if self.is_awaited(&item.subject, &item.operation) {
                self.staged.push_back(item);
            } else {
                self.end(&item.subject, now);
            }
        }
        self.count_staged();
    }

    fn count_staged(&mut self) {
        self.staged_patient = self.staged.iter().filter(|s| s.is_patient()).count();
    }

    fn only_tell(&mut self, items: Vec<Staged>, now: Now) {
        for item in items {
            let (operation, id) = match &item.operation {
                Operation::Create { .. } => ("create", None),
                Operation::Update { id, .. } => ("update", Some(id.clone())),
                Operation::Delete { id, .. } => ("delete", Some(id.clone())),
                Operation::Read { .. } => continue,
            };
            self.facts.push(Fact::WouldWrite {
                subject: item.subject.clone(),
                operation,
                id,
            });
            if let Some(work) = self.queue.get_mut(&item.subject) {
                work.in_flight = work.in_flight.saturating_sub(1);
            }
            if self.queue.is_stale(&item.subject) {
                self.end(&item.subject, now);
            } else {
                self.reviews.resolve(&item.subject, &Ok(()));
                self.queue.rest(&item.subject);
            }
        }
    }

    /// Learns from how long a batch took, of `items` where `limit` were allowed, how large the next may be.
    pub(super) fn learn_batch_limit(&mut self, items: usize, limit: usize, took: Duration) {
        let fits = BATCH_TIME.as_secs_f64() / (took.as_secs_f64() / items as f64).max(1e-6);
        let target = (fits as usize).clamp(1, LARGEST_BATCH);
        // A few items tell little about many: grow by doubling, shrink at once when a batch was too slow.
        if took > BATCH_TIME {
            self.batch_limit = target.min(self.batch_limit);
        } else if items * 2 >= limit {
            self.batch_limit = target.min(self.batch_limit * 2).max(1);
        }
    }

    /// A batch was not answered in time.
    pub(super) fn halve_batch_limit(&mut self) {
        self.batch_limit = (self.batch_limit / 2).max(1);
    }
}

fn call_of(items: &[Staged]) -> SpireCall {
    let ids = || items.iter().map(|i| i.operation.id().clone()).collect();
    let entries = || -> Vec<(EntryId, Arc<Entry>)> {
        items
            .iter()
            .filter_map(|i| match &i.operation {
                Operation::Create { id, entry, .. } | Operation::Update { id, entry, .. } => {
                    Some((id.clone(), entry.clone()))
                }
                Operation::Delete { .. } | Operation::Read { .. } => None,
            })
            .collect()
    };
    match items[0].kind() {
        BatchKind::Create => SpireCall::Create { entries: entries() },
        BatchKind::Update(mask) => SpireCall::Update {
            mask,
            entries: entries(),
        },
        BatchKind::Delete => SpireCall::Delete { ids: ids() },
        BatchKind::Read => SpireCall::Read { ids: ids() },
    }
}

/// The owner that an operation confirms, if it does.
pub(super) fn owner_of(operation: &Operation) -> Option<&Uid> {
    match operation {
        Operation::Create { owner, .. } | Operation::Update { owner, .. } => Some(owner),
        Operation::Delete { .. } | Operation::Read { .. } => None,
    }
}
