//! Entries that changed without us, of pods that we see or expect. Another replica may have written them for what our watch is
//! yet to show: the next pod of the name, reviewed there, or a change of this one; and a pod that we expect need not have come
//! to be. Put right, they would go back to what was. So the pod is looked up first.

use super::{LOOK_UP_AGAIN, key_of};
use crate::{
    cluster::PodSnapshot,
    rules::Subject,
    sync::{LookUp, Now, Reconciler},
};

/// A pod that may not be as we see it.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    /// When to look again.
    again_at: Now,
    /// As it was found, which was not as we saw it.
    found: Option<Box<PodSnapshot>>,
}

impl Reconciler {
    /// An entry of this subject is not as we knew it.
    pub(in crate::sync) fn suspect_succession(&mut self, subject: &Subject) {
        // An entry that names its pod's UID is no other pod's.
        let by_name = matches!(subject, Subject::Pod(..));
        if self.keeps_orphans() && by_name && self.seen_or_expected(subject).is_some() {
            self.reviews.suspects.entry(subject.clone()).or_default();
        }
    }

    /// Whether it is yet to be proven that the pod is as we see it; asks for the proof.
    pub(in crate::sync) fn awaits_proof(&mut self, subject: &Subject, now: Now) -> bool {
        let Some(suspect) = self.reviews.suspects.get(subject) else {
            return false;
        };
        if self.reviews.waits_for(subject) {
            return false;
        }
        let seen = self.seen_or_expected(subject);
        let Some(seen) = seen.filter(|pod| suspect.found.as_deref() != Some(*pod)) else {
            self.reviews.suspects.remove(subject);
            return false;
        };
        if now < suspect.again_at {
            self.queue.sleep_until(subject, now, suspect.again_at);
        } else {
            self.reviews.look_up(key_of(seen), subject);
        }
        true
    }

    /// Takes what a look-up found for the proof, if one is awaited. Where it is none, the watch will tell what happened.
    pub(in crate::sync) fn take_proof(
        &mut self,
        now: Now,
        subject: &Subject,
        found: &LookUp,
    ) -> bool {
        if !self.reviews.suspects.contains_key(subject) {
            return false;
        }
        let Some(seen) = self.seen_or_expected(subject) else {
            return false;
        };
        let proven = match found {
            LookUp::There(_, Some(pod)) if self.observed.pod(subject).is_some() => **pod == *seen,
            // What was reviewed is completed before it is stored: it is told by its UID.
            LookUp::There(uid, _) => *uid == seen.uid,
            LookUp::Absent | LookUp::Failed(_) => false,
        };
        if proven {
            self.reviews.suspects.remove(subject);
            return true;
        }
        let suspect = self.reviews.suspects.entry(subject.clone()).or_default();
        suspect.again_at = now + LOOK_UP_AGAIN;
        suspect.found = match found {
            LookUp::There(_, pod) => pod.clone(),
            _ => None,
        };
        true
    }

    /// Of pods that are gone there is nothing to prove.
    pub(in crate::sync) fn forget_suspects(&mut self) {
        let (observed, expected) = (&self.observed, &self.reviews.expected);
        let is_there = |s: &Subject| observed.pod(s).is_some() || expected.contains_key(s);
        self.reviews.suspects.retain(|subject, _| is_there(subject));
    }
}
