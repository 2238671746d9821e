//! What the machine sees, and calls on their way to the server and back.

use super::{Defect, Fault, ILLEGAL, World, ids_of};
use crate::{
    cluster::{Kind, Object},
    entry::EntryId,
    ports::{Failure, FailureClass, SpireAnswer},
    sync::{CallId, Event, Fact, LookUp, Reconciler},
    testing::process,
};

impl World {
    pub(super) fn see(&mut self, n: usize) {
        let n = n.min(self.unseen.len());
        let mut events: Vec<Event> = self.unseen.drain(..n).collect();
        if self.defect == Some(Defect::LosesWakeUp) {
            events.pop();
        }
        if self.defect == Some(Defect::ForgetsHolds) {
            events.iter_mut().for_each(forget_hold);
        }
        self.step(events);
    }

    /// The watch of a kind begins anew: what waits for it is lost, a list tells what is.
    pub(super) fn list(&mut self, pods: bool, cut: bool) {
        let kind = if pods { Kind::Pod } else { Kind::Node };
        if !Reconciler::kinds(&self.policy).contains(&kind) {
            return;
        }
        self.unseen.retain(|event| match event {
            Event::Applied(object) => object.key().kind != kind,
            Event::Deleted(key, _) => key.kind != kind,
            _ => true,
        });
        let objects: Vec<Object> = match pods {
            true => self.pods.values().cloned().map(Object::Pod).collect(),
            false => self.nodes.values().cloned().map(Object::Node).collect(),
        };
        if cut {
            let half = objects
                .iter()
                .take(objects.len() / 2)
                .cloned()
                .map(Event::Listed);
            let end =
                (self.defect == Some(Defect::TrustsCutLists)).then_some(Event::RelistDone(kind));
            let events: Vec<Event> = std::iter::once(Event::RelistBegan(kind))
                .chain(half)
                .chain(end)
                .collect();
            self.step(events);
        }
        let events: Vec<Event> = std::iter::once(Event::RelistBegan(kind))
            .chain(objects.into_iter().map(Event::Listed))
            .chain([Event::RelistDone(kind)])
            .collect();
        // Nodes are listed after pods; where they are not watched, pods are all there is.
        self.listed |= !pods || !Reconciler::kinds(&self.policy).contains(&Kind::Node);
        self.step(events);
    }

    pub(super) fn answer(&mut self, which: usize, fault: Fault) {
        let Some(id) = self
            .under_way
            .keys()
            .nth(which % self.under_way.len().max(1))
            .copied()
        else {
            return;
        };
        let Some(call) = self.under_way.remove(&id) else {
            return;
        };
        for late in std::mem::take(&mut self.late) {
            self.perform(&late, usize::MAX);
        }
        if fault != Fault::None {
            self.seen.count(format!("{fault:?}"));
        }
        let unknown = Failure::new(FailureClass::Unknown, "deadline exceeded");
        let reply = match fault {
            Fault::None => Ok(self.perform(&call, usize::MAX)),
            Fault::Refused => Err(Failure::new(FailureClass::Retry, "connection refused")),
            Fault::RequestLost => Err(unknown),
            Fault::ReplyLost => {
                self.perform(&call, usize::MAX);
                Err(unknown)
            }
            Fault::CutShort => {
                self.perform(&call, 1);
                Err(unknown)
            }
            Fault::Late => {
                if call.is_write() {
                    self.late.push(call.clone());
                }
                Err(unknown)
            }
        };
        match &reply {
            Ok(answer) => self.untold.retain(|id| !shows(answer, id)),
            Err(_) if call.is_write() => self.untold.extend(ids_of(&call)),
            Err(_) => {}
        }
        let reply = match (reply, call.is_write()) {
            // Whether a read was performed makes no difference.
            (Err(_), false) => Err(Failure::new(FailureClass::Retry, "connection lost")),
            (reply, _) => reply,
        };
        self.step([Event::Replied(id, reply)]);
    }

    pub(super) fn restart(&mut self) {
        self.seen.count("restart");
        self.processes += 1;
        self.machine = process(&self.policy, self.processes);
        self.reviews.clear();
        self.shown.clear();
        // What was on its way arrives, or not: here it does.
        for (_, call) in std::mem::take(&mut self.under_way) {
            if call.is_write() {
                self.perform(&call, usize::MAX);
            }
        }
        self.start();
    }

    pub(super) fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        let events: Vec<Event> = events.into_iter().collect();
        events.iter().for_each(|event| self.show(event));
        let step = self.machine.step(self.now, events);
        self.due = step.wake_at.is_some_and(|at| at <= self.now);
        for fact in &step.facts {
            self.note(fact);
        }
        for (id, mut call) in step.calls {
            self.spoil(&mut call);
            self.check(&call);
            self.remember(&call);
            if self.defect == Some(Defect::SendsTwice) && call.is_write() {
                self.check(&call);
                self.under_way.insert(CallId(u64::MAX - id.0), call.clone());
            }
            self.under_way.insert(id, call);
        }
        for (id, answer) in step.answers {
            self.answered(id, &answer);
        }
        for key in step.look_ups {
            let found = self.pods.values().find(|p| p.name == key.name);
            let found = found.map_or(LookUp::Absent, |p| {
                LookUp::There(p.uid.clone(), Some(Box::new(p.clone())))
            });
            self.seen.count("look-up");
            self.step([Event::LookedUp(key, found)]);
        }
    }

    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Held { .. } => self.seen.count("hold"),
            Fact::BreakerTripped { .. } => {
                self.tripped = true;
                self.seen.count("breaker trip");
            }
            Fact::BreakerClosed { confirmed } => {
                self.seen.count(match confirmed {
                    true => "breaker confirmed",
                    false => "breaker closed by itself",
                });
            }
            Fact::Drifted { drift, .. } => self.seen.count(format!("drift {drift:?}")),
            Fact::Adopted { .. } => self.seen.count("adopted"),
            Fact::Updated { .. } => self.seen.count("updated"),
            Fact::Deleted { reason, .. } => self.seen.count(format!("deleted: {reason}")),
            _ => {}
        }
    }
}

/// What a machine sees that takes an illegal value for none.
fn forget_hold(event: &mut Event) {
    if let Event::Applied(Object::Pod(pod)) = event {
        pod.annotations.retain(|_, value| value != ILLEGAL);
    }
}

/// Whether an answer has this entry in it.
fn shows(answer: &SpireAnswer, id: &EntryId) -> bool {
    match answer {
        SpireAnswer::Page { entries, .. } => entries.iter().any(|e| e.id == *id),
        SpireAnswer::Read(read) => read.iter().flatten().flatten().any(|e| e.id == *id),
        SpireAnswer::Written(_) | SpireAnswer::Bundles(_) => false,
    }
}
