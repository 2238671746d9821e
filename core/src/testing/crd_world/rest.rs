//! What must hold of the settled world.

use std::collections::{BTreeMap, BTreeSet};

use super::{CrdProperty, CrdViolation, CrdWorld, NAMESPACE, OWN};
use crate::{
    cluster::{NODE_UID_LABEL, SpiffeIdSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    ports::ResourceName,
    rules::{Bundles, Decision, PodLookups, Tuple, decide_node, decide_pod, spec_of, tuple_of},
};

impl CrdWorld {
    /// Every property that did not hold, on the way or in the settled world.
    pub fn differences(&self) -> Vec<CrdViolation> {
        let mut violations = self.violations.clone();
        let mut found = |property, what: Vec<String>| {
            let one = |what| CrdViolation { property, what };
            violations.extend(what.into_iter().map(one));
        };
        if self.server.get(&self.foreign.id) != Some(&self.foreign).filter(|_| self.kept) {
            let what = vec!["the operator's entry was touched".into()];
            found(CrdProperty::NothingForeignIsTouched, what);
        }
        let stuck = self.api.objects.values().filter(|o| o.deleting);
        let stuck = stuck.map(|o| format!("{}/{}", o.namespace, o.name));
        found(CrdProperty::NoFinalizerIsLeft, stuck.collect());
        found(CrdProperty::SpiffeIdsAreRight, self.wrong_objects());
        let (wanted, stored) = (self.wanted(), self.entries_by_tuple());
        found(
            CrdProperty::NoEntryIsMissing,
            self.missing(&wanted, &stored),
        );
        found(
            CrdProperty::NoEntryIsNobodys,
            self.nobodys(&wanted, &stored),
        );
        found(CrdProperty::NoEntryIsThereTwice, self.twice(&stored));
        violations
    }

    /// What is asked for, and who has a right to it.
    fn wanted(&self) -> BTreeMap<Tuple, &SpiffeIdSnapshot> {
        let mut wanted: BTreeMap<Tuple, &SpiffeIdSnapshot> = BTreeMap::new();
        for object in self.api.objects.values() {
            let Some(tuple) = tuple_of(&self.policy, object) else {
                continue;
            };
            let age = |o: &SpiffeIdSnapshot| (o.created.clone(), o.uid.clone());
            let older = wanted.get(&tuple).is_none_or(|o| age(object) < age(o));
            if older {
                wanted.insert(tuple, object);
            }
        }
        wanted
    }

    fn entries_by_tuple(&self) -> BTreeMap<Tuple, Vec<&RegisteredEntry>> {
        let mut found: BTreeMap<Tuple, Vec<&RegisteredEntry>> = BTreeMap::new();
        for entry in self.server.entries().filter(|e| e.id != self.foreign.id) {
            found.entry(Tuple::stored(entry)).or_default().push(entry);
        }
        found
    }

    fn missing(
        &self,
        wanted: &BTreeMap<Tuple, &SpiffeIdSnapshot>,
        stored: &BTreeMap<Tuple, Vec<&RegisteredEntry>>,
    ) -> Vec<String> {
        let mut missing = Vec::new();
        for (tuple, object) in wanted {
            let named = object.status.entry_id.as_deref();
            match stored.get(tuple) {
                Some(entries) if entries.iter().any(|e| named == Some(e.id.as_str())) => {}
                None if self.is_refused(tuple) => {}
                _ if self.is_misled(object) => {}
                other => missing.push(format!("wanted {object:#?}, found {other:?}")),
            }
        }
        missing
    }

    /// Whether a status names, by someone's hand, an entry that is another's: nothing is done for that SpiffeID.
    fn is_misled(&self, object: &SpiffeIdSnapshot) -> bool {
        let Some(named) = object.status.entry_id.as_deref().map(EntryId::stored) else {
            return false;
        };
        let asks = tuple_of(&self.policy, object);
        let taken = self.server.get(&named);
        let of_another = taken.is_some_and(|e| Some(Tuple::stored(e)) != asks);
        of_another && self.forged.contains(&(object.uid.clone(), named))
    }

    /// What nobody asks for, but for what one keeps that cannot have what it asks for: one entry each.
    fn nobodys(
        &self,
        wanted: &BTreeMap<Tuple, &SpiffeIdSnapshot>,
        stored: &BTreeMap<Tuple, Vec<&RegisteredEntry>>,
    ) -> Vec<String> {
        let mut keeping: BTreeSet<&Uid> = BTreeSet::new();
        let mut nobodys = Vec::new();
        for (tuple, entries) in stored {
            if wanted.contains_key(tuple) {
                continue;
            }
            for entry in entries {
                let keeps = |o: &&SpiffeIdSnapshot| {
                    !keeping.contains(&o.uid) && self.keeps_what_it_had(o, entry)
                };
                let keeper = self.api.objects.values().find(keeps);
                match keeper {
                    Some(keeper) => drop(keeping.insert(&keeper.uid)),
                    None if self.serves_pods_left(entry) => {}
                    None => nobodys.push(format!("{entry:?}")),
                }
            }
        }
        nobodys
    }

    /// Whether the entry is that of a SpiffeID that became invalid, or whose wish the server refuses, or whose status was forged.
    fn keeps_what_it_had(&self, object: &SpiffeIdSnapshot, entry: &RegisteredEntry) -> bool {
        let named = object.status.entry_id.as_deref() == Some(entry.id.as_str());
        let asks = tuple_of(&self.policy, object);
        let cannot = asks.is_none_or(|tuple| self.is_refused(&tuple));
        self.was_of(entry, &object.uid) && (named && cannot || self.is_misled(object))
    }

    /// The entry of a node that is gone stays while pods are on it, also where nothing is left to make a SpiffeID from; and of
    /// two, made for two nodes of the name, nobody is left to tell which they are on.
    fn serves_pods_left(&self, entry: &RegisteredEntry) -> bool {
        let of_node = entry.parent_id == self.policy.server_id()
            && entry.spiffe_id.is_under(&self.policy.root);
        of_node && self.node.is_none() && !self.pods.is_empty()
    }

    fn twice(&self, stored: &BTreeMap<Tuple, Vec<&RegisteredEntry>>) -> Vec<String> {
        let several = stored.values().filter(|entries| entries.len() > 1);
        let several = several.filter(|entries| !self.are_kept_apart(entries));
        let mut twice: Vec<String> = several.map(|entries| format!("{entries:?}")).collect();
        for pod in self.pods.values() {
            let about = format!("pod-uid:{}", pod.uid);
            let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == about);
            let entries: Vec<_> = self.server.entries().filter(of_pod).collect();
            if entries.len() > 1 {
                twice.push(format!("{} has {entries:?}", pod.name));
            }
        }
        twice
    }

    /// Whether each of these is what another SpiffeID keeps that cannot have what it asks for, and was that once.
    fn are_kept_apart(&self, entries: &[&RegisteredEntry]) -> bool {
        let keeper = |entry: &&RegisteredEntry| {
            let mut objects = self.api.objects.values();
            objects.find(|o| self.keeps_what_it_had(o, entry))
        };
        let keepers: BTreeSet<&Uid> = entries.iter().filter_map(keeper).map(|o| &o.uid).collect();
        keepers.len() == entries.len()
    }

    fn wrong_objects(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let bundles = Bundles::default();
        let mut check = |name: ResourceName, uid: &Uid, decision: Decision| {
            let there = self.api.objects.get(&name);
            let ours = there.filter(|o| o.controller.as_ref().is_some_and(|c| c.uid == *uid));
            match decision {
                Decision::Register { entries, .. } => {
                    let spec = spec_of(&entries[0]);
                    let right = ours.is_some_and(|o| o.spec.as_deref() == Ok(&spec));
                    if !right {
                        differences.push(format!("{name:?}: wanted {spec:#?}, found {there:#?}"));
                    }
                }
                Decision::Skip(_) if ours.is_some() => {
                    differences.push(format!("{name:?} is there and should not be"));
                }
                _ => {}
            }
        };
        for pod in self.pods.values() {
            let lookups = PodLookups {
                node: self.node.as_ref(),
                slices: &[],
                bundles: &bundles,
            };
            let name = ResourceName::new(NAMESPACE, pod.name.clone());
            check(name, &pod.uid, decide_pod(&self.policy, pod, lookups));
        }
        if let Some(node) = &self.node {
            let name = ResourceName::new(OWN, node.name.clone());
            check(name, &node.uid, decide_node(&self.policy, node, &bundles));
        } else if self.pods.is_empty() {
            let of_node = |o: &&SpiffeIdSnapshot| o.labels.contains_key(NODE_UID_LABEL);
            if let Some(left) = self.api.objects.values().find(of_node) {
                differences.push(format!("{left:#?} is left, and nobody needs it"));
            }
        }
        differences
    }
}
