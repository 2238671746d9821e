//! Calls on their way to both servers and back.

use super::{Call, CrdDefect, CrdWorld};
use crate::{
    ports::{Failure, FailureClass},
    sync::{CallId, Event, Fact},
    testing::{Fault, process},
};

impl CrdWorld {
    pub(super) fn see(&mut self, n: usize) {
        let mut events: Vec<Event> = std::mem::take(&mut self.unseen);
        events.append(&mut self.api.changes);
        self.unseen = events.split_off(n.min(events.len()));
        if self.defect == Some(CrdDefect::LosesWakeUp) {
            events.pop();
        }
        self.step(events);
    }

    pub(super) fn kill(&mut self, arrives: bool) {
        self.seen.count("kill");
        for (_, call) in std::mem::take(&mut self.under_way) {
            match call {
                Call::Spire(call) if arrives && call.is_write() => {
                    self.serve(&call);
                }
                Call::Kube(call) if arrives => drop(self.serve_kube(&call)),
                _ => {}
            }
        }
        self.processes += 1;
        self.unseen.clear();
        self.ends.clear();
        self.known.clear();
        self.told_of_end = false;
        self.machine = process(&self.policy, self.processes);
        self.start();
    }

    pub(super) fn perform(&mut self, which: usize) {
        let writes = |(id, call): (&CallId, &Call)| match call {
            Call::Kube(call) if call.is_write() => Some((*id, call.clone())),
            _ => None,
        };
        let all: Vec<_> = self.under_way.iter().filter_map(writes).collect();
        if let Some((id, call)) = all.get(which % all.len().max(1)) {
            self.seen.count("done before it is answered");
            let reply = self.serve_kube(call);
            self.under_way.insert(*id, Call::Done(reply));
        }
    }

    pub(super) fn answer(&mut self, which: usize, fault: Fault) {
        let ids: Vec<CallId> = self.under_way.keys().copied().collect();
        let Some(id) = ids.get(which % ids.len().max(1)) else {
            return;
        };
        let Some(call) = self.under_way.remove(id) else {
            return;
        };
        if fault != Fault::None {
            self.seen.count(format!("{fault:?}"));
        }
        let done = matches!(fault, Fault::None | Fault::ReplyLost);
        let lost = match fault {
            Fault::Refused => Failure::new(FailureClass::Retry, "connection refused"),
            _ => Failure::new(FailureClass::Unknown, "deadline exceeded"),
        };
        let event = match call {
            Call::Spire(call) => {
                let reply = done.then(|| self.serve(&call));
                let failed = match call.is_write() {
                    true => lost,
                    false => Failure::new(FailureClass::Retry, "connection lost"),
                };
                let reply = reply.filter(|_| fault == Fault::None).ok_or(failed);
                Event::Replied(*id, reply)
            }
            Call::Kube(call) => {
                let reply = done.then(|| self.serve_kube(&call));
                let reply = reply.filter(|_| fault == Fault::None).unwrap_or(Err(lost));
                Event::KubeReplied(*id, reply)
            }
            Call::Done(reply) if fault == Fault::None => Event::KubeReplied(*id, reply),
            Call::Done(_) => {
                let lost = Failure::new(FailureClass::Unknown, "deadline exceeded");
                Event::KubeReplied(*id, Err(lost))
            }
        };
        self.step([event]);
    }

    pub(super) fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        let events: Vec<Event> = events.into_iter().collect();
        events.iter().for_each(|event| self.shown(event));
        let step = self.machine.step(self.now, events);
        self.due = step.wake_at.is_some_and(|at| at <= self.now);
        let mut confirms = false;
        for fact in &step.facts {
            match fact {
                Fact::Held { .. } => self.seen.count("hold"),
                Fact::Deleted { reason, .. } => self.seen.count(format!("deleted: {reason}")),
                Fact::ResourceWritten { operation, .. } => self.seen.count(*operation),
                Fact::Adopted { .. } => self.seen.count("adopted"),
                Fact::Refused { .. } => self.seen.count("refusal"),
                Fact::BreakerTripped { .. } => {
                    self.tripped = true;
                    self.seen.count("breaker trip");
                    confirms = self.defect == Some(CrdDefect::IgnoresTheBreaker);
                }
                Fact::BreakerClosed { confirmed: true } => self.seen.count("breaker confirmed"),
                _ => {}
            }
        }
        for (id, mut call) in step.calls {
            self.spoil(&mut call);
            self.check(&call);
            self.under_way.insert(id, Call::Spire(call));
        }
        for (id, call) in step.kube_calls {
            self.check_kube(&call);
            self.under_way.insert(id, Call::Kube(call));
        }
        if confirms {
            self.step([Event::ConfirmDeletes(None)]);
        }
    }
}
