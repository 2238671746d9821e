//! From pods and nodes to SpiffeIDs: what is wanted of each is compared with what is there, and applied.

use std::sync::Arc;

use super::{DeleteReason, Now, Reconciler, plan::Want, queue::Urgency};
use crate::{
    cluster::{NODE_UID_LABEL, NodeSnapshot, POD_UID_LABEL, SpiffeIdSnapshot, Uid},
    entry::Entry,
    ports::{AppliedResource, KubeCall, Owner, ResourceName},
    rules::{Bundles, Decision, Problem, Subject, decide_node, kept_service_names, spec_of},
};

/// Whose a SpiffeID is that has the name of an object's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belongs {
    /// This very object's.
    Here,
    /// That of a former object of the same name.
    Former,
    /// Someone else's.
    Elsewhere,
}

impl Reconciler {
    /// Whether this subject gets a SpiffeID, and its entry through that.
    pub(super) fn gets_resource(&self, subject: &Subject) -> bool {
        self.policy.spiffe_ids.is_some() && matches!(subject, Subject::Pod(..) | Subject::Node(_))
    }

    /// The name of the SpiffeID that a pod or node gets.
    pub(super) fn resource_for(&self, subject: &Subject) -> Option<ResourceName> {
        let policy = self.policy.spiffe_ids.as_ref()?;
        match subject {
            Subject::Pod(namespace, name) => {
                Some(ResourceName::new(namespace.clone(), name.clone()))
            }
            Subject::Node(name) => Some(ResourceName::new(policy.namespace.clone(), name.clone())),
            _ => None,
        }
    }

    /// The definition is in force: whatever has no SpiffeID may get one now.
    pub(super) fn look_at_bare_objects(&mut self, now: Now) {
        let is_bare = |subject: &Subject| {
            let name = self.resource_for(subject);
            name.is_some_and(|name| self.observed.resources.get(&name).is_none())
        };
        let bare: Vec<Subject> = self.observed.subjects().filter(is_bare).collect();
        for subject in bare {
            self.queue.mark(&subject, Urgency::Object, now);
        }
    }

    /// Decides which SpiffeID a pod or node should have, and stages what is next for it.
    pub(super) fn look_at_object(&mut self, subject: &Subject, now: Now) {
        if let Some(name) = self.resource_for(subject)
            && !self.kube.expects(&name)
        {
            self.converge_object(subject, &name, now);
        }
        self.queue.rest(subject);
    }

    pub(super) fn converge_object(&mut self, subject: &Subject, name: &ResourceName, now: Now) {
        let there = self.observed.resources.get(name).cloned();
        let belongs = there.as_ref().map(|r| self.belongs(subject, r));
        if belongs == Some(Belongs::Here) && self.uid_of(subject).is_some() {
            // What ended before it left nothing behind: the SpiffeID is that of the object as it is.
            self.ended.remove(subject);
        }
        if belongs == Some(Belongs::Elsewhere)
            && let Some((uid, Decision::Register { .. }, _)) = self.decide(subject)
        {
            let problem = Problem::NameTaken {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
            };
            self.skipped.remove(subject);
            return self.hold(subject, Some(uid), problem);
        }
        match self.want(subject) {
            Want::Entries { entries, owner } => {
                let Some(entry) = entries.first() else {
                    return;
                };
                self.pardon_resource(subject, name);
                let owner = Some(owner_of(subject, owner));
                let entry = self.with_kept_names(subject, entry, there.as_ref());
                self.apply(subject, there.as_ref(), belongs, &entry, owner, now);
            }
            Want::Nothing(reason) => {
                match there {
                    Some(resource) if belongs != Some(Belongs::Elsewhere) => {
                        self.remove_resource(subject, name, &resource, reason, now);
                    }
                    Some(_) => {}
                    // It went while pods needed its entry.
                    None => {
                        let left = super::resources::subject_of(name);
                        if self.mirror.has(&left) {
                            self.queue.mark(&left, Urgency::Gone, now);
                        }
                    }
                }
                self.refused.remove(subject);
                if !matches!(reason, DeleteReason::Skipped(_)) {
                    self.forget(subject);
                }
            }
            Want::Hold { .. } => {
                self.refused.remove(subject);
                self.pardon_resource(subject, name);
            }
            Want::Unknown => {
                self.pardon_resource(subject, name);
                if let Subject::Node(node) = subject {
                    self.keep_node(subject, node, there.as_ref(), belongs, now);
                }
            }
        }
    }

