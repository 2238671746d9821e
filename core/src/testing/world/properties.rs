//! What must hold, each property a function of its own: of every call at the moment it is sent, and of the settled world.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Defect, World, ids_of, wanted_of};
use crate::{
    cluster::{Object, PodSnapshot},
    entry::{Entry, EntryId, FieldMask, RegisteredEntry},
    policy::NodePolicy,
    ports::{SpireAnswer, SpireCall},
    rules::{
        Bundles, Decision, Ownership, PodLookups, Subject, classify, decide_node, decide_pod,
        entry_of_all_nodes, subject_of_pod,
    },
    sync::{Event, Review},
};

/// A property of every history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// A replica that does not lead writes nothing (but what a review asks for).
    WritesOnlyWhileLeading,
    /// No two operations on one entry are under way.
    OneOperationAnEntry,
    /// What is not ours is neither mentioned in a write nor changed.
    NothingForeignIsTouched,
    /// An update says what it changes.
    NoUpdateWithoutAChange,
    /// Nothing is deleted before everything was listed.
    NoDeleteBeforeAllIsListed,
    /// A living pod never loses its only, right entry.
    ALivingPodKeepsItsRightEntry,
    /// A pod that cannot be registered as it is keeps the entry that it has, as it is.
    AnInvalidPodKeepsItsEntry,
    /// A review is answered once, and granted only with an entry.
    AReviewIsAnsweredOnceAndTruly,
    /// When the faults end, it comes to rest in a bounded number of steps.
    ItComesToRest,
    /// When it rests, the entries are those that the rules give from scratch.
    RightFromScratch,
}

/// A property that did not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// Where.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.what)
    }
}

type Held = Result<(), String>;

impl World {
    pub(super) fn violates(&mut self, property: Property, what: String) {
        self.violations.push(Violation { property, what });
    }

    /// What must hold of every call at the moment it is sent.
    pub(super) fn check(&mut self, call: &SpireCall) {
        if !call.is_write() {
            return;
        }
        for (property, held) in [
            (
                Property::WritesOnlyWhileLeading,
                self.writes_only_while_leading(call),
            ),
            (
                Property::OneOperationAnEntry,
                self.one_operation_an_entry(call),
            ),
            (
                Property::NothingForeignIsTouched,
                self.nothing_foreign_is_mentioned(call),
            ),
            (
                Property::NoUpdateWithoutAChange,
                no_update_without_a_change(call),
            ),
            (
                Property::NoDeleteBeforeAllIsListed,
                self.no_delete_before_all_is_listed(call),
            ),
            (
                Property::ALivingPodKeepsItsRightEntry,
                self.a_living_pod_keeps_its_right_entry(call),
            ),
            (
                Property::AnInvalidPodKeepsItsEntry,
                self.an_invalid_pod_keeps_its_entry(call),
            ),
        ] {
            if let Err(what) = held {
                self.violates(property, format!("{what}: {call:?}"));
            }
        }
    }

    fn writes_only_while_leading(&self, call: &SpireCall) -> Held {
        // What a review asks for is made without the lead; nothing is deleted without it.
        let asked = self.is_reviewed() && !matches!(call, SpireCall::Delete { .. });
        match self.leading || asked {
            true => Ok(()),
            false => Err("written without leading".into()),
        }
    }

    fn one_operation_an_entry(&self, call: &SpireCall) -> Held {
        let mut ids = ids_of(call);
        let others = self.under_way.values().filter(|c| c.is_write());
        ids.extend(others.flat_map(ids_of));
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        match unique.len() == ids.len() {
            true => Ok(()),
            false => Err("two operations on one entry under way".into()),
        }
    }

    fn nothing_foreign_is_mentioned(&self, call: &SpireCall) -> Held {
        let ids = ids_of(call);
        match self.foreign.iter().find(|f| ids.contains(&f.id)) {
            Some(foreign) => Err(format!("{} is mentioned", foreign.id)),
            None => Ok(()),
        }
    }

    fn no_delete_before_all_is_listed(&self, call: &SpireCall) -> Held {
        match self.listed || !matches!(call, SpireCall::Delete { .. }) {
            true => Ok(()),
            false => Err("not everything was listed".into()),
        }
    }

