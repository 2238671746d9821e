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

/// An operation that waits for a slot.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) subject: Subject,
    pub(super) operation: Operation,
    pub(super) alone: bool,
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
    },
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
    pub(super) fn free_slots(&self) -> usize {
        let batches = self
            .flights
            .values()
            .filter(|f| matches!(f, Flight::Batch { .. }))
            .count();
        self.slots.limit().saturating_sub(batches)
    }

    pub(super) fn stage(&mut self, subject: &Subject, operation: Operation) {
        self.queue.begin(subject);
        let alone = self.queue.get(subject).is_some_and(|w| w.alone);
        self.staged.push_back(Staged {
            subject: subject.clone(),
            operation,
            alone,
        });
    }

    /// Sends what is staged, the oldest first, while slots are free.
    pub(super) fn send_staged(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        while !self.staged.is_empty()
            && self.free_slots() > 0
            && self.gate.is_open(now, self.flights.len())
        {
            let items = self.next_batch(now);
            if items.is_empty() {
                continue;
            }
            if self.policy.dry_run && !matches!(items[0].operation, Operation::Read { .. }) {
                self.only_tell(items, now);
                continue;
            }
            let call = call_of(&items);
            let asked = self.stamp;
            let id = self.launch(Flight::Batch {
                items,
                sent: now,
                asked,
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

    /// Takes the oldest staged operation and all that may travel with it. What changed meanwhile is looked at again instead.
    fn next_batch(&mut self, now: Now) -> Vec<Staged> {
        let mut batch: Vec<Staged> = Vec::new();
        let mut rest = std::collections::VecDeque::new();
        let mut stale = Vec::new();
        while let Some(item) = self.staged.pop_front() {
            if self.queue.is_stale(&item.subject) {
                stale.push(item.subject);
                continue;
            }
            let fits = match batch.first() {
                None => true,
                Some(first) => {
                    first.kind() == item.kind()
                        && !first.alone
                        && !item.alone
                        && batch.len() < self.batch_limit
                }
            };
            if fits {
                batch.push(item)
            } else {
                rest.push_back(item)
            }
        }
        self.staged = rest;
        for subject in stale {
            self.end(&subject, now);
        }
        batch
    }

    /// We do not lead any more: what was staged is looked at again by whoever does, but for what someone waits for.
    pub(super) fn unstage(&mut self, now: Now) {
        for item in std::mem::take(&mut self.staged) {
            if self.floor(&item.subject) == Urgency::Asked {
                self.staged.push_back(item);
            } else {
                self.end(&item.subject, now);
            }
        }
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

    /// Learns from how long a batch took how large the next may be.
    pub(super) fn learn_batch_limit(&mut self, items: usize, took: Duration) {
        let fits = BATCH_TIME.as_secs_f64() / (took.as_secs_f64() / items as f64).max(1e-6);
        let target = (fits as usize).clamp(1, LARGEST_BATCH);
        // A few items tell little about many: grow by doubling, shrink at once when a batch was too slow.
        if took > BATCH_TIME {
            self.batch_limit = target.min(self.batch_limit);
        } else if items * 2 >= self.batch_limit {
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
