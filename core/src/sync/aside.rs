//! What SpiffeIDs keep that cannot have what they ask for, and what others may have of it.

use super::{
    DeleteReason, Now, Reconciler,
    mirror::Record,
    plan::Operation,
    queue::Urgency,
    resources::{resource_of, status_entry, subject_of},
    standing::is_outdated,
};
use crate::{
    cluster::SpiffeIdSnapshot,
    entry::{EntryId, RegisteredEntry},
    ports::ResourceName,
    rules::{Subject, Tuple},
};

impl Reconciler {
    /// Nothing is done about what this one has; but another may have what it asks for, now or later. Returns whether it parts
    /// with some of it.
    pub(super) fn lay_aside(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        now: Now,
    ) -> bool {
        self.hand_entries_on(subject, now);
        let kept: Vec<EntryId> = self
            .mirror
            .of(subject)
            .map(|r| r.entry.id.clone())
            .collect();
        for id in kept {
            self.mirror.lay_aside(&id);
        }
        self.part_with_surplus(subject, name, resource)
    }

    /// One that cannot have what it asks for keeps what it had; that is one entry. What it inherited beside that, what became
    /// the same as that, or what a former one of its name had, would be kept for nobody. Returns whether there is such.
    pub(super) fn part_with_surplus(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
    ) -> bool {
        let kept = self.entry_kept(subject, name, resource);
        let surplus: Vec<(EntryId, DeleteReason)> = self
            .mirror
            .of(subject)
            .filter(|r| kept.as_ref() != Some(&r.entry.id))
            .filter(|r| !self.is_under_pods(name, &r.entry))
            .map(|r| {
                let reason = match self.is_of_former(subject, name, resource, r) {
                    true => DeleteReason::FormerObject,
                    false => DeleteReason::Surplus,
                };
                (r.entry.id.clone(), reason)
            })
            .collect();
        if surplus.is_empty() {
            return false;
        }
        if !self.scan.is_fresh() {
            self.scan.postpone(subject.clone());
            return true;
        }
        if self.may_end_with_definition(subject) {
            return true;
        }
        for (id, reason) in surplus {
            self.stage(subject, Operation::Delete { id, reason });
        }
        true
    }

    /// Of the entries that one has, the one that it keeps whatever becomes of the others: what it asks for, else that which its
    /// status names; nothing that a former one had.
    pub(super) fn entry_kept(
        &self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
    ) -> Option<EntryId> {
        let named = status_entry(resource);
        let asked = self.observed.resources.tuple(name);
        let own = self.mirror.of(subject);
        let own = own.filter(|r| !self.is_of_former(subject, name, resource, r));
        let kept = own.min_by_key(|r| {
            let is_asked = asked == Some(&Tuple::stored(&r.entry));
            let is_named = named.as_ref() == Some(&r.entry.id);
            (!is_asked, !is_named, &r.entry.id)
        });
        kept.map(|r| r.entry.id.clone())
    }

    /// Whether an entry was that of a former SpiffeID of this name, which went with its definition perhaps. What this one asks
    /// for, or was made for it, is its own.
    pub(super) fn is_of_former(
        &self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        record: &Record,
    ) -> bool {
        let of_another = match &record.owner {
            // It may have been made for one of another name, which lives: then this one inherited it.
            Some(was) => *was != resource.uid && !self.observed.resources.lives(&self.policy, was),
            None => self.ended.contains(subject),
        };
        let id = record.entry.id.as_str();
        of_another
            && !id.starts_with(&self.policy.entry_ids.of_owner(&resource.uid))
            && self.observed.resources.tuple(name) != Some(&Tuple::stored(&record.entry))
    }

    /// Entries that another living SpiffeID asks for exactly are that one's from now on.
    pub(super) fn hand_entries_on(&mut self, subject: &Subject, now: Now) {
        let inherited: Vec<(EntryId, Subject)> = self
            .mirror
            .of(subject)
            .filter_map(|r| {
                let heir = self.observed.resources.holder(&Tuple::stored(&r.entry))?;
                let heir = subject_of(heir);
                (heir != *subject).then(|| (r.entry.id.clone(), heir))
            })
            .collect();
        for (id, heir) in inherited {
            let owner = self.uid_of_resource(&heir);
            self.mirror.hand_over(&id, &heir, owner);
            self.breaker.pardon(&id);
            self.queue.mark(&heir, Urgency::Changed, now);
        }
    }

    pub(super) fn names_foreign_entry(
        &self,
        subject: &Subject,
        resource: &SpiffeIdSnapshot,
    ) -> bool {
        let claim = self.claims.get(subject).filter(|c| c.foreign);
        let claims = status_entry(resource)
            .is_some_and(|id| self.mirror.get(&id).is_none() && claim.is_some_and(|c| c.id == id));
        // What we wrote for a former spec was true then: the entry is another's since.
        claims || self.names_entry_of_another(subject, resource) && !is_outdated(resource)
    }

    /// Whether the entry that the status names is that of another SpiffeID.
    pub(super) fn names_entry_of_another(
        &self,
        subject: &Subject,
        resource: &SpiffeIdSnapshot,
    ) -> bool {
        let record = status_entry(resource).and_then(|id| self.mirror.get(&id));
        record.is_some_and(|r| {
            let other = resource_of(&r.subject);
            r.subject != *subject
                && other.is_some_and(|other| self.observed.resources.get(&other).is_some())
        })
    }

    /// Whether an entry belongs to a SpiffeID for which nothing is done, because it became invalid, or asks for another entry
    /// and the server refuses that, or its status names one that is not its own: the entry stays as it is, but not against
    /// one that may have it.
    pub(super) fn cannot_keep(&self, whose: &Subject, stored: &RegisteredEntry) -> bool {
        let Some(name) = resource_of(whose) else {
            return false;
        };
        let resource = self.observed.resources.get(&name);
        let idle = match self.observed.resources.tuple(&name) {
            None => true,
            Some(tuple) => {
                // What the server refuses it cannot have, and it is served no worse by an entry that is another's.
                let refused = self.refused.contains(whose);
                *tuple != Tuple::stored(stored)
                    && (refused || resource.is_some_and(|r| self.names_foreign_entry(whose, r)))
            }
        };
        idle && !self.is_under_way(&stored.id)
    }
}
