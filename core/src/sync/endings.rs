//! SpiffeIDs that end: first the entry goes, then our finalizer; and entries that no SpiffeID asks for any more.

use super::{
    DeleteReason, Now, Reconciler,
    flight::Staged,
    plan::Operation,
    queue::Urgency,
    resources::{resource_of, subject_of},
};
use crate::{
    cluster::{Kind, SPIFFE_ID_FINALIZER, SpiffeIdSnapshot},
    entry::{EntryId, RegisteredEntry},
    ports::ResourceName,
    rules::{Foreign, Ownership, Subject, Tuple, classify},
};

impl Reconciler {
    /// A SpiffeID that is being deleted: first its entry goes, then our finalizer.
    pub(super) fn finalize(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        now: Now,
    ) {
        if !self.end_is_its_own(subject) {
            if !self.waits_for_definition(subject) {
                // It goes with the definition: the entry stays for the one that comes after it.
                self.release(subject, name, resource);
            }
            return;
        }
        if self.reads_claim(subject, resource) {
            return;
        }
        self.claim(subject, name, resource);
        self.hand_entries_on(subject, now);
        let ids: Vec<EntryId> = self
            .mirror
            .of(subject)
            .filter(|r| !self.is_under_pods(name, &r.entry))
            .map(|r| r.entry.id.clone())
            .collect();
        if !self.scan.is_fresh() {
            // Whoever led before may have made an entry that was not read yet.
            self.scan.postpone(subject.clone());
        } else if ids.is_empty() {
            self.release(subject, name, resource);
        } else {
            for id in ids {
                let reason = DeleteReason::ObjectDeleted;
                self.stage(subject, Operation::Delete { id, reason });
            }
        }
    }

    /// Whether this is the entry of a node that living pods are on: it stays for the SpiffeID that is made again, whoever
    /// deleted the former one.
    pub(super) fn is_under_pods(&self, name: &ResourceName, entry: &RegisteredEntry) -> bool {
        let ids = self.policy.spiffe_ids.as_ref();
        let alias = || self.policy.root.child(&name.name);
        ids.is_some_and(|p| p.pod_controller && p.namespace == name.namespace)
            && entry.parent_id == self.policy.server_id()
            && self.observed.pods_on(&name.name).next().is_some()
            && alias().is_ok_and(|alias| alias == entry.spiffe_id)
    }

    /// Whether this would take away the entry of a node on which pods came to be since it was staged.
    pub(super) fn pods_came(&self, item: &Staged) -> bool {
        let Operation::Delete { id, reason } = &item.operation else {
            return false;
        };
        let Some(record) = self.mirror.get(id).filter(|_| reason.is_absence()) else {
            return false;
        };
        match resource_of(&item.subject) {
            Some(name) => self.is_under_pods(&name, &record.entry),
            None => self.node_under_pods(&record.entry).is_some(),
        }
    }

    /// Whether this would take away what another SpiffeID asks for since it was staged, and does not have.
    pub(super) fn heir_came(&self, item: &Staged) -> bool {
        let (Operation::Delete { id, .. }, Some(_)) = (&item.operation, &self.policy.spiffe_ids)
        else {
            return false;
        };
        let Some(tuple) = self.mirror.get(id).map(|r| Tuple::stored(&r.entry)) else {
            return false;
        };
        let heir = self.observed.resources.holder(&tuple).map(subject_of);
        heir.is_some_and(|heir| {
            let mut has = self.mirror.of(&heir);
            heir != item.subject && !has.any(|r| Tuple::stored(&r.entry) == tuple)
        })
    }

    /// The SpiffeID that a node's entry would be of, if that is not there, or going, and living pods are on the node.
    fn node_under_pods(&self, entry: &RegisteredEntry) -> Option<ResourceName> {
        let ids = self.policy.spiffe_ids.as_ref()?;
        let below = entry
            .spiffe_id
            .path()
            .strip_prefix(self.policy.root.path())?;
        let name = ResourceName::new(ids.namespace.clone(), below.strip_prefix('/')?);
        let resource = self.observed.resources.get(&name);
        let there = resource.is_some_and(|r| !r.deleting);
        (!there && self.is_under_pods(&name, entry)).then_some(name)
    }

    /// While the definition is being deleted its SpiffeIDs wait for our finalizers, and so does it: they leave even while
    /// the SPIRE Server cannot be asked.
    pub(super) fn release_with_definition(&mut self, now: Now) {
        if !self.kube.definition.is_terminating() {
            return;
        }
        let waiting: Vec<SpiffeIdSnapshot> = self
            .observed
            .resources
            .iter()
            .filter(|r| r.deleting && r.has_finalizer())
            .cloned()
            .collect();
        for resource in waiting {
            let name = ResourceName::new(resource.namespace.clone(), resource.name.clone());
            let subject = subject_of(&name);
            let busy = |w: &super::queue::Work| w.in_flight > 0 || w.is_backing_off();
            if !self.queue.get(&subject).is_some_and(busy) {
                self.queue.mark(&subject, Urgency::Gone, now);
                self.queue.take(&subject);
                self.release(&subject, &name, &resource);
                self.queue.rest(&subject);
            }
        }
    }

