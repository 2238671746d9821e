//! The entries of one subject: nearly always one, and then without a set of its own.

use std::collections::BTreeSet;

use crate::entry::EntryId;

/// A set of entry IDs, small when it holds one.
#[derive(Debug, Default)]
pub(super) enum Ids {
    #[default]
    None,
    One(EntryId),
    Several(BTreeSet<EntryId>),
}

impl Ids {
    pub(super) fn insert(&mut self, id: EntryId) {
        *self = match std::mem::take(self) {
            Ids::None => Ids::One(id),
            Ids::One(one) if one == id => Ids::One(one),
            Ids::One(one) => Ids::Several([one, id].into()),
            Ids::Several(mut ids) => {
                ids.insert(id);
                Ids::Several(ids)
            }
        };
    }

    pub(super) fn remove(&mut self, id: &EntryId) {
        match self {
            Ids::One(one) if one == id => *self = Ids::None,
            Ids::None | Ids::One(_) => {}
            Ids::Several(ids) => {
                ids.remove(id);
                if ids.len() < 2 {
                    *self = ids.pop_first().map_or(Ids::None, Ids::One);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Ids::None)
    }

    /// Lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &EntryId> {
        let (one, several) = match self {
            Ids::None => (None, None),
            Ids::One(id) => (Some(id), None),
            Ids::Several(ids) => (None, Some(ids.iter())),
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
