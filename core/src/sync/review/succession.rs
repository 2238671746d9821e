//! Entries that changed without us, of pods that we see. Another replica may have written them for the next pod of the name,
//! reviewed there, while our watch is behind: repaired, they would hand a former pod's identity to the new one. So the pod is
//! looked up first.

use super::{LOOK_UP_AGAIN, key_of};
use crate::{
    rules::Subject,
    sync::{LookUp, Now, Reconciler},
};

impl Reconciler {
    /// An entry of this subject is not as we knew it.
    pub(in crate::sync) fn suspect_succession(&mut self, subject: &Subject) {
        // An entry that names its pod's UID is no other pod's.
        let by_name = matches!(subject, Subject::Pod(..));
        if self.keeps_orphans() && by_name && self.observed.pod(subject).is_some() {
            self.reviews.suspects.entry(subject.clone()).or_default();
        }
    }

    /// Whether it is yet to be proven that the pod that we see is still the one that lives; asks for the proof.
    pub(in crate::sync) fn awaits_proof_of_life(&mut self, subject: &Subject, now: Now) -> bool {
        let Some(again_at) = self.reviews.suspects.get(subject).copied() else {
            return false;
        };
        if self.reviews.waits_for(subject) {
            return false;
        }
        let Some(key) = self.observed.pod(subject).map(key_of) else {
            self.reviews.suspects.remove(subject);
            return false;
        };
        if now < again_at {
            self.queue.sleep_until(subject, now, again_at);
        } else {
            self.reviews.look_up(key, subject);
        }
        true
    }

    /// Takes what a look-up found for the proof, if one is awaited. Where it is none, the watch will tell what happened.
    pub(in crate::sync) fn take_proof_of_life(
        &mut self,
        now: Now,
        subject: &Subject,
        found: &LookUp,
    ) -> bool {
        let Some(again_at) = self.reviews.suspects.get_mut(subject) else {
            return false;
        };
        let Some(seen) = self.observed.pod(subject) else {
            return false;
        };
        if matches!(found, LookUp::There(uid) if *uid == seen.uid) {
            self.reviews.suspects.remove(subject);
        } else {
            *again_at = now + LOOK_UP_AGAIN;
        }
        true
    }

    /// Of pods that are gone there is nothing to prove.
    pub(in crate::sync) fn forget_suspects(&mut self) {
        let observed = &self.observed;
        self.reviews
            .suspects
            .retain(|subject, _| observed.pod(subject).is_some());
    }
}
