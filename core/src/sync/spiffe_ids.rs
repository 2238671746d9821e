//! From SpiffeIDs to entries: whose entry is whose, what a SpiffeID's status says, and when its finalizer leaves.

use std::sync::Arc;

use super::{
    DeleteReason, Now, Reconciler,
    plan::{Operation, Want},
    queue::Urgency,
    resources::{resource_of, status_entry, subject_of},
    standing::{NOT_OURS, Standing},
};
use crate::{
    cluster::{SPIFFE_ID_FINALIZER, SpiffeIdSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    ports::{KubeCall, ResourceName},
    rules::{Ownership, Subject, classify},
};

/// What is known of the entry that a status names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: EntryId,
    /// Whether the server has it, and it is not ours.
    pub(super) foreign: bool,
    /// The last pass over all entries that found it, or that was under way when it was read.
    scan: u64,
}

impl Reconciler {
    /// Whose a stored entry is, by the policy and the SpiffeIDs as last seen.
    pub(super) fn classify(&self, entry: &RegisteredEntry) -> Ownership {
        let by_shape = classify(&self.policy, entry);
        if self.policy.spiffe_ids.is_none() {
            return by_shape;
        }
        // Whose it is now it stays, while that one lives: what it asks for may just be changing.
        if let Some(record) = self.mirror.get(&entry.id)
            && let Some(name) = resource_of(&record.subject)
            && self
                .observed
                .resources
                .get(&name)
                .is_some_and(|r| !r.deleting)
        {
            return Ownership::Ours(record.subject.clone());
        }
        let ours = self.policy.entry_ids.made(&entry.id) || matches!(by_shape, Ownership::Ours(_));
        if let Some(subject) = self.observed.resources.claimant(&self.policy, entry, ours) {
            return Ownership::Ours(subject);
        }
        match (self.mirror.get(&entry.id), by_shape) {
            // Its SpiffeID is gone, or going.
            (Some(record), _) => Ownership::Ours(record.subject.clone()),
            (None, Ownership::Foreign(foreign)) if !ours => Ownership::Foreign(foreign),
            _ => Ownership::Ours(Subject::Entry(entry.id.clone())),
        }
    }

    /// Decides what a SpiffeID should have, and stages what is next for it.
    pub(super) fn look_at_resource(&mut self, subject: &Subject, now: Now) {
        let Some(name) = resource_of(subject) else {
            return;
        };
        let Some(resource) = self.observed.resources.get(&name).cloned() else {
            self.look_after_resource(subject, now);
            return self.queue.rest(subject);
        };
        if resource.deleting {
            self.finalize(subject, &name, &resource, now);
        } else if !resource.has_finalizer() {
            // Before the entry is made: else nobody would wait for its end.
            let finalizers = resource.finalizers.iter().cloned();
            let finalizers = finalizers.chain([SPIFFE_ID_FINALIZER.into()]).collect();
            self.set_finalizers(subject, &name, &resource, finalizers);
        } else if self.name_by_services(subject, &name, &resource) && !self.names_failed(subject) {
            // The entry is made with its names at once; but it does not hang on them.
        } else if !self.reads_claim(subject, &resource) {
            self.claim(subject, &name, &resource);
            if let Some(standing) = self.settle(subject, &name, &resource, now) {
                self.report_standing(subject, &name, &resource, standing, now);
            }
        }
        self.queue.rest(subject);
    }

    pub(super) fn set_finalizers(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        finalizers: Arc<[Arc<str>]>,
    ) {
        if self.kube.expects(name) {
            return;
        }
        let call = KubeCall::SetFinalizers {
            name: name.clone(),
            uid: resource.uid.clone(),
            resource_version: resource.resource_version.clone(),
            finalizers,
        };
        self.stage_write(subject, name, call);
    }

    /// Whether the entry that the status names must be read first: it may be this SpiffeID's, and no scan could tell.
    pub(super) fn reads_claim(&mut self, subject: &Subject, resource: &SpiffeIdSnapshot) -> bool {
        let Some(id) = status_entry(resource) else {
            self.claims.remove(subject);
            return false;
        };
        let known = self.claims.get(subject).is_some_and(|c| c.id == id);
        if self.mirror.get(&id).is_some() || known {
            return false;
        }
        if EntryId::new(id.as_str()).is_err() {
            // No server has such an entry.
            self.claim_read(subject, &id, false);
            return false;
        }
        self.stage(subject, Operation::Read { id });
        true
    }

    /// The entry that a status names was read, and is not ours or not there.
    pub(super) fn claim_read(&mut self, subject: &Subject, id: &EntryId, foreign: bool) {
        let resource = resource_of(subject).and_then(|n| self.observed.resources.get(&n));
        if resource.and_then(status_entry).as_ref() == Some(id) {
            let claim = Claim {
                id: id.clone(),
                foreign,
                scan: self.scan.number(),
            };
            self.claims.insert(subject.clone(), claim);
        }
    }

    /// A pass over all entries found one that is not ours: whose status names it goes on waiting.
    pub(super) fn claim_found(&mut self, id: &EntryId, scan: u64) {
        for name in self.observed.resources.naming(id) {
            if let Some(claim) = self.claims.get_mut(&subject_of(name)) {
                claim.scan = scan;
            }
        }
    }

    /// What statuses name that is not ours, and that a whole pass did not find, is read again: it may be in nobody's way now.
    pub(super) fn doubt_claims(&mut self, now: Now) {
        let last = self.scan.number();
        let gone = |_: &Subject, claim: &mut Claim| claim.foreign && claim.scan != last;
        let waiting: Vec<Subject> = self.claims.extract_if(.., gone).map(|(s, _)| s).collect();
        for subject in waiting {
            self.queue.mark(&subject, Urgency::Changed, now);
        }
    }

