//! Taking in what happened, before anything is decided.

use super::{
    Event, Fact, Now, Reconciler, observed::Touched, queue::Urgency, resources::resource_of,
};
use crate::{
    cluster::{Kind, Object},
    rules::{Subject, subject_of_pod},
};

impl Reconciler {
    /// Takes in one event: what is known is what it says from now on, and whom it is about wants a look.
    pub(super) fn observe(&mut self, now: Now, event: Event) {
        let mut touched = Touched::default();
        match event {
            Event::RelistBegan(kind) => self.observed.relist_began(kind),
            Event::Listed(mut object) | Event::Applied(mut object) => {
                match &mut object {
                    Object::SpiffeId(resource) => self.kube.seen(&resource.resource_version),
                    Object::Pod(pod) => {
                        let subject = subject_of_pod(&self.policy, pod);
                        self.mirror.share_names(&subject, pod);
                    }
                    Object::Node(_) | Object::EndpointSlice(_) => {}
                }
                self.observed.apply(&self.policy, object, &mut touched);
            }
            Event::RelistDone(kind) => {
                if !self.observed.is_synced(kind) {
                    self.facts.push(Fact::Synced(kind));
                }
                self.observed.relist_done(kind, &mut touched);
                if kind == Kind::SpiffeId && self.policy.spiffe_ids.is_some() {
                    // It may be empty because its definition is another one than before.
                    self.kube.definition.want(self.stamp);
                    // What was written and is not there any more was never seen: its end brings nobody back.
                    for name in self.kube.listed() {
                        self.observed.touch_resource(&name, &mut touched);
                    }
                }
                if matches!(kind, Kind::Pod | Kind::Node) {
                    touched
                        .subjects
                        .extend(self.observed.nodes_left(&self.policy));
                }
                // What was kept because the kind was not fully known may be decided now.
                if self.began && self.observed.proves_absence(kind) {
                    self.look_at_unexplained(now);
                }
            }
            Event::Deleted(key, uid) => self.observed.delete(&key, &uid, &mut touched),
            Event::Undecodable {
                kind,
                key,
                uid,
                why,
            } => {
                let blind =
                    self.observed
                        .undecodable(kind, key.as_ref(), uid.as_ref(), &why, &mut touched);
                if blind {
                    self.facts.push(Fact::Blind { kind, why });
                }
            }
            Event::Replied(id, reply) => self.replied(now, id, reply),
            Event::KubeReplied(id, reply) => self.kube_replied(now, id, reply),
            Event::Leading(leading) => {
                if leading && !self.leading && self.scan.has_completed() {
                    // Another replica wrote meanwhile: creates go at once, the rest after the mirror is read again.
                    self.scan.restart();
                }
                if !leading {
                    self.unstage(now);
                }
                self.leading = leading;
            }
            Event::Answering => {
                self.reviews.answering = true;
                if let Some(all_nodes) = self.all_nodes() {
                    self.queue.mark(&all_nodes, Urgency::Asked, now);
                }
            }
            Event::Reviewed {
                id,
                review,
                patience,
            } => self.reviewed(now, id, review, patience),
            Event::LookedUp(key, found) => self.looked_up(now, &key, &found, &mut touched),
            Event::UnixTime(unix) => self.unix_time(now, unix),
            Event::KnownAs(id) => {
                // A path that cannot be reserved is none that anyone could ask for.
                let ours = *id.trust_domain() == self.policy.trust_domain;
                if ours && self.policy.reserved.reserve(id.path()).is_ok() {
                    touched.subjects.extend(self.observed.subjects());
                }
            }
            Event::Paused(paused) => self.paused = paused,
            Event::ConfirmDeletes(trip) => {
                for subject in self.breaker.confirm(trip, &mut self.facts) {
                    self.queue.mark(&subject, Urgency::Gone, now);
                }
            }
        }
        for (subject, uid) in &touched.former {
            self.mirror.belonged_to(subject, uid);
            if resource_of(subject).is_some_and(|n| self.observed.resources.get(&n).is_some()) {
                // It was the former one's; whether the definition was there when this one went is not known by that.
                self.deaths.remove(subject);
            }
        }
        for (subject, key) in touched.gone {
            self.sign_of_life(now, &subject, Some(key));
        }
        for subject in touched.ended.iter().chain(&touched.subjects) {
            self.note_death(subject);
        }
        for subject in touched.ended {
            if self.mirror.has(&subject) || self.queue.get(&subject).is_some() {
                self.ended.insert(subject);
            }
        }
        for subject in touched.subjects {
            let urgency = self.urgency_of(&subject);
            self.queue.mark(&subject, urgency, now);
        }
    }

    /// Remembers when a SpiffeID was first seen to be gone or going.
    fn note_death(&mut self, subject: &Subject) {
        let Some(name) = resource_of(subject) else {
            return;
        };
        match self.observed.resources.get(&name) {
            Some(resource) if !resource.deleting => drop(self.deaths.remove(subject)),
            _ => drop(self.deaths.entry(subject.clone()).or_insert(self.stamp)),
        }
    }
}
