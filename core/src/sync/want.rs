//! From what is observed to what is wanted for one subject.

use std::{collections::BTreeSet, sync::Arc};

use super::{DeleteReason, Fact, Reconciler, plan::Want, resources::resource_of};
use crate::{
    cluster::{Kind, PodSnapshot, Uid},
    entry::{DnsName, Entry},
    policy::FEDERATES_WITH,
    rules::{
        Bundles, Decision, PodLookups, Problem, Subject, decide_node, decide_pod, decide_spiffe_id,
        entry_of_all_nodes, pod_dns_names,
    },
};

/// As if every bundle were there.
static ANY: Bundles = Bundles {
    known: None,
    missing: BTreeSet::new(),
};

impl Reconciler {
    /// Decides, and takes note of holds, skips and what was left out.
    pub(super) fn want(&mut self, subject: &Subject) -> Want {
        if let Some(why) = self.observed.unreadable(subject).cloned() {
            let uid = self.uid_of(subject);
            if !self.is_held_by_name(subject) {
                self.hold(subject, uid.clone(), Problem::Undecodable(why));
            }
            return Want::Hold { owner: uid };
        }
        let Some((uid, decision, federates)) = self.decide(subject) else {
            return self.without_object(subject);
        };
        if federates {
            self.federating.insert(subject.clone());
        } else {
            self.federating.remove(subject);
        }
        match decision {
            Decision::Register { entries, notes } => {
                self.release_hold(subject);
                self.skipped.remove(subject);
                self.note_left_out(subject, &uid, notes);
                Want::Entries {
                    entries,
                    owner: uid,
                }
            }
            Decision::Skip(reason) => {
                self.release_hold(subject);
                self.note_left_out(subject, &uid, Vec::new());
                self.skipped.insert(subject.clone(), reason);
                Want::Nothing(if self.ended.contains(subject) {
                    DeleteReason::FormerObject
                } else {
                    DeleteReason::Skipped(reason)
                })
            }
            Decision::Invalid(problem) => {
                self.skipped.remove(subject);
                self.hold(subject, Some(uid.clone()), problem);
                Want::Hold { owner: Some(uid) }
            }
        }
    }

    /// Whether this is a pod that cannot be read, under its UID: its entry may be of either form, but it is one object, and is
    /// held and reported under its name.
    pub(super) fn is_held_by_name(&self, subject: &Subject) -> bool {
        matches!(subject, Subject::PodUid(_)) && self.observed.unreadable(subject).is_some()
    }

    pub(super) fn uid_of(&self, subject: &Subject) -> Option<Uid> {
        match subject {
            Subject::Node(name) => self.observed.node(name).map(|n| n.uid.clone()),
            Subject::PodUid(uid) => Some(uid.clone()),
            Subject::SpiffeId(..) => self.uid_of_resource(subject),
            Subject::Entry(_) => None,
            pod => self.seen_or_expected(pod).map(|p| p.uid.clone()),
        }
    }

    /// The pod as the watch shows it, else as the latest review announced it.
    pub(super) fn seen_or_expected(&self, subject: &Subject) -> Option<&PodSnapshot> {
        let seen = self.observed.pod(subject);
        seen.or_else(|| self.reviews.expected(subject).next())
    }

    /// The decision for the object, its UID, and whether it names trust domains; `None` if there is no object.
    pub(super) fn decide(&self, subject: &Subject) -> Option<(Uid, Decision, bool)> {
        if let Subject::SpiffeId(..) = subject {
            return self.decide_resource(subject);
        }
        if self.is_all_nodes(subject) {
            let entries = vec![Arc::new(entry_of_all_nodes(&self.policy))];
            let notes = Vec::new();
            return Some((Uid::new(""), Decision::Register { entries, notes }, false));
        }
        let through_resource = self.gets_resource(subject);
        if let Subject::Node(name) = subject {
            let node = self.observed.node(name)?;
            let decision = decide_node(&self.policy, node, self.bundles_of_objects());
            return Some((
                node.uid.clone(),
                decision,
                !through_resource && node.annotations.contains_key(FEDERATES_WITH),
            ));
        }
        let pod = self.seen_or_expected(subject)?;
        let mut decision = self.decide_now(pod);
        if self.observed.pod(subject).is_none() {
            for other in self.reviews.expected(subject).skip(1) {
                add_entries(&mut decision, self.decide_now(other));
            }
        }
        Some((
            pod.uid.clone(),
            decision,
            !through_resource && pod.annotations.contains_key(FEDERATES_WITH),
        ))
    }

