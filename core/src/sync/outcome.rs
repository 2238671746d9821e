//! What became of one operation: what the mirror learns from it, and when it is tried again.

use std::time::Duration;

use super::{
    Fact, Now, Reconciler,
    flight::{Staged, owner_of},
    gate::back_off,
    plan::Operation,
    queue::{Attempt, Urgency},
};
use crate::{
    cluster::Uid,
    entry::{EntryId, RegisteredEntry},
    ports::{Failure, FailureClass, Outcome},
    rules::{Ownership, Subject},
    spiffe::TrustDomain,
};

impl Reconciler {
    /// What became of an operation is to be read before anything else is done.
    pub(super) fn in_doubt(&mut self, subject: &Subject, operation: &Operation) {
        let updated = match operation {
            Operation::Update { entry, .. } => Some(entry.clone()),
            _ => None,
        };
        let attempt = owner_of(operation).cloned();
        let attempt = attempt.map(|owner| Attempt { updated, owner });
        if let Some(work) = self.queue.get_mut(subject) {
            work.doubtful.insert(operation.id().clone(), attempt);
        }
    }

    /// An entry that we do not know is to be read.
    fn look_up(&mut self, subject: &Subject, id: &EntryId) {
        if let Some(work) = self.queue.get_mut(subject) {
            work.doubtful.entry(id.clone()).or_default();
        }
    }

    pub(super) fn item_written(&mut self, now: Now, item: Staged, outcome: Outcome) {
        let Staged {
            subject, operation, ..
        } = item;
        let stamp = self.stamp;
        match (operation, outcome) {
            (Operation::Create { id, entry, owner }, Outcome::Ok) => {
                let waited = self
                    .queue
                    .get(&subject)
                    .map_or(Duration::ZERO, |w| now.saturating_sub(w.since));
                let spiffe_id = entry.spiffe_id.clone();
                let stored = RegisteredEntry::created(id.clone(), &entry);
                self.mirror.put(stored, subject.clone(), Some(owner), stamp);
                self.succeeded(&subject);
                if self.observed.pod(&subject).is_none() {
                    self.sign_of_life(now, &subject, None);
                }
                self.facts.push(Fact::Created {
                    subject,
                    id,
                    spiffe_id,
                    waited,
                });
            }
            (Operation::Create { owner, .. }, Outcome::AlreadyExists(Some(stored))) => {
                self.similar_found(now, &subject, *stored, owner);
            }
            (operation @ Operation::Create { .. }, Outcome::AlreadyExists(None)) => {
                // Our ID is taken, or the entry holds a value twice: see what is there under the ID.
                self.in_doubt(&subject, &operation);
                let message = "the entry's ID is taken by another entry";
                self.refuse(
                    now,
                    &subject,
                    Failure::new(FailureClass::Permanent, message),
                );
            }
            (
                Operation::Update {
                    id,
                    entry,
                    mask,
                    owner,
                },
                Outcome::Ok,
            ) => match self.mirror.get(&id).map(|r| r.entry.clone()) {
                Some(mut stored) => {
                    stored.update(&entry, mask);
                    self.mirror.put(stored, subject.clone(), Some(owner), stamp);
                    let spiffe_id = entry.spiffe_id.clone();
                    self.succeeded(&subject);
                    self.facts.push(Fact::Updated {
                        subject,
                        id,
                        spiffe_id,
                        fields: mask,
                    });
                }
                None => self.look_up(&subject, &id),
            },
            (Operation::Update { id, .. }, Outcome::NotFound) => {
                self.mirror.remove(&id, stamp);
            }
            (Operation::Delete { id, reason }, Outcome::Ok | Outcome::NotFound) => {
                self.mirror.remove(&id, stamp);
                self.breaker.pardon(&id);
                if let Some(work) = self.queue.get_mut(&subject) {
                    work.failures = 0;
                }
                self.facts.push(Fact::Deleted {
                    subject,
                    id,
                    reason,
                });
            }
            (operation, Outcome::Refused(failure)) => {
                let missing = owner_of(&operation)
                    .and_then(|_| missing_bundle(&failure.message))
                    .filter(|td| self.bundles.missing.insert(td.clone()));
                if missing.is_some() {
                    // The identity is never refused because of federation: at once again, without it.
                    self.bundle_poll.contradicted(stamp);
                } else if failure.class == FailureClass::Unknown {
                    self.in_doubt(&subject, &operation);
                    self.back_off(now, &subject);
                } else {
                    self.refuse(now, &subject, failure);
                }
            }
            (operation, Outcome::AlreadyExists(_) | Outcome::NotFound | Outcome::Ok) => {
                let message = format!("unexpected answer to an operation on {}", operation.id());
                self.refuse(
                    now,
                    &subject,
                    Failure::new(FailureClass::Permanent, message),
                );
            }
        }
    }

    fn succeeded(&mut self, subject: &Subject) {
        self.refused.remove(subject);
        if let Some(work) = self.queue.get_mut(subject) {
            work.failures = 0;
            work.alone = false;
        }
    }

