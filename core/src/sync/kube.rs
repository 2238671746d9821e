//! Writes to the Kubernetes API: staged, sent while slots are free, and what the answers mean.

use std::collections::BTreeMap;

use super::{
    CallId, Fact, Now, Reconciler,
    awaited::Awaited,
    definition::{DefinitionPoll, News},
    gate::Gate,
    queue::{Room, Urgency},
    resources::subject_of,
    standing::same_standing,
    writes::{Write, Writes},
};
use crate::{
    cluster::{SpiffeIdSnapshot, SpiffeIdStatus, Uid},
    index::Index,
    ports::{Failure, FailureClass, KubeAnswer, KubeCall, KubeReply, ResourceName, Schema},
    rules::Subject,
};

#[derive(Debug)]
enum Flight {
    Write(Box<Write>),
    Definition { asked: u64 },
}

/// Everything about the Kubernetes API that is not an object.
#[derive(Debug, Default)]
pub(super) struct Kube {
    staged: Writes,
    flights: BTreeMap<CallId, Flight>,
    pub(super) outbox: Vec<(CallId, KubeCall)>,
    gate: Gate,
    awaited: Awaited,
    /// The latest version that the watch showed, of whichever object: versions count changes of all.
    latest: u64,
    /// Statuses that were acknowledged and not kept (an older schema has no conditions): not written again.
    unkept: Index<ResourceName, (Uid, SpiffeIdStatus)>,
    pub(super) definition: DefinitionPoll,
}

fn version(text: &str) -> Option<u64> {
    text.parse().ok()
}

impl Kube {
    /// What may be looked at. While the API server is away one write at a time feels its way.
    pub(super) fn room(&self) -> Room {
        match self.gate.is_well() {
            true => self.staged.room(),
            false => Room {
                objects: self.staged.is_empty(),
                statuses: self.staged.is_empty(),
            },
        }
    }

    /// The next write to be sent, if a slot is free for it.
    fn next_write(&mut self, now: Now) -> Option<Write> {
        if !self.gate.is_open(now, self.flights.len()) {
            return None;
        }
        let (mut urgent, mut patient) = (0, 0);
        for flight in self.flights.values() {
            match flight {
                Flight::Write(write) if write.is_patient() => patient += 1,
                Flight::Write(_) => urgent += 1,
                Flight::Definition { .. } => {}
            }
        }
        self.staged.next(urgent, patient)
    }

    /// Whether nothing is under way, and everything that was written has been seen.
    pub(super) fn is_at_rest(&self) -> bool {
        let writes = self.flights.values().any(|f| matches!(f, Flight::Write(_)));
        self.staged.is_empty() && !writes && self.awaited.is_empty()
    }

    /// The SpiffeIDs of which a write is under way, or has yet to be seen.
    fn unsettled(&self) -> impl Iterator<Item = &ResourceName> {
        let staged = self.staged.iter().map(|write| &write.name);
        let writes = self.flights.values().filter_map(|flight| match flight {
            Flight::Write(write) => Some(&write.name),
            Flight::Definition { .. } => None,
        });
        staged.chain(writes).chain(self.awaited.names())
    }

    /// Whether the watch has yet to show what we wrote of this object.
    pub(super) fn expects(&self, name: &ResourceName) -> bool {
        self.awaited.contains(name)
    }

    /// The watch has come to this version.
    pub(super) fn seen(&mut self, resource_version: &str) {
        if let Some(version) = version(resource_version) {
            self.latest = self.latest.max(version);
            self.awaited.seen(version);
        }
    }

    /// A complete list shows everything. Returns the objects that were waited for.
    pub(super) fn listed(&mut self) -> Vec<ResourceName> {
        self.awaited.take()
    }