    /// What the rules say of this pod now.
    pub(super) fn decide_now(&self, pod: &PodSnapshot) -> Decision {
        let slices = self.observed.slices_of(pod);
        let lookups = PodLookups {
            node: pod.node_name.as_deref().and_then(|n| self.observed.node(n)),
            slices: &slices,
            bundles: self.bundles_of_objects(),
        };
        decide_pod(&self.policy, pod, lookups)
    }

    /// The bundles by which pods and nodes are decided. A SpiffeID names all trust domains that its pod does; which of them
    /// its entry can have is decided for the entry.
    fn bundles_of_objects(&self) -> &Bundles {
        match self.policy.spiffe_ids {
            Some(_) => &ANY,
            None => &self.bundles,
        }
    }

    fn decide_resource(&self, subject: &Subject) -> Option<(Uid, Decision, bool)> {
        let name = resource_of(subject)?;
        let resource = self.observed.resources.get(&name)?;
        let mut decision = decide_spiffe_id(&self.policy, resource, &self.bundles);
        if let Decision::Register { entries, .. } = &mut decision {
            let pod = Subject::Pod(name.namespace.clone(), name.name.clone());
            let pod = self.observed.pod(&pod);
            let made_for = resource.controller.as_ref().map(|c| &c.uid);
            if let Some(pod) = pod.filter(|p| made_for == Some(&p.uid)) {
                entries.iter_mut().for_each(|e| self.order_names(e, pod));
            }
        }
        let federates = resource
            .spec
            .as_ref()
            .is_ok_and(|spec| !spec.federates_with.is_empty());
        Some((resource.uid.clone(), decision, federates))
    }

    /// The names in an order of our own, so that the certificate's common name does not hang on who wrote which when: those
    /// of the templates first, in their order, then the others, sorted.
    fn order_names(&self, entry: &mut Arc<Entry>, pod: &PodSnapshot) {
        let (first, _) = pod_dns_names(&self.policy.pods.dns, pod, &[]);
        let place = |name: &DnsName| {
            let n = first.iter().position(|f| f == name);
            (n.unwrap_or(first.len()), name.clone())
        };
        let mut names = entry.dns_names.to_vec();
        names.sort_by_cached_key(place);
        if *names != *entry.dns_names {
            Arc::make_mut(entry).dns_names = names.into();
        }
    }

    fn without_object(&mut self, subject: &Subject) -> Want {
        let ended = self.ended.contains(subject);
        let (kind, named) = match subject {
            Subject::Node(name) => (Kind::Node, self.observed.pods_on(name).next().is_some()),
            _ => (Kind::Pod, false),
        };
        let pods_known = self.observed.proves_absence(Kind::Pod);
        let known = match kind {
            Kind::Node => !named && pods_known && (ended || self.nodes_known()),
            _ => ended || pods_known,
        };
        if !known {
            return Want::Unknown;
        }
        self.release_hold(subject);
        if ended {
            Want::Nothing(DeleteReason::ObjectDeleted)
        } else {
            Want::Nothing(DeleteReason::ObjectAbsent)
        }
    }

    fn nodes_known(&self) -> bool {
        // Under a policy that does not watch nodes, their entries are left from another one.
        !Self::kinds(&self.policy).contains(&Kind::Node) || self.observed.proves_absence(Kind::Node)
    }

    pub(super) fn hold(&mut self, subject: &Subject, uid: Option<Uid>, problem: Problem) {
        if self.held.get(subject) != Some(&problem) {
            self.facts.push(Fact::Held {
                subject: subject.clone(),
                uid,
                problem: problem.clone(),
            });
            self.held.insert(subject.clone(), problem);
        }
    }

    pub(super) fn release_hold(&mut self, subject: &Subject) {
        if self.held.remove(subject).is_some() {
            self.facts.push(Fact::Released {
                subject: subject.clone(),
            });
        }
    }
}

/// Both pods may come to be: their entries are wanted together, each tuple once.
fn add_entries(decision: &mut Decision, other: Decision) {
    let (
        Decision::Register { entries, .. },
        Decision::Register {
            entries: others, ..
        },
    ) = (decision, other)
    else {
        return;
    };
    for entry in others {
        let tuple = |e: &Entry| (e.spiffe_id.clone(), e.parent_id.clone());
        let same =
            |e: &Arc<Entry>| tuple(e) == tuple(&entry) && e.selectors.same_set(&entry.selectors);
        if !entries.iter().any(same) {
            entries.push(entry);
        }
    }
}
