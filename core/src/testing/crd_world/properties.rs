//! What must hold, each a property with a name: of every call at the moment it is sent.

use std::fmt;

use super::{CrdWorld, NAMESPACE};
use crate::{
    cluster::{Kind, Object, SPIFFE_ID_FINALIZER, SpiffeIdSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::MaxDeletes,
    ports::{KubeAnswer, KubeCall, ResourceName, SpireCall},
    rules::{Bundles, Decision, PodLookups, Tuple, decide_pod, tuple_of},
    sync::Event,
};

/// A property of every history of crd mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrdProperty {
    /// A replica that does not lead writes nothing, neither to SPIRE nor to Kubernetes.
    WritesOnlyWhileLeading,
    /// What is not ours is neither mentioned in a write nor changed.
    NothingForeignIsTouched,
    /// The end of the definition takes every SpiffeID, and no entry.
    NoEntryGoesWithTheDefinition,
    /// A finalizer leaves only after its entry, but for the end of the definition.
    AFinalizerLeavesAfterItsEntry,
    /// No entry of a living SpiffeID, or of a node with pods on it, is deleted while it is wanted and there is no other.
    ALivingOneKeepsItsRightEntry,
    /// Where the breaker lets nothing pass, nothing goes but what was seen to end, until someone confirms.
    TheBreakerHolds,
    /// When the faults end, it comes to rest in a bounded number of steps, and then writes nothing to either server.
    ItComesToRest,
    /// When it rests, no SpiffeID waits for its end.
    NoFinalizerIsLeft,
    /// When it rests, pods and nodes have the SpiffeIDs that the rules give from scratch, and no others.
    SpiffeIdsAreRight,
    /// When it rests, every SpiffeID that may have one has its entry, and its status names it.
    NoEntryIsMissing,
    /// When it rests, there is no entry that nobody asks for.
    NoEntryIsNobodys,
    /// When it rests, there are no two entries of one SPIFFE ID, parent and selectors, and no two of one pod.
    NoEntryIsThereTwice,
}

/// A property that did not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrdViolation {
    /// Which.
    pub property: CrdProperty,
    /// Where.
    pub what: String,
}

impl fmt::Display for CrdViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.what)
    }
}

type Held = Result<(), String>;

impl CrdWorld {
    fn holds(&mut self, property: CrdProperty, held: Held) {
        if let Err(what) = held {
            self.violations.push(CrdViolation { property, what });
        }
    }

    /// What must hold of every call to the SPIRE Server.
    pub(super) fn check(&mut self, call: &SpireCall) {
        if !call.is_write() {
            return;
        }
        self.holds(
            CrdProperty::WritesOnlyWhileLeading,
            self.is_led(&format!("{call:?}")),
        );
        let (ids, deletes) = match call {
            SpireCall::Delete { ids } => (ids.clone(), true),
            SpireCall::Update { entries, .. } => {
                (entries.iter().map(|(id, _)| id.clone()).collect(), false)
            }
            _ => return,
        };
        let foreign = match ids.contains(&self.foreign.id) {
            true => Err(format!("the operator's entry is mentioned: {call:?}")),
            false => Ok(()),
        };
        self.holds(CrdProperty::NothingForeignIsTouched, foreign);
        if deletes {
            self.holds(CrdProperty::NoEntryGoesWithTheDefinition, self.spares(&ids));
            let living = self.living_keep_theirs(&ids);
            self.holds(
                CrdProperty::ALivingOneKeepsItsRightEntry,
                living.and_then(|()| self.nodes_keep_theirs(&ids)),
            );
            self.holds(CrdProperty::TheBreakerHolds, self.breaker_holds(&ids));
        }
    }

    fn is_led(&self, call: &str) -> Held {
        match self.leading {
            true => Ok(()),
            false => Err(format!("written without leading: {call}")),
        }
    }