    /// The SpiffeID stays after all, and its entry with it.
    fn pardon_resource(&mut self, subject: &Subject, name: &ResourceName) {
        let whose = super::resources::subject_of(name);
        for record in self.mirror.of(&whose) {
            self.breaker.withdraw(&record.entry.id, subject);
        }
    }

    fn belongs(&self, subject: &Subject, resource: &SpiffeIdSnapshot) -> Belongs {
        let (kind, name, uid) = match subject {
            Subject::Node(name) => {
                let known = self.observed.last_uid_of_node(name);
                // One that outlives its node has no owner, and says whose it was by its label.
                let label = resource.labels.get(NODE_UID_LABEL);
                if resource.controller.is_none() && resource.applied.is_some() && label.is_some() {
                    return Belongs::Here;
                }
                ("Node", name, known)
            }
            Subject::Pod(_, name) => {
                let pod = self.observed.pod(subject);
                ("Pod", name, pod.map(|p| &p.uid))
            }
            _ => return Belongs::Elsewhere,
        };
        match &resource.controller {
            Some(c) if &*c.kind == kind && c.name == *name => match uid == Some(&c.uid) {
                true => Belongs::Here,
                false => Belongs::Former,
            },
            _ => Belongs::Elsewhere,
        }
    }

    /// The entry with the names of Services that the pod was given and is not ready for now.
    fn with_kept_names(
        &self,
        subject: &Subject,
        entry: &Arc<Entry>,
        there: Option<&SpiffeIdSnapshot>,
    ) -> Arc<Entry> {
        let given = there.and_then(|r| r.applied.as_ref()).map(|a| &a.dns_names);
        let (Some(pod), Some(given)) = (self.observed.pod(subject), given) else {
            return entry.clone();
        };
        let slices = self.observed.slices_of(pod);
        let mut kept = kept_service_names(&self.policy.pods.dns, pod, &slices, given);
        kept.retain(|name| !entry.dns_names.contains(name));
        if kept.is_empty() {
            return entry.clone();
        }
        let mut with = (**entry).clone();
        with.dns_names = entry.dns_names.iter().cloned().chain(kept).collect();
        Arc::new(with)
    }

    fn apply(
        &mut self,
        subject: &Subject,
        there: Option<&SpiffeIdSnapshot>,
        belongs: Option<Belongs>,
        entry: &Arc<Entry>,
        owner: Option<Owner>,
        now: Now,
    ) {
        let Some(name) = self.resource_for(subject) else {
            return;
        };
        let label = match subject {
            Subject::Node(_) => NODE_UID_LABEL,
            _ => POD_UID_LABEL,
        };
        let Some(uid) = owner.as_ref().map(|o| o.uid.clone()).or_else(|| {
            let Subject::Node(node) = subject else {
                return None;
            };
            self.observed.last_uid_of_node(node).cloned()
        }) else {
            return;
        };
        let wanted = AppliedResource {
            name: name.clone(),
            uid: there.map(|r| r.uid.clone()),
            label: (label, uid.clone()),
            owner,
            spec: spec_of(entry),
        };
        let call = match there {
            // One is made for a pod that lives on, not for one that is on its way out.
            None if self.observed.pod(subject).is_some_and(|p| p.terminating) => return,
            // An API server may take it all the same, and it would keep the definition from going.
            None if !self.kube.definition.is_serving() => return,
            None => KubeCall::Apply(Box::new(wanted)),
            // Made again when it is gone.
            Some(resource) if resource.deleting => return,
            Some(resource) if is_as_applied(&wanted, resource) => {
                self.refused.remove(subject);
                return;
            }
            // What we did not apply we cannot take back: first the original's fields become ours.
            Some(resource) if resource.applied.as_ref().is_some_and(|a| !a.by_us) => {
                KubeCall::TakeOver(name.clone(), resource.uid.clone())
            }
            // The garbage collector takes it away.
            Some(resource) if belongs == Some(Belongs::Former) && resource.applied.is_none() => {
                return;
            }
            Some(_) => KubeCall::Apply(Box::new(wanted)),
        };
        let applies = matches!(call, KubeCall::Apply(_));
        let entry = std::slice::from_ref(entry);
        if !applies || self.may_change(subject, &uid, entry, there.is_some(), now) {
            self.stage_write(subject, &name, call);
        }
    }

