//! Reviews of pods, and their answers.

use std::{sync::Arc, time::Duration};

use super::{Defect, Property, World, wanted_of};
use crate::{
    cluster::PodSnapshot,
    rules::{Bundles, PodLookups, decide_pod},
    sync::{Event, Review, ReviewId},
};

impl World {
    pub(super) fn review(&mut self, pod: PodSnapshot) {
        self.uids += 1;
        let id = ReviewId(self.uids);
        self.reviews.insert(id, pod.clone());
        self.step([Event::Reviewed {
            id,
            review: Review::Created(pod),
            patience: Duration::from_secs(9),
        }]);
        if self.defect == Some(Defect::GrantsReviewsAtOnce) {
            self.answered(id, &Ok(()));
        }
    }

    /// A review that is granted has its entry.
    pub(super) fn answered(&mut self, id: ReviewId, answer: &Result<(), Arc<str>>) {
        let Some(pod) = self.reviews.remove(&id) else {
            self.violates(
                Property::AReviewIsAnsweredOnceAndTruly,
                format!("{id:?} answered twice"),
            );
            return;
        };
        self.seen.count(match answer {
            Ok(()) => "review granted",
            Err(_) => "review failed",
        });
        let lookups = PodLookups {
            node: None,
            slices: &[],
            bundles: &Bundles::default(),
        };
        let wanted = wanted_of(decide_pod(&self.policy, &pod, lookups));
        let Some(wanted) = wanted.filter(|_| answer.is_ok()) else {
            return;
        };
        // Where another pod of the name lives, this one cannot come to be; once it lives itself, what it says now counts.
        let in_the_way = !self.unseen.is_empty()
            || self.meddled.contains(&id)
            || self.ended.contains(&pod.uid)
            || self.pods.values().any(|p| p.name == pod.name && *p != pod);
        if !in_the_way && !self.server.entries().any(|e| wanted.is_similar(e)) {
            let what = format!("{id:?} granted without an entry for {}", pod.name);
            self.violates(Property::AReviewIsAnsweredOnceAndTruly, what);
        }
    }
}