    fn release(&mut self, subject: &Subject, name: &ResourceName, resource: &SpiffeIdSnapshot) {
        self.release_hold(subject);
        if resource.has_finalizer() {
            let others = resource.finalizers.iter();
            let others = others.filter(|f| &***f != SPIFFE_ID_FINALIZER);
            let finalizers = others.cloned().collect();
            self.set_finalizers(subject, name, resource, finalizers);
        }
    }

    fn waits_for_definition(&self, subject: &Subject) -> bool {
        self.kube.definition.waiting.contains(subject)
    }

    /// Whether the end of this SpiffeID was seen and is its own, not that of the definition. If that cannot be told yet, the
    /// subject comes back when it can.
    fn end_is_its_own(&mut self, subject: &Subject) -> bool {
        let seen = *self.deaths.entry(subject.clone()).or_insert(self.stamp);
        if !self.kube.definition.covers(seen) {
            self.kube.definition.want(seen);
            self.kube.definition.waiting.insert(subject.clone());
            return false;
        }
        // What is still shown of a former definition's SpiffeIDs went with that.
        let of_former = resource_of(subject)
            .and_then(|name| self.observed.resources.get(&name))
            .is_some_and(|r| self.kube.definition.is_newer_than(&r.created));
        self.kube.definition.is_serving() && !of_former
    }

    /// Whether SpiffeIDs may be on their way out with the definition: what one of them had, and another that asks for something
    /// else by now, stays for the one that comes after it. The subject comes back when that can be told.
    pub(super) fn may_end_with_definition(&mut self, subject: &Subject) -> bool {
        if resource_of(subject).is_none() {
            return false;
        }
        let definition = &mut self.kube.definition;
        let deaths = self.deaths.values().copied();
        let unread = deaths.filter(|seen| !definition.covers(*seen)).max();
        if let Some(seen) = unread {
            definition.want(seen);
        }
        let may = unread.is_some() || !definition.is_serving();
        if may {
            definition.waiting.insert(subject.clone());
        }
        may
    }

    /// The object's end says nothing about its workload.
    pub(super) fn not_its_own_end(&mut self, subject: &Subject) {
        self.ended.remove(subject);
        self.deaths.remove(subject);
    }

    /// A SpiffeID that is not there any more, and may have left entries.
    pub(super) fn look_after_resource(&mut self, subject: &Subject, now: Now) {
        self.claims.remove(subject);
        if let Some(name) = resource_of(subject) {
            self.kube.forget(&name);
        }
        if self.ended.contains(subject) && self.mirror.has(subject) && !self.end_is_its_own(subject)
        {
            if !self.waits_for_definition(subject) {
                self.not_its_own_end(subject);
            }
            return;
        }
        self.hand_entries_on(subject, now);
        let known = self.ended.contains(subject) || self.observed.proves_absence(Kind::SpiffeId);
        if !known {
            return;
        }
        self.release_hold(subject);
        self.deaths.remove(subject);
        let name = resource_of(subject);
        if name.is_some_and(|n| {
            self.mirror
                .of(subject)
                .any(|r| self.is_under_pods(&n, &r.entry))
        }) {
            // It is made again; if it is not needed any more by then, the node comes back.
            self.ended.remove(subject);
            return;
        }
        let reason = match self.ended.contains(subject) {
            true => DeleteReason::ObjectDeleted,
            false => DeleteReason::ObjectAbsent,
        };
        self.remove_entries(subject, reason, now);
    }

    /// An entry of ours of which no SpiffeID is known.
    pub(super) fn look_at_unclaimed(&mut self, subject: &Subject, id: &EntryId, now: Now) {
        let Some(entry) = self.mirror.get(id).map(|r| r.entry.clone()) else {
            return self.queue.rest(subject);
        };
        if let Some(claimant) = self.observed.resources.claimant(&self.policy, &entry, true) {
            let owner = self.uid_of_resource(&claimant);
            self.mirror.hand_over(id, &claimant, owner);
            self.breaker.pardon(id);
            self.queue.mark(&claimant, Urgency::Changed, now);
            return self.queue.rest(subject);
        }
        if let Some(node) = self.node_under_pods(&entry) {
            // Node and SpiffeID went unseen, or that is about to go; the entry goes with the last pod.
            let of_node = subject_of(&node);
            self.mirror.hand_over(id, &of_node, None);
            self.breaker.pardon(id);
            self.queue.mark(&of_node, Urgency::Changed, now);
            return self.queue.rest(subject);
        }
        // A pod that is held keeps what it had, in whatever mode it was made.
        let held = match classify(&self.policy, &entry) {
            Ownership::Ours(pod) => self.held.contains_key(&pod),
            Ownership::Foreign(Foreign::Elsewhere | Foreign::UnderRoot) => false,
        };
        if held || !self.observed.proves_absence(Kind::SpiffeId) {
            self.breaker.pardon(id);
            return self.queue.rest(subject);
        }
        self.remove_entries(subject, DeleteReason::ObjectAbsent, now);
    }
}