    /// The pod that an entry is about, if the machine has seen all there is to see.
    fn pod_of(&self, entry: &RegisteredEntry) -> Option<(Subject, &PodSnapshot)> {
        let Ownership::Ours(subject) = classify(&self.policy, entry) else {
            return None;
        };
        let of_subject = |p: &&PodSnapshot| subject_of_pod(&self.policy, p) == subject;
        let pod = self.pods.values().find(of_subject)?;
        self.unseen.is_empty().then_some((subject, pod))
    }

    fn decision_for(&self, pod: &PodSnapshot) -> Decision {
        let node = self
            .nodes
            .values()
            .find(|n| Some(&n.name) == pod.node_name.as_ref());
        let bundles = Bundles {
            known: Some(self.server.bundles.clone()),
            ..Bundles::default()
        };
        let lookups = PodLookups {
            node,
            slices: &[],
            bundles: &bundles,
        };
        decide_pod(&self.policy, pod, lookups)
    }

    fn a_living_pod_keeps_its_right_entry(&self, call: &SpireCall) -> Held {
        let SpireCall::Delete { ids } = call else {
            return Ok(());
        };
        for entry in ids.iter().filter_map(|id| self.server.get(id)) {
            let Some((subject, pod)) = self.pod_of(entry) else {
                continue;
            };
            let wanted = wanted_of(self.decision_for(pod));
            let right = wanted.is_some_and(|w| w.changed_fields(entry).is_empty());
            if right && self.entries_of(&subject).len() == 1 {
                return Err(format!(
                    "the only, right entry of the living {subject} goes"
                ));
            }
        }
        Ok(())
    }

    fn an_invalid_pod_keeps_its_entry(&self, call: &SpireCall) -> Held {
        let ids = match call {
            SpireCall::Delete { ids } => ids.clone(),
            SpireCall::Update { .. } => ids_of(call),
            _ => return Ok(()),
        };
        for entry in ids.iter().filter_map(|id| self.server.get(id)) {
            let Some((subject, pod)) = self.pod_of(entry) else {
                continue;
            };
            // Another pod's of the same name is not its own.
            let its_own = self.made_for.get(&entry.id) == Some(&pod.uid);
            if its_own && matches!(self.decision_for(pod), Decision::Invalid(_)) {
                return Err(format!(
                    "{subject} cannot be told, and loses or changes its entry"
                ));
            }
        }
        Ok(())
    }

    /// Takes note of the pods that this process is shown.
    pub(super) fn show(&mut self, event: &Event) {
        let pod = match event {
            Event::Applied(Object::Pod(pod)) | Event::Listed(Object::Pod(pod)) => pod,
            Event::Reviewed {
                review: Review::Created(pod),
                ..
            } => pod,
            _ => return,
        };
        self.shown.insert(pod.uid.clone());
    }

    /// Takes note of the pods that a call is sent for: none that the machine does not know of.
    pub(super) fn remember(&mut self, call: &SpireCall) {
        for (id, entry) in written(call) {
            let stored = RegisteredEntry::created(id.clone(), entry);
            let uid = self.pod_of(&stored).map(|(_, pod)| pod.uid.clone());
            let uid = uid.filter(|uid| self.shown.contains(uid));
            self.meant_for.insert(id.clone(), uid);
        }
    }

    /// The server performs a call, or its first items: an entry is that pod's for which it was then written.
    pub(super) fn perform(&mut self, call: &SpireCall, items: usize) -> SpireAnswer {
        let answer = self.server.perform(call, items);
        for (id, entry) in written(call) {
            let stored = self.server.get(id);
            if !stored.is_some_and(|s| entry.changed_fields(s).is_empty()) {
                continue;
            }
            match self.meant_for.get(id).cloned().flatten() {
                Some(uid) => drop(self.made_for.insert(id.clone(), uid)),
                None => drop(self.made_for.remove(id)),
            }
        }
        answer
    }