    /// The server has a similar entry already: it is the one we want, if it is ours.
    fn similar_found(&mut self, now: Now, subject: &Subject, stored: RegisteredEntry, owner: Uid) {
        let whose = match self.classify(&stored) {
            Ownership::Ours(whose) if self.cannot_keep(&whose, &stored) => {
                Ownership::Ours(subject.clone())
            }
            whose => whose,
        };
        match whose {
            Ownership::Ours(whose) if self.is_busy_elsewhere(subject, &whose, &stored) => {
                // It is about to become something else, or to go, unless whoever has it now looks at it once more. That is not
                // always whose it should be: this one must not be brought back at once by itself.
                let has = self.mirror.get(&stored.id).map(|r| r.subject.clone());
                let has = has.unwrap_or(whose);
                if has != *subject {
                    self.queue.mark(&has, Urgency::Changed, now);
                }
                self.back_off(now, subject);
            }
            Ownership::Ours(whose) => {
                let id = stored.id.clone();
                let stamp = self.stamp;
                if self.observed.pod(&whose).is_none() {
                    self.sign_of_life(now, &whose, None);
                }
                // It is what this very object wants, whoever it was made for.
                let owner = (whose == *subject).then_some(owner);
                self.mirror.put(stored, whose, owner, stamp);
                self.succeeded(subject);
                self.facts.push(Fact::Adopted {
                    subject: subject.clone(),
                    id,
                });
            }
            Ownership::Foreign(_) => {
                let message = format!(
                    "entry {} has the same SPIFFE ID, parent and selectors and is not ours; \
                     delete it, or keep it instead of this pod's",
                    stored.id
                );
                self.refuse(now, subject, Failure::new(FailureClass::Permanent, message));
            }
        }
    }

    /// Whether a similar entry is that of another SpiffeID, or about to be.
    fn is_busy_elsewhere(
        &self,
        subject: &Subject,
        whose: &Subject,
        stored: &RegisteredEntry,
    ) -> bool {
        let another = whose != subject && matches!(whose, Subject::SpiffeId(..));
        another || matches!(subject, Subject::SpiffeId(..)) && self.is_under_way(&stored.id)
    }

    /// Whether an operation on this entry is staged or in flight.
    pub(super) fn is_under_way(&self, id: &EntryId) -> bool {
        let record = self.mirror.get(id);
        record.is_some_and(|r| {
            let work = self.queue.get(&r.subject);
            work.is_some_and(|w| w.in_flight > 0)
        })
    }

    /// For which object an entry is as it is, if a write for that object of which no answer came made it so.
    pub(super) fn meant_for(&self, subject: &Subject, stored: &RegisteredEntry) -> Option<Uid> {
        let doubtful = &self.queue.get(subject)?.doubtful;
        let attempt = doubtful.get(&stored.id)?.as_ref()?;
        let updated = attempt.updated.as_ref();
        let arrived = updated.is_none_or(|entry| entry.changed_fields(stored).is_empty());
        arrived.then(|| attempt.owner.clone())
    }

    pub(super) fn item_read(
        &mut self,
        now: Now,
        subject: &Subject,
        id: &EntryId,
        asked: u64,
        result: Result<Option<RegisteredEntry>, Failure>,
    ) {
        let stored = match result {
            Ok(stored) => stored,
            Err(_) => return self.back_off(now, subject),
        };
        let meant_for = stored.as_ref().and_then(|s| self.meant_for(subject, s));
        if let Some(work) = self.queue.get_mut(subject) {
            work.doubtful.remove(id);
        }
        let known = self.mirror.get(id).is_some();
        match stored.map(|s| (self.classify(&s), s)) {
            Some((Ownership::Ours(whose), stored)) => {
                // What was meant for an object, and arrived, is that object's; else it is whose it was.
                let before = self.mirror.get(id).filter(|r| r.subject == whose);
                let meant_for = meant_for.filter(|_| whose == *subject);
                let owner = meant_for.or_else(|| before.and_then(|r| r.owner.clone()));
                self.mirror.put(stored, whose.clone(), owner, asked);
                if !known {
                    self.facts.push(Fact::Adopted {
                        subject: whose.clone(),
                        id: id.clone(),
                    });
                }
                self.queue.mark(&whose, Urgency::Changed, now);
            }
            foreign @ (Some((Ownership::Foreign(_), _)) | None) => {
                self.claim_read(subject, id, foreign.is_some());
                self.mirror.remove(id, asked);
                self.breaker.pardon(id);
            }
        }
    }

    pub(super) fn refuse(&mut self, now: Now, subject: &Subject, failure: Failure) {
        self.refused.insert(subject.clone());
        let why = format!("the SPIRE Server refuses the entry: {}", failure.message);
        self.reviews.resolve(subject, &Err(why.into()));
        self.release_waiting(subject, now);
        let retry_in = self.back_off_for(now, subject, failure.class);
        let uid = self.uid_of(subject);
        self.report_refusal(subject, &failure.message);
        self.facts.push(Fact::Refused {
            subject: subject.clone(),
            uid,
            failure,
            retry_in,
        });
    }

    fn back_off(&mut self, now: Now, subject: &Subject) {
        self.back_off_for(now, subject, FailureClass::Retry);
    }

    pub(super) fn back_off_for(
        &mut self,
        now: Now,
        subject: &Subject,
        class: FailureClass,
    ) -> Duration {
        let (first, longest) = match class {
            FailureClass::Retry | FailureClass::Unknown => (500, 60_000),
            FailureClass::Permanent | FailureClass::Denied => (2_000, 300_000),
        };
        let failures = self.queue.get(subject).map_or(0, |w| w.failures);
        let salt = self
            .stamp
            .wrapping_mul(31)
            .wrapping_add(u64::from(failures));
        let first = Duration::from_millis(first);
        let delay = back_off(first, Duration::from_millis(longest), failures, salt);
        if let Some(work) = self.queue.get_mut(subject) {
            work.failures = failures.saturating_add(1);
        }
        self.queue.back_off(subject, now, delay);
        delay
    }
}

/// The trust domain in SPIRE's `unable to find federated bundle "spiffe://<td>"`.
pub(super) fn missing_bundle(message: &str) -> Option<TrustDomain> {
    let (_, rest) = message.split_once("unable to find federated bundle \"")?;
    let (name, _) = rest.split_once('"')?;
    TrustDomain::from_name_or_id(name).ok()
}
