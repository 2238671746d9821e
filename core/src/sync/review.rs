//! Admission reviews: pods that are about to be, answers that are owed, and how long the entry of a pod that nobody sees
//! stays.
//!
//! A review that asks for an entry makes its pod *expected*: until the watch shows that pod, or the grace has passed, the
//! machine takes it for there. So a review's create and the sweep are one decision, and cannot fight.

mod absence;
mod expected;
mod succession;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use expected::Expected;
use succession::Suspect;

use super::{Now, Reconciler, Review, ReviewId, queue::Urgency};
use crate::{
    cluster::{Kind, ObjectKey, PodSnapshot, Uid},
    entry::RegisteredEntry,
    index::{Index, IndexSet},
    policy::NodePolicy,
    rules::{Decision, Subject, subject_of_pod},
};

/// How long a review waits for a server that does not answer: a restart goes unnoticed, an outage blocks nobody.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the entry of a former process' review waits for its pod: that process is gone, its answer was given, and all
/// that may be under way is the API server's own write.
const FORMER_REVIEW: Duration = Duration::from_secs(5);
/// Until a pod that could not be looked up is looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);

/// A review that is owed an answer.
#[derive(Debug)]
struct Waiting {
    id: ReviewId,
    uid: Uid,
    deadline: Now,
    /// The pod it is about, while it is not known whether another one of its name still lives.
    blocked: Option<PodSnapshot>,
}

#[derive(Debug)]
struct Sign {
    /// The entry stays until then.
    keep_until: Now,
    /// Which pod; where only an entry with a UID is known, that cannot be told.
    key: Option<ObjectKey>,
}

#[derive(Debug, Default)]
pub(super) struct Reviews {
    /// Whether reviews may be granted at all.
    pub(super) answering: bool,
    waiting: Index<Subject, Vec<Waiting>>,
    /// Usually one; creates of one name that come together differ at most one of them, and only the watch tells which.
    expected: Index<Subject, Vec<Expected>>,
    /// When pods stop being expected, in order.
    expiries: VecDeque<(Now, Subject)>,
    /// Pods that are gone for good, whose entries are to be found on the server.
    finds: Index<Subject, PodSnapshot>,
    signs: Index<Subject, Sign>,
    /// Looked up, and not there.
    absent: IndexSet<Subject>,
    /// Pods of which it must be proven that they are as we see them before anything is repaired.
    suspects: Index<Subject, Suspect>,
    looking_up: Index<ObjectKey, IndexSet<Subject>>,
    pub(super) look_ups: Vec<ObjectKey>,
    pub(super) answers: Vec<(ReviewId, Result<(), Arc<str>>)>,
    /// What the wall clock showed at this process' time zero.
    unix_at_zero: Option<i64>,
}

impl Reviews {
    /// Whether a review waits for this subject.
    pub(super) fn waits_for(&self, subject: &Subject) -> bool {
        self.waiting.contains_key(subject)
    }

    /// The answer to all reviews that wait for this subject.
    pub(super) fn resolve(&mut self, subject: &Subject, answer: &Result<(), Arc<str>>) {
        for waiting in self.waiting.remove(subject).into_iter().flatten() {
            self.answers.push((waiting.id, answer.clone()));
        }
    }

    /// The answer to some of them.
    fn answer(
        &mut self,
        subject: &Subject,
        answer: &Result<(), Arc<str>>,
        which: impl Fn(&Waiting) -> bool,
    ) {
        let Some(waiting) = self.waiting.get_mut(subject) else {
            return;
        };
        for answered in waiting.extract_if(.., |w| which(w)) {
            self.answers.push((answered.id, answer.clone()));
        }
        if waiting.is_empty() {
            self.waiting.remove(subject);
        }
    }

    pub(super) fn forget(&mut self, subject: &Subject) {
        self.signs.remove(subject);
        self.absent.remove(subject);
    }

    fn sign(&mut self, subject: &Subject, keep_until: Now, key: Option<ObjectKey>) {
        self.absent.remove(subject);
        let sign = self.signs.entry(subject.clone()).or_insert(Sign {
            keep_until,
            key: None,
        });
        sign.keep_until = sign.keep_until.max(keep_until);
        if key.is_some() {
            sign.key = key;
        }
    }

