//! What must hold: of every call at the moment it is sent, and of the settled world.

use std::collections::BTreeMap;

use super::{CrdWorld, NAMESPACE, OWN};
use crate::{
    cluster::{Kind, NODE_UID_LABEL, SPIFFE_ID_FINALIZER, SpiffeIdSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    ports::{KubeCall, ResourceName, SpireCall},
    rules::{Bundles, Decision, PodLookups, Tuple, decide_node, decide_pod, spec_of, tuple_of},
    sync::Event,
};

impl CrdWorld {
    pub(super) fn check(&mut self, call: &SpireCall) {
        let ids = match call {
            SpireCall::Delete { ids } => ids.clone(),
            SpireCall::Update { entries, .. } => entries.iter().map(|(id, _)| id.clone()).collect(),
            _ => return,
        };
        if ids.contains(&self.foreign.id) {
            self.violations
                .push(format!("the operator's entry mentioned: {call:?}"));
        }
        self.check_node(&ids, matches!(call, SpireCall::Delete { .. }));
        if let SpireCall::Delete { ids } = call
            && let Some(id) = ids.iter().find(|id| self.spared.contains(id))
        {
            self.violations.push(format!(
                "{id} deleted, whose SpiffeID went with the definition"
            ));
        }
    }

    /// The last entry of the node stays while the machine knows of pods on it.
    pub(super) fn check_node(&mut self, ids: &[EntryId], deletes: bool) {
        let of_node = |e: &&RegisteredEntry| e.parent_id == self.policy.server_id();
        let (going, staying): (Vec<_>, Vec<_>) = self
            .server
            .entries()
            .filter(of_node)
            .partition(|e| ids.contains(&e.id));
        let unseen = self.unseen.iter().any(|e| match e {
            Event::Applied(object) => object.key().kind == Kind::Pod,
            Event::Deleted(key, _) => key.kind == Kind::Pod,
            _ => false,
        });
        if deletes && !self.pods.is_empty() && !unseen && !going.is_empty() && staying.is_empty() {
            let violation = format!("{going:?} deleted, and pods are on the node");
            self.violations.push(violation);
        }
    }

    /// A finalizer leaves only after its entry, but for the end of the definition.
    pub(super) fn check_kube(&mut self, call: &KubeCall) {
        let KubeCall::SetFinalizers {
            name,
            uid,
            finalizers,
            ..
        } = call
        else {
            return;
        };
        // Of one that is gone already nothing leaves: it may have gone with a former definition.
        let there = self.api.objects.get(name).is_some_and(|o| o.uid == *uid);
        let serving = there && self.api.definition.as_ref().is_some_and(|d| !d.terminating);
        let releases = !finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER);
        if !serving || !releases {
            return;
        }
        let made_for = self.policy.entry_ids.of_owner(uid);
        let wanted_by_another = |e: &RegisteredEntry| {
            let tuple = Tuple::stored(e);
            self.asked.iter().any(|(by, t)| by != uid && *t == tuple)
        };
        let left = self
            .server
            .entries()
            // A node's stays while pods are on it.
            .filter(|e| e.parent_id != self.policy.server_id())
            .find(|e| e.id.as_str().starts_with(&made_for) && !wanted_by_another(e));
        if let Some(left) = left {
            self.violations.push(format!(
                "the finalizer of {name:?} leaves before entry {}",
                left.id
            ));
        }
    }

    /// How the settled world differs from what the rules want.
    pub fn differences(&self) -> Vec<String> {
        let mut differences = self.violations.clone();
        if self.server.get(&self.foreign.id) != Some(&self.foreign).filter(|_| self.kept) {
            differences.push("the operator's entry was touched".into());
        }
        self.compare_objects(&mut differences);
        let mut wanted: BTreeMap<Tuple, &SpiffeIdSnapshot> = BTreeMap::new();
        for object in self.api.objects.values() {
            if object.deleting {
                differences.push(format!("{}/{} is stuck", object.namespace, object.name));
            }
            let Some(tuple) = tuple_of(&self.policy, object) else {
                continue;
            };
            let age = |o: &SpiffeIdSnapshot| (o.created.clone(), o.uid.clone());
            let older = wanted.get(&tuple).is_none_or(|o| age(object) < age(o));
            if older {
                wanted.insert(tuple, object);
            }
        }
        let mut found: BTreeMap<Tuple, &RegisteredEntry> = BTreeMap::new();
        for entry in self.server.entries().filter(|e| e.id != self.foreign.id) {
            if found.insert(Tuple::stored(entry), entry).is_some() {
                differences.push(format!("two entries like {entry:?}"));
            }
        }
        for (tuple, object) in &wanted {
            let named = object.status.entry_id.as_deref();
            let named_foreign = named.is_some_and(|id| {
                let taken = self.server.get(&EntryId::stored(id));
                taken.is_some_and(|e| Tuple::stored(e) != *tuple)
            });
            match found.get(tuple) {
                Some(entry) if named == Some(entry.id.as_str()) => {}
                _ if named_foreign => {}
                _ if self.is_refused(tuple) => {}
                other => differences.push(format!("wanted {object:#?}, found {other:?}")),
            }
        }
        for (tuple, entry) in &found {
            if !wanted.contains_key(tuple) && !self.is_held(entry) && !self.serves_pods_left(entry)
            {
                differences.push(format!("{entry:?} is nobody's"));
            }
        }
        differences
    }

    /// Whether the entry is that of a SpiffeID that became invalid, or whose status was forged: nothing is done about it.
    pub(super) fn is_held(&self, entry: &RegisteredEntry) -> bool {
        self.api.objects.values().any(|o| {
            let named = o.status.entry_id.as_deref();
            let made_for = self.policy.entry_ids.of_owner(&o.uid);
            // What it asks for it cannot have: it keeps what it had.
            let asks = tuple_of(&self.policy, o);
            let invalid = asks.is_none_or(|tuple| self.is_refused(&tuple));
            let forged = named.is_some_and(|id| id != entry.id.as_str());
            // Its own is also what it inherited while it asked for exactly that.
            let asked = (o.uid.clone(), Tuple::stored(entry));
            let own = entry.id.as_str().starts_with(&made_for) || self.asked.contains(&asked);
            named == Some(entry.id.as_str()) && invalid || own && forged
        })
    }

    /// The entry of a node that is gone stays while pods are on it, also where nothing is left to make a SpiffeID from.
    pub(super) fn serves_pods_left(&self, entry: &RegisteredEntry) -> bool {
        let of_node = entry.parent_id == self.policy.server_id()
            && entry.spiffe_id.is_under(&self.policy.root);
        of_node && self.node.is_none() && !self.pods.is_empty()
    }

    pub(super) fn compare_objects(&self, differences: &mut Vec<String>) {
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
    }
}
