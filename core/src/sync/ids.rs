//! The entries of one subject: nearly always one, and then without a set of its own.

use std::collections::BTreeSet;

use crate::entry::EntryId;

/// A set of entry IDs, small when it holds one: the rarer form, boxed, does not make it larger.
#[derive(Debug)]
pub(super) enum Ids {
    One(EntryId),
    #[expect(
        clippy::box_collection,
        reason = "smaller by a third, and there is one for every pod"
    )]
    Other(Option<Box<BTreeSet<EntryId>>>),
}

impl Default for Ids {
    fn default() -> Self {
        Ids::Other(None)
    }
}

impl Ids {
    pub(super) fn insert(&mut self, id: EntryId) {
        match self {
            Ids::One(one) if *one == id => {}
            Ids::One(one) => *self = Ids::Other(Some(Box::new([one.clone(), id].into()))),
            Ids::Other(None) => *self = Ids::One(id),
            Ids::Other(Some(ids)) => drop(ids.insert(id)),
        }
    }

    pub(super) fn remove(&mut self, id: &EntryId) {
        match self {
            Ids::One(one) if one == id => *self = Ids::default(),
            Ids::One(_) | Ids::Other(None) => {}
            Ids::Other(Some(ids)) => {
                ids.remove(id);
                if ids.len() < 2 {
                    *self = ids.pop_first().map_or_else(Ids::default, Ids::One);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Ids::Other(None))
    }

    /// Lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &EntryId> {
        let (one, several) = match self {
            Ids::One(id) => (Some(id), None),
            Ids::Other(ids) => (None, ids.as_ref().map(|ids| ids.iter())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(changes in proptest::collection::vec((any::<bool>(), 0..5u8), 0..30)) {
            let (mut ids, mut set) = (Ids::default(), BTreeSet::new());
            for (inserted, n) in changes {
                let id = EntryId::stored(&n.to_string());
                if inserted {
                    ids.insert(id.clone());
                    set.insert(id);
                } else {
                    ids.remove(&id);
                    set.remove(&id);
                }
                prop_assert_eq!(ids.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
                prop_assert_eq!(ids.is_empty(), set.is_empty());
            }
        }
    }
}