    /// Brings back whoever's status names an entry that is gone or another's now: it may no longer be in their way.
    pub(super) fn look_where_named(&mut self, now: Now) {
        for id in self.mirror.take_moved() {
            let whose = self.mirror.get(&id).map(|r| &r.subject);
            for subject in self.observed.resources.naming(&id).map(subject_of) {
                if whose != Some(&subject) {
                    self.queue.mark(&subject, Urgency::Changed, now);
                }
            }
        }
    }

    /// Takes entries that are this SpiffeID's and nobody's yet.
    pub(super) fn claim(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
    ) {
        let unclaimed = |r: &&super::mirror::Record| matches!(r.subject, Subject::Entry(_));
        let made_for = self.policy.entry_ids.of_owner(&resource.uid);
        let mut found: Vec<EntryId> = self
            .mirror
            .beginning(&made_for)
            .filter(unclaimed)
            .map(|r| r.entry.id.clone())
            .collect();
        let tuple = self.observed.resources.tuple(name);
        if let Some(tuple) = tuple.filter(|t| self.observed.resources.holder(t) == Some(name)) {
            let free = |id: &&EntryId| {
                self.mirror.get(id).is_some_and(|r| {
                    unclaimed(&r) || r.subject != *subject && self.cannot_keep(&r.subject, &r.entry)
                })
            };
            found.extend(self.mirror.unclaimed(tuple).filter(free).cloned());
        }
        for id in found {
            self.mirror
                .hand_over(&id, subject, Some(resource.uid.clone()));
            self.breaker.pardon(&id);
        }
    }

    /// Brings a living SpiffeID's entry about; what its status is to say, or nothing while operations are under way.
    fn settle(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        now: Now,
    ) -> Option<Standing> {
        let tuple = self.observed.resources.tuple(name).cloned();
        if let Some(tuple) = &tuple
            && let Some(holder) = self.observed.resources.holder(tuple).cloned()
            && holder != *name
        {
            return self.yield_to(subject, &holder, now);
        }
        let named = resource.status.entry_id.clone();
        if tuple.is_some() && self.names_foreign_entry(subject, resource) {
            let id = named.clone().unwrap_or_default();
            if self.lay_aside(subject, name, resource, now) {
                return None;
            }
            let message = format!(
                "status.entryId names entry {id:?}, which is not this SpiffeID's; nothing is done \
                 until that entry is gone, or the status names none, or one of the same SPIFFE ID, parent and selectors"
            );
            return Some(Standing::Not {
                reason: NOT_OURS,
                message,
                entry: named,
            });
        }
        match self.want(subject) {
            Want::Unknown | Want::Nothing(_) => None,
            Want::Hold { owner } => {
                if self.lay_aside(subject, name, resource, now) {
                    return None;
                }
                self.keep_held(subject, owner);
                let problem = self.held.get(subject)?;
                let kept = self.entry_kept(subject, name, resource);
                // What another has by now is not this one's to name.
                let named = named.filter(|_| !self.names_entry_of_another(subject, resource));
                Some(Standing::Not {
                    reason: problem.word(),
                    message: problem.to_string(),
                    entry: kept.map(|id| id.as_str().into()).or(named),
                })
            }
            Want::Entries { entries, owner } => {
                if !self.scan.is_fresh() && self.mirror.has(subject) {
                    self.scan.postpone(subject.clone());
                    return None;
                }
                // What it gives up another may ask for by now: that one has it without a gap, and this one's is made anew.
                self.hand_entries_on(subject, now);
                if self.refused.contains(subject) && self.part_with_surplus(subject, name, resource)
                {
                    return None;
                }
                let right = self.bring_about(subject, &entries, &owner, now)?;
                let notes = self.notes.get(subject).into_iter().flatten();
                let left_out: Vec<String> = notes.map(ToString::to_string).collect();
                Some(Standing::Registered {
                    id: right,
                    left_out: left_out.join("; "),
                })
            }
        }
    }

    /// An older SpiffeID asks for the same entry: what this one has goes to it.
    fn yield_to(&mut self, subject: &Subject, holder: &ResourceName, now: Now) -> Option<Standing> {
        self.release_hold(subject);
        self.refused.remove(subject);
        self.hand_entries_on(subject, now);
        let rest: Vec<EntryId> = self
            .mirror
            .of(subject)
            .map(|r| r.entry.id.clone())
            .collect();
        for id in &rest {
            // What it had before it asked for what another one has.
            if !self.scan.is_fresh() {
                self.scan.postpone(subject.clone());
            } else if self.breaker.condemn(id, subject, DeleteReason::Duplicate) {
                let reason = DeleteReason::Duplicate;
                self.stage(
                    subject,
                    Operation::Delete {
                        id: id.clone(),
                        reason,
                    },
                );
            }
        }
        Some(Standing::Not {
            reason: "Duplicate",
            message: format!(
                "SpiffeID {:?} of this namespace is older and asks for the same SPIFFE ID, parent and selectors; \
                 this one inherits the entry when that one goes",
                holder.name
            ),
            entry: None,
        })
    }

    /// The UID of a SpiffeID.
    pub(super) fn uid_of_resource(&self, subject: &Subject) -> Option<Uid> {
        let name = resource_of(subject)?;
        self.observed.resources.get(&name).map(|r| r.uid.clone())
    }
}