    /// What is staged, instead of sending it: the names of the calls.
    pub(super) fn take_staged(&mut self) -> Vec<&'static str> {
        let staged = std::mem::take(&mut self.staged);
        staged.iter().map(|write| write.call.word()).collect()
    }

    pub(super) fn forget(&mut self, name: &ResourceName) {
        self.unkept.remove(name);
    }

    /// Whether this status was written before and not kept.
    pub(super) fn did_not_keep(
        &self,
        name: &ResourceName,
        uid: &Uid,
        status: &SpiffeIdStatus,
    ) -> bool {
        let unkept = self.unkept.get(name);
        unkept.is_some_and(|(of, what)| of == uid && same_standing(what, status))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_well(&self) -> bool {
        self.gate.is_well()
    }

    /// When to step again for the sake of the API server.
    pub(super) fn wake_at(&self, waiting: bool) -> Option<Now> {
        let opens = self.gate.opens_at();
        let waits = waiting || !self.staged.is_empty();
        let definition = self
            .definition
            .due_at()
            .map(|due| opens.map_or(due, |at| due.max(at)));
        [opens.filter(|_| waits), definition]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Reconciler {
    pub(super) fn stage_write(&mut self, subject: &Subject, name: &ResourceName, call: KubeCall) {
        self.queue.begin(subject);
        self.kube.staged.push(Write {
            subject: subject.clone(),
            name: name.clone(),
            call,
        });
    }

    /// Whether every write for what lives is done and seen. Nobody waits for what is written of SpiffeIDs that end.
    pub(super) fn writes_are_settled(&self) -> bool {
        let ends = |name: &ResourceName| {
            let resource = self.observed.resources.get(name);
            resource.is_some_and(|r| r.deleting)
        };
        self.kube.unsettled().all(ends)
    }

    /// Sends what is staged while slots are free.
    pub(super) fn send_writes(&mut self, now: Now) {
        while let Some(write) = self.kube.next_write(now) {
            let in_vain = write.makes() && !self.kube.definition.is_serving();
            if in_vain || self.queue.is_stale(&write.subject) {
                self.end(&write.subject, now);
                continue;
            }
            if self.policy.dry_run {
                self.facts.push(Fact::WouldWrite {
                    subject: write.subject.clone(),
                    operation: write.call.word(),
                    id: None,
                });
                self.queue.give_up(&write.subject);
                continue;
            }
            let call = write.call.clone();
            self.launch_write(Flight::Write(Box::new(write)), call);
        }
    }

    fn launch_write(&mut self, flight: Flight, call: KubeCall) {
        self.stamp += 1;
        let id = CallId(self.stamp);
        self.kube.flights.insert(id, flight);
        self.kube.outbox.push((id, call));
    }

    /// Reads the definition of SpiffeIDs if that is due.
    pub(super) fn poll_definition(&mut self, now: Now) {
        let due = self.policy.spiffe_ids.is_some()
            && self.kube.definition.due_at().is_some_and(|at| at <= now)
            && self.kube.gate.is_open(now, self.kube.flights.len());
        if due {
            self.kube.definition.asked(now);
            let asked = self.stamp + 1;
            self.launch_write(Flight::Definition { asked }, KubeCall::ReadDefinition);
        }
    }

    pub(super) fn kube_replied(&mut self, now: Now, id: CallId, reply: KubeReply) {
        let Some(flight) = self.kube.flights.remove(&id) else {
            return;
        };
        let (operation, needed) = match &flight {
            Flight::Write(write) => (write.call.word(), false),
            Flight::Definition { .. } => (KubeCall::ReadDefinition.word(), true),
        };
        match &reply {
            // Without the definition nothing can be done: whyever it cannot be read, it is asked for ever more seldom.
            Err(failure) if is_outage(failure) || needed => {
                let mut failure = failure.clone();
                if !is_outage(&failure) {
                    failure.class = FailureClass::Retry;
                }
                let retry_in = self.kube.gate.failed(now, &failure.message);
                self.facts.push(Fact::KubernetesFailed {
                    operation,
                    failure,
                    retry_in,
                });
            }
            _ => drop(self.kube.gate.answered()),
        }
        match flight {
            Flight::Write(write) => {
                let subject = write.subject.clone();
                self.written(now, *write, reply);
                self.end(&subject, now);
            }
            Flight::Definition { asked } => match reply {
                Ok(KubeAnswer::Definition(definition)) => {
                    let before = self.kube.definition.schema();
                    let news = self.kube.definition.read(asked, now, definition);
                    self.schema_read(now, before);
                    self.definition_read(now, asked, news);
                }
                Ok(_) | Err(_) => self.kube.definition.under_way = false,
            },
        }
    }

    /// Says what the schema lacks, and tries again what it could not keep once it can.
    fn schema_read(&mut self, now: Now, before: Option<Schema>) {
        let Some(schema) = self.kube.definition.schema().filter(|s| Some(*s) != before) else {
            return;
        };
        if schema != Schema::WHOLE {
            self.facts.push(Fact::DefinitionOld(schema));
        } else if before.is_some() {
            self.kube.unkept.clear();
            let all: Vec<Subject> = self.observed.resources.names().map(subject_of).collect();
            for subject in all {
                self.queue.mark(&subject, Urgency::Resync, now);
            }
        }
    }

    fn definition_read(&mut self, now: Now, asked: u64, news: News) {
        match news {
            News::None => {}
            News::Serving => self.facts.push(Fact::DefinitionServing),
            News::Replaced => {
                self.facts.push(Fact::DefinitionServing);
                // What was deleted until then went with the former definition, not by itself.
                let went: Vec<Subject> = self
                    .deaths
                    .iter()
                    .filter(|(_, seen)| **seen < asked)
                    .map(|(subject, _)| subject.clone())
                    .collect();
                for subject in went {
                    self.not_its_own_end(&subject);
                }
            }
            News::Terminating => self.facts.push(Fact::DefinitionTerminating),
            News::Missing => self.facts.push(Fact::DefinitionMissing),
        }
        if matches!(news, News::Serving | News::Replaced) && self.began {
            // What was left alone while it was not serving may be decided now.
            self.look_at_unexplained(now);
            self.look_at_bare_objects(now);
        }
        for subject in std::mem::take(&mut self.kube.definition.waiting) {
            self.queue.mark(&subject, Urgency::Gone, now);
        }
    }

    fn written(&mut self, now: Now, write: Write, reply: KubeReply) {
        let Write {
            subject,
            name,
            call,
        } = write;
        match reply {
            Ok(KubeAnswer::Written(resource)) => {
                self.await_watch(&name, &resource);
                match &call {
                    KubeCall::Apply(wanted)
                        if !super::objects::is_as_applied(wanted, &resource) =>
                    {
                        let message = "the API server keeps other values than were applied; \
                                       does its CustomResourceDefinition have all fields (see the command crd), \
                                       or does another webhook change them?";
                        let failure = Failure::new(FailureClass::Permanent, message);
                        return self.refuse_write(now, &subject, failure);
                    }
                    KubeCall::ApplyNames { names, .. } if !Self::has_names(names, &resource) => {
                        let message = "the API server keeps other DNS names than were applied; \
                                       does another webhook change them?";
                        let failure = Failure::new(FailureClass::Permanent, message);
                        return self.refuse_write(now, &subject, failure);
                    }
                    KubeCall::WriteStatus { uid, status, .. } => {
                        if same_standing(status, &resource.status) {
                            self.kube.unkept.remove(&name);
                        } else {
                            let what = (uid.clone(), (**status).clone());
                            self.kube.unkept.insert(name.clone(), what);
                        }
                    }
                    _ => {}
                }
                self.wrote(&subject);
                self.facts.push(Fact::ResourceWritten {
                    subject,
                    name,
                    operation: call.word(),
                });
            }
            // What it is now comes with the watch, and brings the subject back; this is for when that was before the answer.
            Ok(KubeAnswer::Gone | KubeAnswer::Conflict) => {
                self.back_off_for(now, &subject, FailureClass::Retry);
            }
            Ok(KubeAnswer::Definition(_)) => {}
            Err(failure) if is_outage(&failure) => {}
            Err(failure) => self.refuse_write(now, &subject, failure),
        }
    }

    fn wrote(&mut self, subject: &Subject) {
        if let Some(work) = self.queue.get_mut(subject) {
            work.failures = 0;
        }
        if !matches!(subject, Subject::SpiffeId(..)) {
            self.refused.remove(subject);
        }
    }

    fn await_watch(&mut self, name: &ResourceName, resource: &SpiffeIdSnapshot) {
        if let Some(written) = version(&resource.resource_version)
            && written > self.kube.latest
        {
            self.kube.awaited.insert(name.clone(), written);
        }
    }

    fn refuse_write(&mut self, now: Now, subject: &Subject, failure: Failure) {
        // A SpiffeID whose entry is refused says so itself; this is about objects that get none.
        if !matches!(subject, Subject::SpiffeId(..)) {
            self.refused.insert(subject.clone());
        }
        let retry_in = self.back_off_for(now, subject, failure.class);
        self.facts.push(Fact::WriteRefused {
            subject: subject.clone(),
            failure,
            retry_in,
        });
    }
}

fn is_outage(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Retry | FailureClass::Unknown)
}
