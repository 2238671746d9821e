//! Whether pods are gone for good, and what is left of them: look-ups of pods, and of the entries of pods that nobody watches.

use super::{LOOK_UP_AGAIN, is_pod};
use crate::{
    cluster::{Kind, ObjectKey, PodSnapshot},
    entry::RegisteredEntry,
    ports::SpireCall,
    rules::{Subject, selectors_of},
    sync::{CallId, LookUp, Now, Reconciler, flight::Flight, observed::Touched, queue::Urgency},
};

impl Reconciler {
    /// Asks for the entries of pods that are gone for good.
    pub(in crate::sync) fn find_on(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        if self.paused || !self.gate.is_open(now, self.flights.len()) {
            return;
        }
        for (subject, pod) in std::mem::take(&mut self.reviews.finds) {
            let call = SpireCall::Find {
                parent: self.policy.root.clone(),
                selectors: selectors_of(&self.policy, &pod),
            };
            let asked = self.stamp;
            let id = self.launch(Flight::Find {
                subject,
                pod,
                asked,
            });
            calls.push((id, call));
        }
    }

    pub(in crate::sync) fn found(
        &mut self,
        now: Now,
        subject: &Subject,
        asked: u64,
        entries: Vec<RegisteredEntry>,
    ) {
        let scan = self.scan.number();
        for entry in entries {
            self.entry_read(now, entry, asked, scan);
        }
        if self.reviews.waits_for(subject) {
            self.ended.insert(subject.clone());
            self.queue.mark(subject, Urgency::Asked, now);
        }
    }

    pub(in crate::sync) fn find_again(&mut self, subject: Subject, pod: PodSnapshot) {
        if self.reviews.waits_for(&subject) {
            self.reviews.finds.insert(subject, pod);
        }
    }

    /// Whether the entries of a pod that nobody sees may go now; if not, sees to it that they are looked at again.
    pub(in crate::sync) fn is_orphan(&mut self, subject: &Subject, now: Now) -> bool {
        if !self.keeps_orphans() || !is_pod(subject) {
            return true;
        }
        let keep_until = self.reviews.signs.get(subject).map(|s| s.keep_until);
        match keep_until.filter(|until| now < *until) {
            Some(until) => {
                self.queue.sleep_until(subject, now, until);
                false
            }
            None => true,
        }
    }

    /// Whether the pod was looked up once more and is not there; if not yet, asks for it.
    pub(in crate::sync) fn is_absent_for_sure(&mut self, subject: &Subject) -> bool {
        if !self.keeps_orphans() || self.reviews.absent.contains(subject) {
            return true;
        }
        let key = match subject {
            Subject::Pod(namespace, name) => {
                Some(ObjectKey::new(Kind::Pod, namespace.clone(), name.clone()))
            }
            Subject::PodUid(_) => self.reviews.signs.get(subject).and_then(|s| s.key.clone()),
            _ => return true,
        };
        // Of a UID whose name was never known, the complete list is all there is to ask; it is never used twice.
        let Some(key) = key else { return true };
        self.reviews.look_up(key, subject);
        false
    }

    pub(in crate::sync) fn looked_up(
        &mut self,
        now: Now,
        key: &ObjectKey,
        found: &LookUp,
        touched: &mut Touched,
    ) {
        for subject in self.reviews.looking_up.remove(key).unwrap_or_default() {
            self.unblock(now, key, &subject, found, touched);
            if self.take_proof(now, &subject, found) {
                let urgency = self.urgency_of(&subject);
                self.queue.mark(&subject, urgency, now);
                continue;
            }
            let lives = match (found, &subject) {
                (LookUp::There(uid, _), Subject::PodUid(wanted)) => uid == wanted,
                (LookUp::There(..), _) => true,
                (LookUp::Absent | LookUp::Failed(_), _) => false,
            };
            match found {
                LookUp::Failed(_) => self.reviews.sign(&subject, now + LOOK_UP_AGAIN, None),
                _ if lives => self.sign_of_life(now, &subject, None),
                _ => drop(self.reviews.absent.insert(subject.clone())),
            }
            let urgency = self.urgency_of(&subject);
            self.queue.mark(&subject, urgency, now);
        }
    }

    /// What a look-up means to reviews that wait for it.
    fn unblock(
        &mut self,
        now: Now,
        key: &ObjectKey,
        subject: &Subject,
        found: &LookUp,
        touched: &mut Touched,
    ) {
        let Some(waiting) = self.reviews.waiting.get_mut(subject) else {
            return;
        };
        let mut blocked = Vec::new();
        for review in waiting.iter_mut() {
            blocked.extend(review.blocked.take().map(|pod| (review.id, pod)));
        }
        for (id, pod) in blocked {
            let answer = match found {
                LookUp::Absent => {
                    let former = self.observed.pod(subject).map(|p| p.uid.clone());
                    if let Some(former) = former.filter(|uid| *uid != pod.uid) {
                        self.observed.delete(key, &former, touched);
                        self.observed.bury(former);
                    }
                    self.expect(now, subject, pod);
                    continue;
                }
                LookUp::There(uid, _) if *uid == pod.uid => {
                    self.expect(now, subject, pod);
                    continue;
                }
                LookUp::There(..) => Ok(()),
                LookUp::Failed(why) => Err(format!("pod {key} cannot be looked up: {why}").into()),
            };
            self.reviews.answer(subject, &answer, |w| w.id == id);
        }
    }
}