    fn look_up(&mut self, key: ObjectKey, subject: &Subject) {
        let subjects = self.looking_up.entry(key.clone()).or_default();
        if subjects.is_empty() {
            self.look_ups.push(key);
        }
        subjects.insert(subject.clone());
    }

    /// When something is due without an event.
    pub(super) fn next_at(&self, failing_since: Option<Now>) -> Option<Now> {
        let deadlines = self.waiting.values().flatten().map(|w| w.deadline);
        let outage = failing_since
            .filter(|_| !self.waiting.is_empty())
            .map(|since| since + OUTAGE_PATIENCE);
        let expiry = self.expiries.front().map(|(at, _)| *at);
        deadlines.chain(outage).chain(expiry).min()
    }
}

pub(super) fn is_pod(subject: &Subject) -> bool {
    matches!(subject, Subject::Pod(..) | Subject::PodUid(_))
}

fn key_of(pod: &PodSnapshot) -> ObjectKey {
    ObjectKey::new(Kind::Pod, pod.namespace.clone(), pod.name.clone())
}

impl Reconciler {
    /// The entry of all nodes, where there is one.
    pub(super) fn all_nodes(&self) -> Option<Subject> {
        (self.policy.nodes == NodePolicy::OneForAll).then(|| Subject::Node("".into()))
    }

