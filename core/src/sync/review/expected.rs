//! Pods that are about to be: reviewed, and not seen yet.

use super::Reviews;
use crate::{
    cluster::PodSnapshot,
    rules::Subject,
    sync::{Now, Reconciler, queue::Urgency},
};

/// Pods of one name that are expected at a time.
const EXPECTED_AT_MOST: usize = 8;

#[derive(Debug)]
pub(super) struct Expected {
    pub(super) pod: PodSnapshot,
    until: Now,
}

impl Reviews {
    /// The pods that were admitted and have not been seen yet, the latest first.
    pub(in crate::sync) fn expected(
        &self,
        subject: &Subject,
    ) -> impl Iterator<Item = &PodSnapshot> {
        let expected = self.expected.get(subject).into_iter().flatten();
        expected.rev().map(|e| &e.pod)
    }

    pub(super) fn expect_no_longer(
        &mut self,
        subject: &Subject,
        when: impl Fn(&Expected) -> bool,
    ) -> bool {
        let Some(expected) = self.expected.get_mut(subject) else {
            return false;
        };
        let before = expected.len();
        expected.retain(|e| !when(e));
        let changed = expected.len() < before;
        if expected.is_empty() {
            self.expected.remove(subject);
        }
        changed
    }
}

impl Reconciler {
    pub(super) fn expect(&mut self, now: Now, subject: &Subject, pod: PodSnapshot) {
        let waiting = self.reviews.waiting.get(subject).into_iter().flatten();
        let answered_by = waiting.map(|w| w.deadline).max().unwrap_or(now);
        let until = (now + self.policy.pods.orphan_grace).max(answered_by);
        self.reviews.expiries.push_back((until, subject.clone()));
        let expected = self.reviews.expected.entry(subject.clone()).or_default();
        expected.retain(|e| e.pod.uid != pod.uid);
        let given_up = (expected.len() >= EXPECTED_AT_MOST).then(|| expected.remove(0).pod.uid);
        expected.push(Expected { pod, until });
        if let Some(uid) = given_up {
            let why = format!("more than {EXPECTED_AT_MOST} pods of this name are about to be");
            self.reviews
                .answer(subject, &Err(why.into()), |w| w.uid == uid);
        }
        self.queue.mark(subject, Urgency::Asked, now);
        // Other replicas write too: what we believe to be there is read before a review is told so.
        let believed: Vec<_> = self
            .mirror
            .of(subject)
            .map(|r| r.entry.id.clone())
            .collect();
        if let Some(work) = self.queue.get_mut(subject) {
            for id in believed {
                work.doubtful.entry(id).or_default();
            }
        }
    }

    /// Pods that did not appear in time are expected no longer.
    pub(in crate::sync) fn expire(&mut self, now: Now) {
        let due = |reviews: &Reviews| reviews.expiries.front().is_some_and(|(at, _)| *at <= now);
        if due(&self.reviews) {
            // Else a review whose pod is not expected any more would be granted: nothing is wanted for it.
            self.answer_overdue(now);
        }
        while self
            .reviews
            .expiries
            .front()
            .is_some_and(|(at, _)| *at <= now)
        {
            let Some((at, subject)) = self.reviews.expiries.pop_front() else {
                return;
            };
            if self.reviews.expect_no_longer(&subject, |e| e.until <= at) {
                let urgency = self.urgency_of(&subject);
                self.queue.mark(&subject, urgency, now);
            }
        }
    }
}