    /// The SpiffeID of an object that gets none. Where the object is gone, the garbage collector takes it away.
    fn remove_resource(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        reason: DeleteReason,
        now: Now,
    ) {
        let collected =
            resource.controller.is_some() && !matches!(reason, DeleteReason::Skipped(_));
        if resource.deleting || collected {
            return;
        }
        let whose = super::resources::subject_of(name);
        let ids: Vec<_> = self.mirror.of(&whose).map(|r| r.entry.id.clone()).collect();
        let mut may = true;
        for id in ids {
            may &= reason.is_proven() || self.breaker.condemn(&id, subject, reason);
        }
        if may {
            if matches!(reason, DeleteReason::Skipped(_)) {
                self.note_skipped(subject, now);
            }
            let call = KubeCall::Delete(name.clone(), resource.uid.clone());
            self.stage_write(subject, name, call);
        }
    }

    /// A node whose object is gone while pods name it: they are served as long as its entry is there.
    fn keep_node(
        &mut self,
        subject: &Subject,
        node: &Arc<str>,
        there: Option<&SpiffeIdSnapshot>,
        belongs: Option<Belongs>,
        now: Now,
    ) {
        let Some(uid) = self.observed.last_uid_of_node(node).cloned() else {
            return;
        };
        if belongs == Some(Belongs::Elsewhere) || self.observed.pods_on(node).next().is_none() {
            return;
        }
        let last = NodeSnapshot {
            name: node.clone(),
            uid,
            annotations: Default::default(),
        };
        if let Decision::Register { entries, .. } =
            decide_node(&self.policy, &last, &Bundles::default())
            && let Some(entry) = entries.first()
        {
            self.apply(subject, there, belongs, entry, None, now);
        }
    }
}

fn owner_of(subject: &Subject, uid: Uid) -> Owner {
    let (kind, name) = match subject {
        Subject::Node(name) => ("Node", name.clone()),
        Subject::Pod(_, name) => ("Pod", name.clone()),
        other => ("", other.to_string().into()),
    };
    Owner { kind, name, uid }
}

/// Whether an object has all that is applied, and nothing that we applied before and do not want any more.
pub(super) fn is_as_applied(wanted: &AppliedResource, there: &SpiffeIdSnapshot) -> bool {
    let Ok(spec) = &there.spec else {
        return false;
    };
    let (label, uid) = &wanted.label;
    let owner = match (&wanted.owner, &there.controller) {
        (Some(owner), Some(c)) => {
            *owner.kind == *c.kind && owner.name == c.name && owner.uid == c.uid
        }
        (None, None) => true,
        _ => false,
    };
    let one =
        |wanted: &Option<Arc<str>>, there: &Option<Arc<str>>| wanted.is_none() || wanted == there;
    let (a, b) = (&wanted.spec.selector, &spec.selector);
    let selector = one(&a.cluster, &b.cluster)
        && one(&a.agent_node_uid, &b.agent_node_uid)
        && one(&a.pod_name, &b.pod_name)
        && one(&a.pod_uid, &b.pod_uid)
        && one(&a.namespace, &b.namespace)
        && one(&a.service_account, &b.service_account)
        && one(&a.node_name, &b.node_name);
    let applied = there.applied.clone().unwrap_or_default();
    let list =
        |wanted: &[Arc<str>], there: &[Arc<str>], ours: &std::collections::BTreeSet<Arc<str>>| {
            wanted.iter().all(|w| there.contains(w)) && ours.iter().all(|o| wanted.contains(o))
        };
    there.labels.get(label).is_some_and(|l| **l == *uid.0)
        && owner
        && there.has_finalizer()
        && wanted.spec.parent_id == spec.parent_id
        && wanted.spec.spiffe_id == spec.spiffe_id
        && selector
        && list(&wanted.spec.dns_names, &spec.dns_names, &applied.dns_names)
        && list(
            &wanted.spec.federates_with,
            &spec.federates_with,
            &applied.federates_with,
        )
}
