//! What answers mean: to a call, and to each of its items.

use std::time::Duration;

use super::{
    CallId, Fact, Now, Reconciler,
    flight::{Flight, Staged},
    outcome::missing_bundle,
    plan::Operation,
};
use crate::ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireReply};

impl Reconciler {
    pub(super) fn replied(&mut self, now: Now, id: CallId, reply: SpireReply) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        if matches!(flight, Flight::Batch { .. }) {
            self.precedence.ended(now, flight.is_patient());
        }
        match (flight, reply) {
            (Flight::Page { asked }, Ok(SpireAnswer::Page { entries, next, .. })) => {
                self.answered();
                self.page_read(now, asked, entries, next);
            }
            (Flight::Page { asked }, reply) => {
                let failure = self.failed_call(now, "ListEntries", reply.err());
                self.scan
                    .page_failed(asked, failure == FailureClass::Permanent);
            }
            (Flight::Find { subject, asked, .. }, Ok(SpireAnswer::Page { entries, .. })) => {
                self.answered();
                self.found(now, &subject, asked, entries);
            }
            (Flight::Find { subject, pod, .. }, reply) => {
                self.failed_call(now, "ListEntries", reply.err());
                self.find_again(subject, pod);
            }
            (Flight::Bundles { asked }, Ok(SpireAnswer::Bundles(known))) => {
                self.answered();
                self.bundles_read(now, asked, known);
            }
            (Flight::Bundles { .. }, reply) => {
                let class = reply
                    .as_ref()
                    .err()
                    .map_or(FailureClass::Permanent, |f| f.class);
                if matches!(class, FailureClass::Denied | FailureClass::Permanent) {
                    // The server answers: only this list is not to be had.
                    self.answered();
                    self.bundle_poll.refused(now);
                } else {
                    self.failed_call(now, "ListFederatedBundles", reply.err());
                    self.bundle_poll.failed();
                }
            }
            (
                Flight::Batch {
                    items,
                    sent,
                    asked,
                    limit,
                },
                reply,
            ) => {
                self.learn(now, items.len(), limit, now.saturating_sub(sent), &reply);
                self.batch_replied(now, items, asked, reply);
            }
        }
    }

    fn answered(&mut self) {
        if self.gate.answered() {
            self.facts.push(Fact::ServerBack);
        }
    }

    fn failed_call(
        &mut self,
        now: Now,
        method: &'static str,
        failure: Option<Failure>,
    ) -> FailureClass {
        let failure = failure.unwrap_or_else(|| {
            Failure::new(FailureClass::Permanent, "the answer does not fit the call")
        });
        let class = failure.class;
        let retry_in = self.gate.failed(now, &failure.message);
        self.facts.push(Fact::ServerFailed {
            method,
            failure,
            retry_in,
        });
        class
    }

    /// What a batch of writes tells of the server's load.
    fn learn(&mut self, now: Now, items: usize, limit: usize, took: Duration, reply: &SpireReply) {
        let Ok(SpireAnswer::Written(outcomes)) = reply else {
            return;
        };
        if outcomes.len() != items {
            return;
        }
        self.learn_batch_limit(items, limit, took);
        if outcomes.iter().any(tells_of_distress) {
            self.slots.struggled(now);
        } else {
            self.slots.went_well();
        }
    }

    fn batch_replied(&mut self, now: Now, items: Vec<Staged>, asked: u64, reply: SpireReply) {
        match reply {
            Ok(SpireAnswer::Written(outcomes)) if outcomes.len() == items.len() => {
                self.answered();
                for (item, outcome) in items.into_iter().zip(outcomes) {
                    let subject = item.subject.clone();
                    self.item_written(now, item, outcome);
                    self.end(&subject, now);
                }
            }
            Ok(SpireAnswer::Read(results)) if results.len() == items.len() => {
                self.answered();
                for (item, result) in items.into_iter().zip(results) {
                    self.item_read(now, &item.subject, item.operation.id(), asked, result);
                    self.end(&item.subject, now);
                }
            }
            Ok(_) => self.batch_failed(
                now,
                items,
                Failure::new(FailureClass::Unknown, "the answer does not fit the call"),
            ),
            Err(failure) => self.batch_failed(now, items, failure),
        }
    }

    /// The call failed as a whole.
    fn batch_failed(&mut self, now: Now, items: Vec<Staged>, failure: Failure) {
        let method = match &items[0].operation {
            Operation::Create { .. } => "BatchCreateEntry",
            Operation::Update { .. } => "BatchUpdateEntry",
            Operation::Delete { .. } => "BatchDeleteEntry",
            Operation::Read { .. } => "GetEntry",
        };
        let several = items.len() > 1;
        let class = failure.class;
        if class == FailureClass::Permanent {
            self.answered();
        } else {
            self.failed_call(now, method, Some(failure.clone()));
        }
        if class == FailureClass::Unknown {
            self.halve_batch_limit();
            self.slots.struggled(now);
        }
        for item in items {
            let subject = item.subject.clone();
            match class {
                FailureClass::Unknown => self.in_doubt(&subject, &item.operation),
                // One item may have spoilt it for all: each travels alone from now on.
                FailureClass::Permanent if several => {
                    if let Some(work) = self.queue.get_mut(&subject) {
                        work.alone = true;
                    }
                }
                FailureClass::Permanent => self.refuse(now, &subject, failure.clone()),
                FailureClass::Retry | FailureClass::Denied => {}
            }
            self.end(&subject, now);
        }
    }
}

/// Whether an item failed for a reason that may lie in the server's load: a deadlock, a deadline within the batch.
fn tells_of_distress(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(failure) => {
            matches!(failure.class, FailureClass::Retry | FailureClass::Unknown)
                && missing_bundle(&failure.message).is_none()
        }
        Outcome::Ok | Outcome::AlreadyExists(_) | Outcome::NotFound => false,
    }
}