    /// What a defect makes of a call before it is sent.
    pub(super) fn spoil(&self, call: &mut SpireCall) {
        match (self.defect, call) {
            (Some(Defect::TouchesForeign), SpireCall::Delete { ids }) => {
                *ids = vec![EntryId::stored("operator")];
            }
            (Some(Defect::SendsEmptyMasks), SpireCall::Update { mask, .. }) => {
                *mask = FieldMask::default();
            }
            (Some(Defect::DeletesOneMore), SpireCall::Delete { ids }) => {
                let living = self.owned().into_iter().find(|e| self.pod_of(e).is_some());
                ids.extend(living.map(|e| e.id).filter(|id| !ids.contains(id)));
            }
            _ => {}
        }
    }

    /// Every property that did not hold, on the way or in the settled world.
    pub fn differences(&self) -> Vec<Violation> {
        let mut violations = self.violations.clone();
        let mut found = |property, what| violations.push(Violation { property, what });
        for foreign in &self.foreign {
            if self.server.get(&foreign.id) != Some(foreign) {
                let what = format!("{} was changed", foreign.id);
                found(Property::NothingForeignIsTouched, what);
            }
        }
        if !self.reviews.is_empty() {
            let what = format!("reviews without an answer: {:?}", self.reviews);
            found(Property::AReviewIsAnsweredOnceAndTruly, what);
        }
        for what in self.right_from_scratch() {
            found(Property::RightFromScratch, what);
        }
        violations
    }

    /// Incremental equals from scratch: the entries are those that the rules give for the cluster as it is.
    fn right_from_scratch(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let bundles = Bundles {
            known: Some(self.server.bundles.clone()),
            ..Bundles::default()
        };
        let mut wanted: BTreeMap<Subject, Option<Arc<Entry>>> = BTreeMap::new();
        if self.policy.nodes == NodePolicy::OneForAll {
            let entry = Arc::new(entry_of_all_nodes(&self.policy));
            wanted.insert(Subject::Node("".into()), Some(entry));
        }
        for node in self.nodes.values() {
            let decision = decide_node(&self.policy, node, &bundles);
            wanted.insert(Subject::Node(node.name.clone()), wanted_of(decision));
        }
        for pod in self.pods.values() {
            let node = self
                .nodes
                .values()
                .find(|n| Some(&n.name) == pod.node_name.as_ref());
            let lookups = PodLookups {
                node,
                slices: &[],
                bundles: &bundles,
            };
            let decision = decide_pod(&self.policy, pod, lookups);
            let held = matches!(decision, Decision::Invalid(_));
            let subject = subject_of_pod(&self.policy, pod);
            if held {
                // Its entry, if it has one, stays whatever it is: nothing to compare.
                wanted.insert(subject, None);
                continue;
            }
            match wanted_of(decision) {
                Some(entry) => drop(wanted.insert(subject, Some(entry))),
                None => continue,
            }
        }
        let mut found: BTreeMap<Subject, Vec<RegisteredEntry>> = BTreeMap::new();
        for entry in self.owned() {
            if let Ownership::Ours(subject) = classify(&self.policy, &entry) {
                found.entry(subject).or_default().push(entry);
            }
        }
        for (subject, entry) in &wanted {
            let Some(entry) = entry else { continue };
            match found.get(subject).map(Vec::as_slice) {
                Some([one]) if entry.changed_fields(one).is_empty() => {}
                other => {
                    differences.push(format!("{subject}: wanted {entry:#?}, found {other:#?}"))
                }
            }
        }
        let named = |name: &str| {
            self.pods
                .values()
                .any(|p| p.node_name.as_deref() == Some(name))
        };
        for (subject, entries) in &found {
            let allowed = wanted.contains_key(subject)
                || matches!(subject, Subject::Node(name) if named(name));
            if !allowed {
                differences.push(format!("{subject} has {entries:#?} and should have none"));
            }
        }
        differences
    }
}

/// The entries that a call writes.
fn written(call: &SpireCall) -> &[(EntryId, Arc<Entry>)] {
    match call {
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => entries,
        _ => &[],
    }
}

fn no_update_without_a_change(call: &SpireCall) -> Held {
    match call {
        SpireCall::Update { mask, .. } if mask.is_empty() => {
            Err("an update that changes nothing".into())
        }
        _ => Ok(()),
    }
}