    pub(super) fn is_all_nodes(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::Node(name) if name.is_empty())
            && self.policy.nodes == NodePolicy::OneForAll
    }

    /// Whether the entry that all pods hang under is still to be made.
    pub(super) fn all_nodes_missing(&self) -> bool {
        let missing = |s: Subject| !self.policy.dry_run && !self.mirror.has(&s);
        self.all_nodes().is_some_and(missing)
    }

    /// How urgent a subject is at least.
    pub(super) fn floor(&self, subject: &Subject) -> Urgency {
        if self.reviews.waits_for(subject) || self.is_all_nodes(subject) {
            Urgency::Asked
        } else {
            Urgency::Resync
        }
    }

    /// Whether entries outlive their pods' last sign.
    fn keeps_orphans(&self) -> bool {
        self.policy.pods.watched && self.policy.pods.orphan_grace > Duration::ZERO
    }

    /// A sign of life of a pod that is not seen itself.
    pub(super) fn sign_of_life(&mut self, now: Now, subject: &Subject, key: Option<ObjectKey>) {
        if self.keeps_orphans() && is_pod(subject) {
            let keep_until = now + self.policy.pods.orphan_grace;
            self.reviews.sign(subject, keep_until, key);
        }
    }

    /// An entry that we did not know: its pod may be about to be. What the first reading shows is as old as the server
    /// says; what comes later is new.
    pub(super) fn sign_of_entry(&mut self, now: Now, subject: &Subject, entry: &RegisteredEntry) {
        if !self.keeps_orphans() || !is_pod(subject) {
            return;
        }
        let grace = self.policy.pods.orphan_grace;
        let keep_until = match self.reviews.unix_at_zero {
            Some(zero) if !self.scan.has_completed() && entry.created_at > 0 => {
                let age_at_zero = zero - entry.created_at;
                let longest = if age_at_zero > 0 {
                    FORMER_REVIEW
                } else {
                    grace
                };
                let since_zero = grace.as_secs() as i64 + 1 - age_at_zero;
                Duration::from_secs(since_zero.max(0) as u64).min(now + longest)
            }
            _ => now + grace,
        };
        self.reviews.sign(subject, keep_until, None);
    }

    pub(super) fn unix_time(&mut self, now: Now, unix: i64) {
        self.reviews.unix_at_zero = Some(unix - now.as_secs() as i64);
    }

    /// The pod is seen: nothing need be remembered of its name.
    pub(super) fn pod_is_seen(&mut self, subject: &Subject) {
        if let Some(pod) = self.observed.pod(subject) {
            let uid = pod.uid.clone();
            self.reviews.forget(subject);
            self.reviews.expect_no_longer(subject, |e| e.pod.uid == uid);
        }
    }

    pub(super) fn reviewed(&mut self, now: Now, id: ReviewId, review: Review, patience: Duration) {
        let deadline = now + patience;
        match review {
            Review::Created(pod) => self.announced(now, id, pod, deadline),
            Review::Deleted(pod) => {
                let subject = subject_of_pod(&self.policy, &pod);
                let uid = pod.uid.clone();
                self.reviews
                    .expect_no_longer(&subject, |e| e.pod.uid == uid);
                let succeeded = self.reviews.expected(&subject).next().is_some();
                if self.policy.pods.watched || succeeded {
                    self.reviews.answers.push((id, Ok(())));
                    return;
                }
                self.reviews.finds.insert(subject.clone(), pod);
                self.wait(&subject, id, uid, deadline);
            }
        }
    }

    fn wait(&mut self, subject: &Subject, id: ReviewId, uid: Uid, deadline: Now) {
        let waiting = self.reviews.waiting.entry(subject.clone()).or_default();
        waiting.push(Waiting {
            id,
            uid,
            deadline,
            blocked: None,
        });
    }

    fn announced(&mut self, now: Now, id: ReviewId, pod: PodSnapshot, deadline: Now) {
        let subject = subject_of_pod(&self.policy, &pod);
        self.sign_of_life(now, &subject, Some(key_of(&pod)));
        let wanted = self.decide_now(&pod);
        if !matches!(wanted, Decision::Register { .. }) {
            self.reviews.answers.push((id, Ok(())));
            return;
        }
        let other = self.observed.pod(&subject).filter(|p| p.uid != pod.uid);
        if other.is_some_and(|p| self.decide_now(p) != wanted) {
            // Either that one is gone and we have not heard of it yet, or this create cannot succeed, and must not change
            // what the living one has.
            self.reviews.look_up(key_of(&pod), &subject);
            self.wait(&subject, id, pod.uid.clone(), deadline);
            let waiting = self.reviews.waiting.get_mut(&subject);
            if let Some(review) = waiting.and_then(|w| w.last_mut()) {
                review.blocked = Some(pod);
            }
            return;
        }
        self.wait(&subject, id, pod.uid.clone(), deadline);
        self.expect(now, &subject, pod);
    }

    /// Whether a review for this subject waits for a look-up.
    pub(super) fn is_blocked(&self, subject: &Subject) -> bool {
        let waiting = self.reviews.waiting.get(subject);
        waiting.is_some_and(|w| w.iter().all(|w| w.blocked.is_some()))
    }

    /// Answers the reviews that have waited long enough.
    pub(super) fn answer_overdue(&mut self, now: Now) {
        let outage = self
            .gate
            .failing()
            .is_some_and(|(since, _)| now >= *since + OUTAGE_PATIENCE);
        if self.reviews.waiting.is_empty() {
            return;
        }
        let why = self.why_waiting();
        let hopeless = outage || self.paused;
        let reviews = &mut self.reviews;
        let mut failed = Vec::new();
        for (subject, waiting) in &mut reviews.waiting {
            waiting.retain(|review| {
                let overdue = hopeless || review.deadline <= now;
                if overdue {
                    reviews.answers.push((review.id, Err(why.clone())));
                    failed.push((subject.clone(), review.uid.clone()));
                }
                !overdue
            });
        }
        for (subject, uid) in failed {
            // Whether the pod comes to be nobody knows now; if it does, the watch tells.
            reviews.expect_no_longer(&subject, |e| e.pod.uid == uid);
            reviews.finds.remove(&subject);
        }
        reviews.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    fn why_waiting(&self) -> Arc<str> {
        if let Some((_, why)) = self.gate.failing() {
            format!("the SPIRE Server does not answer: {why}").into()
        } else if self.paused {
            "all writing is paused (pause: \"true\" in the ConfigMap k8s-workload-registrar-control)".into()
        } else if !self.reviews.answering {
            "the SPIRE Server has not answered yet".into()
        } else if !self.scan.has_completed() {
            "the SPIRE Server's entries are not read yet".into()
        } else if self.all_nodes_missing() {
            let root = &self.policy.root;
            format!("the entry of all nodes, {root}, is not there yet").into()
        } else {
            "the SPIRE Server has not acknowledged the entry in time".into()
        }
    }
}
