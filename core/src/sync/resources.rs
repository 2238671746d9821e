//! SpiffeID resources as last seen, and the ways to find them: by status, by the ID of an entry, by what they ask for.

use std::sync::Arc;

use crate::{
    cluster::{POD_UID_LABEL, SpiffeIdSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    index::{Index, IndexSet},
    policy::Policy,
    ports::ResourceName,
    rules::{Subject, Tuple, tuple_of},
};

/// A SpiffeID with what is derived from it.
#[derive(Debug)]
struct Known {
    snapshot: SpiffeIdSnapshot,
    /// What it asks for, if it may have it.
    tuple: Option<Tuple>,
    /// What the IDs of entries made for it begin with.
    entry_ids: String,
}

#[derive(Debug, Default)]
pub(super) struct Resources {
    all: Index<ResourceName, Known>,
    by_entry_ids: Index<String, ResourceName>,
    by_status: Index<EntryId, IndexSet<ResourceName>>,
    by_tuple: Index<Tuple, IndexSet<ResourceName>>,
    by_pod: Index<Uid, IndexSet<ResourceName>>,
}

impl Resources {
    pub(super) fn get(&self, name: &ResourceName) -> Option<&SpiffeIdSnapshot> {
        self.all.get(name).map(|k| &k.snapshot)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.all.keys()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SpiffeIdSnapshot> {
        self.all.values().map(|k| &k.snapshot)
    }

    /// Whether the SpiffeID of this UID is here, whatever its name.
    pub(super) fn lives(&self, policy: &Policy, uid: &Uid) -> bool {
        let entry_ids = policy.entry_ids.of_owner(uid);
        self.by_entry_ids.contains_key(&entry_ids)
    }

    /// Those of one namespace.
    pub(super) fn of_namespace(
        &self,
        namespace: &Arc<str>,
    ) -> impl Iterator<Item = &SpiffeIdSnapshot> {
        let first = ResourceName::new(namespace.clone(), "");
        self.all
            .range(first..)
            .take_while(move |(name, _)| name.namespace == *namespace)
            .map(|(_, known)| &known.snapshot)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn tuple(&self, name: &ResourceName) -> Option<&Tuple> {
        self.all.get(name).and_then(|k| k.tuple.as_ref())
    }

    /// One as it is now. Returns those whose standing may have changed with it: all that ask for the same as it did or does.
    pub(super) fn put(&mut self, policy: &Policy, snapshot: SpiffeIdSnapshot) -> Vec<ResourceName> {
        let name = ResourceName::new(snapshot.namespace.clone(), snapshot.name.clone());
        let mut related = self.remove(&name);
        let entry_ids = policy.entry_ids.of_owner(&snapshot.uid);
        let tuple = tuple_of(policy, &snapshot);
        self.by_entry_ids.insert(entry_ids.clone(), name.clone());
        if let Some(id) = status_entry(&snapshot) {
            self.by_status.entry(id).or_default().insert(name.clone());
        }
        if let Some(tuple) = &tuple {
            let same = self.by_tuple.entry(tuple.clone()).or_default();
            related.extend(same.iter().cloned());
            same.insert(name.clone());
        }
        if let Some(uid) = pod_uid(&snapshot) {
            self.by_pod.entry(uid).or_default().insert(name.clone());
        }
        let known = Known {
            snapshot,
            tuple,
            entry_ids,
        };
        self.all.insert(name, known);
        related
    }

    /// One that is gone. Returns those that ask for the same as it did.
    pub(super) fn remove(&mut self, name: &ResourceName) -> Vec<ResourceName> {
        let mut related = Vec::new();
        if let Some(old) = self.all.remove(name) {
            self.by_entry_ids.remove(&old.entry_ids);
            if let Some(id) = status_entry(&old.snapshot) {
                unlink(&mut self.by_status, &id, name);
            }
            if let Some(uid) = pod_uid(&old.snapshot) {
                unlink(&mut self.by_pod, &uid, name);
            }
            if let Some(tuple) = &old.tuple {
                unlink(&mut self.by_tuple, tuple, name);
                related.extend(self.by_tuple.get(tuple).into_iter().flatten().cloned());
            }
        }
        related
    }

    /// The one that has a right to the entry of this tuple: the oldest of those that ask for it and are not being deleted.
    pub(super) fn holder(&self, tuple: &Tuple) -> Option<&ResourceName> {
        let asking = self.by_tuple.get(tuple).into_iter().flatten();
        let age = |name: &&ResourceName| {
            let known = self.all.get(*name)?;
            let s = &known.snapshot;
            (!s.deleting).then(|| (s.created.clone(), s.uid.clone()))
        };
        asking
            .filter_map(|name| age(&name).map(|age| (age, name)))
            .min()
            .map(|(_, name)| name)
    }

    /// Those whose status names this entry.
    pub(super) fn naming(&self, id: &EntryId) -> impl Iterator<Item = &ResourceName> {
        self.by_status.get(id).into_iter().flatten()
    }

    /// Those that say that they are about the pod with this UID.
    pub(super) fn of_pod(&self, uid: &Uid) -> impl Iterator<Item = &ResourceName> {
        self.by_pod.get(uid).into_iter().flatten()
    }

    /// Whose entry this is: of the one that it was made for; of one whose status names it and that asks for exactly this;
    /// or (only of entries that are `ours` in any case) of the one that asks for exactly this.
    pub(super) fn claimant(
        &self,
        policy: &Policy,
        entry: &RegisteredEntry,
        ours: bool,
    ) -> Option<Subject> {
        let made_for = policy
            .entry_ids
            .owner_part(&entry.id)
            .and_then(|part| self.by_entry_ids.get(part));
        let tuple = Tuple::stored(entry);
        let holder = self.holder(&tuple);
        let asking = self.by_tuple.get(&tuple);
        let named = self.naming(&entry.id);
        let claims = |name: &&ResourceName| {
            !entry.admin && !entry.store_svid && asking.is_some_and(|all| all.contains(*name))
        };
        let by_status: Vec<&ResourceName> = named.filter(claims).collect();
        // Of several that may have it, the one that has a right to it.
        let inherits = holder.filter(|h| ours || by_status.contains(h));
        inherits
            .or(made_for)
            .or(by_status.first().copied())
            .map(subject_of)
    }
}

fn unlink<K: Ord>(index: &mut Index<K, IndexSet<ResourceName>>, key: &K, name: &ResourceName) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

/// The pod that it says it is about.
fn pod_uid(resource: &SpiffeIdSnapshot) -> Option<Uid> {
    resource.labels.get(POD_UID_LABEL).cloned().map(Uid)
}

/// The entry that the status names.
pub(super) fn status_entry(resource: &SpiffeIdSnapshot) -> Option<EntryId> {
    resource.status.entry_id.as_deref().map(EntryId::stored)
}

/// The subject of a SpiffeID.
pub(super) fn subject_of(name: &ResourceName) -> Subject {
    Subject::SpiffeId(name.namespace.clone(), name.name.clone())
}

/// The SpiffeID of a subject.
pub(super) fn resource_of(subject: &Subject) -> Option<ResourceName> {
    match subject {
        Subject::SpiffeId(namespace, name) => {
            Some(ResourceName::new(namespace.clone(), name.clone()))
        }
        _ => None,
    }
}