    fn spares(&self, ids: &[EntryId]) -> Held {
        // Of two that are the same one may go: whose it was has the other's identity.
        let has_twin = |id: &EntryId| {
            let tuple = self.server.get(id).map(Tuple::stored);
            let mut staying = self.server.entries().filter(|e| !ids.contains(&e.id));
            staying.any(|e| Some(Tuple::stored(e)) == tuple)
        };
        let mut spared = ids.iter().filter(|id| self.spared.contains(id));
        match spared.find(|id| !has_twin(id)) {
            Some(id) => Err(format!(
                "{id} goes, whose SpiffeID went with the definition"
            )),
            None => Ok(()),
        }
    }

    pub(super) fn asks_for(&self, object: &SpiffeIdSnapshot, tuple: &Tuple) -> bool {
        !object.deleting && tuple_of(&self.policy, object).as_ref() == Some(tuple)
    }

    pub(super) fn is_asked_for(&self, entry: &RegisteredEntry) -> bool {
        let tuple = Tuple::stored(entry);
        self.api.objects.values().any(|o| self.asks_for(o, &tuple))
    }

    /// Of what the machine has seen: nothing waits to be shown.
    fn living_keep_theirs(&self, ids: &[EntryId]) -> Held {
        if !self.unseen.is_empty() || !self.api.changes.is_empty() {
            return Ok(());
        }
        let going = ids.iter().filter_map(|id| self.server.get(id));
        for entry in going.filter(|e| e.id != self.foreign.id) {
            let tuple = Tuple::stored(entry);
            let like_it = |e: &&RegisteredEntry| Tuple::stored(e) == tuple;
            let mut others = self.server.entries().filter(like_it);
            let another = others.any(|e| !ids.contains(&e.id));
            let living = self.api.objects.values().find(|o| self.asks_for(o, &tuple));
            let another = another || self.robbed.contains(&tuple);
            if let Some(living) = living.filter(|_| !another) {
                return Err(format!("{} loses its entry {entry:?}", living.name));
            }
        }
        Ok(())
    }

    /// The last entry of the node stays while the machine knows of pods on it.
    fn nodes_keep_theirs(&self, ids: &[EntryId]) -> Held {
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
        match !self.pods.is_empty() && !unseen && !going.is_empty() && staying.is_empty() {
            true => Err(format!("{going:?} deleted, and pods are on the node")),
            false => Ok(()),
        }
    }

    /// Whether the breaker is to let nothing pass that was not seen to end.
    fn is_cautious(&self) -> bool {
        self.policy.max_deletes == MaxDeletes::Count(0) && !self.confirmed
    }

    fn breaker_holds(&self, ids: &[EntryId]) -> Held {
        if !self.is_cautious() {
            return Ok(());
        }
        for entry in ids.iter().filter_map(|id| self.server.get(id)) {
            let ended = self.ends.iter().any(|uid| self.was_of(entry, uid));
            let keeps_another = self.api.objects.values().any(|o| {
                let mut others = self.server.entries().filter(|e| !ids.contains(&e.id));
                // What someone took away behind the machine's back it takes for there.
                let robbed = |t: &Tuple| self.asked.contains(&(o.uid.clone(), t.clone()));
                let another = others.any(|e| self.was_of(e, &o.uid));
                self.was_of(entry, &o.uid) && (another || self.robbed.iter().any(robbed))
            });
            // One of a former node of this name goes for that of the node as it is.
            let server = self.policy.server_id();
            let of_this_node = |e: &RegisteredEntry| {
                [&e.parent_id, &entry.parent_id] == [&server; 2] && e.spiffe_id == entry.spiffe_id
            };
            let mut others = self.server.entries().filter(|e| !ids.contains(&e.id));
            let keeps_another = keeps_another || others.any(of_this_node);
            if !ended && !keeps_another {
                return Err(format!("{entry:?} goes, and nobody's end was seen"));
            }
        }
        Ok(())
    }

    /// Whether an entry was made for a SpiffeID, or is one that it ever asked for.
    pub(super) fn was_of(&self, entry: &RegisteredEntry, uid: &Uid) -> bool {
        let made_for = self.policy.entry_ids.of_owner(uid);
        let asked = (uid.clone(), Tuple::stored(entry));
        entry.id.as_str().starts_with(&made_for) || self.asked.contains(&asked)
    }

