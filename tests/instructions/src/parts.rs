//! What an event goes through, one by one: the rules, the comparison.

use std::sync::Arc;

use registrar_core::{
    cluster::{NodeSnapshot, PodSnapshot, Uid},
    entry::{Entry, EntryId, FieldMask, RegisteredEntry},
    policy::Policy,
    rules::{Bundles, Decision, PodLookups, decide_pod},
};

use crate::machine::{pod, policy};

/// A pod, and all that its decision needs.
#[derive(Debug)]
pub struct Undecided {
    policy: Policy,
    pod: PodSnapshot,
    node: NodeSnapshot,
    bundles: Bundles,
}

impl Undecided {
    /// Made ready.
    pub fn ready() -> Self {
        let pod = pod(42, &"team/a".into());
        let node = NodeSnapshot {
            name: pod.node_name.clone().expect("bound"),
            uid: Uid::new("node-uid"),
            annotations: Default::default(),
        };
        Self {
            policy: policy(),
            pod,
            node,
            bundles: Bundles::default(),
        }
    }

    /// By the rules.
    pub fn decide(&self) -> Decision {
        let lookups = PodLookups {
            node: Some(&self.node),
            slices: &[],
            bundles: &self.bundles,
        };
        decide_pod(&self.policy, &self.pod, lookups)
    }
}

/// An entry as it is wanted, and as it is stored.
#[derive(Debug)]
pub struct Compared {
    wanted: Arc<Entry>,
    stored: RegisteredEntry,
}

impl Compared {
    /// Made ready, the same.
    pub fn same() -> Self {
        let Decision::Register { entries, .. } = Undecided::ready().decide() else {
            unreachable!("such a pod gets an entry")
        };
        let stored = RegisteredEntry::created(EntryId::stored("id"), &entries[0]);
        Self {
            wanted: entries[0].clone(),
            stored,
        }
    }

    /// Made ready, with another SPIFFE ID.
    pub fn different() -> Self {
        let mut compared = Self::same();
        compared.stored.spiffe_id = compared.stored.parent_id.clone();
        compared
    }

    /// The fields that differ.
    pub fn compare(&self) -> FieldMask {
        self.wanted.changed_fields(&self.stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registrar_core::entry::Field;

    #[test]
    fn what_is_compared_is_the_same_or_differs_in_its_spiffe_id() {
        assert!(Compared::same().compare().is_empty());
        let different = Compared::different().compare();
        assert_eq!(different.iter().collect::<Vec<_>>(), [Field::SpiffeId]);
    }
}