    /// What must hold of every call to the Kubernetes API.
    pub(super) fn check_kube(&mut self, call: &KubeCall) {
        if !call.is_write() {
            return;
        }
        self.holds(
            CrdProperty::WritesOnlyWhileLeading,
            self.is_led(&format!("{call:?}")),
        );
        match call {
            KubeCall::Delete(name, uid) => {
                let held = self.breaker_spares(name, uid);
                self.holds(CrdProperty::TheBreakerHolds, held);
            }
            KubeCall::SetFinalizers {
                name,
                uid,
                finalizers,
                ..
            } if !finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER) => {
                let held = self.entry_went(name, uid);
                self.holds(CrdProperty::AFinalizerLeavesAfterItsEntry, held);
            }
            _ => {}
        }
    }

    /// A pod that gives up its identity takes it along no sooner than the breaker lets it.
    fn breaker_spares(&self, name: &ResourceName, uid: &Uid) -> Held {
        let object = self.api.objects.get(name).filter(|o| o.uid == *uid);
        let Some(object) = object.filter(|_| self.is_cautious()) else {
            return Ok(());
        };
        let named = object.status.entry_id.as_deref().map(EntryId::stored);
        let has = named.is_some_and(|id| self.server.get(&id).is_some());
        let of = |uid: &Uid| object.controller.as_ref().is_some_and(|c| c.uid == *uid);
        let lookups = PodLookups {
            node: self.node.as_ref(),
            slices: &[],
            bundles: &Bundles::default(),
        };
        let gives_up = self.pods.values().any(|p| {
            let decision = decide_pod(&self.policy, p, lookups);
            of(&p.uid) && matches!(decision, Decision::Skip(_))
        });
        match has && gives_up && *name.namespace == *NAMESPACE {
            true => Err(format!("{name:?} goes, and its pod lives")),
            false => Ok(()),
        }
    }

    fn entry_went(&self, name: &ResourceName, uid: &Uid) -> Held {
        // Of one that is gone already nothing leaves: it may have gone with a former definition.
        let there = self.api.objects.get(name).is_some_and(|o| o.uid == *uid);
        let serving = there && self.api.definition.as_ref().is_some_and(|d| !d.terminating);
        // One of the next definition may be taken for one of the last, until that is read.
        if !serving || self.told_of_end {
            return Ok(());
        }
        let made_for = self.policy.entry_ids.of_owner(uid);
        let wanted_by_another = |e: &RegisteredEntry| {
            let tuple = Tuple::stored(e);
            self.asked.iter().any(|(by, t)| by != uid && *t == tuple)
        };
        let mut entries = self
            .server
            .entries()
            // A node's stays while pods are on it.
            .filter(|e| e.parent_id != self.policy.server_id());
        let left = entries.find(|e| e.id.as_str().starts_with(&made_for) && !wanted_by_another(e));
        match left {
            Some(left) => Err(format!("that of {name:?} leaves before entry {}", left.id)),
            None => Ok(()),
        }
    }

    /// Takes note of what this process is shown.
    pub(super) fn shown(&mut self, event: &Event) {
        match event {
            Event::Applied(Object::SpiffeId(object)) | Event::Listed(Object::SpiffeId(object)) => {
                let tuple = tuple_of(&self.policy, object);
                let asked = tuple.clone().map(|t| (object.uid.clone(), t));
                self.asked.extend(asked);
                let name = ResourceName::new(object.namespace.clone(), object.name.clone());
                let former = self.known.insert(name, (object.uid.clone(), tuple));
                let former = former.map(|(uid, _)| uid);
                self.ends.extend(former.filter(|f| *f != object.uid));
                if object.deleting {
                    self.ends.insert(object.uid.clone());
                }
            }
            Event::Deleted(key, uid) if key.kind == Kind::SpiffeId => {
                self.ends.insert(uid.clone());
            }
            Event::KubeReplied(_, Ok(KubeAnswer::Definition(definition))) => {
                self.told_of_end = definition.as_ref().is_none_or(|d| d.terminating);
            }
            _ => {}
        }
    }
}
