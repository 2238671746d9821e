//! The same maps and sets, counting: each look-up, insertion and removal, and each step of an iteration.

use std::{
    borrow::Borrow,
    cell::Cell,
    collections::{
        BTreeMap, BTreeSet,
        btree_map::{self, Entry},
        btree_set,
    },
    ops::RangeBounds,
};

thread_local! {
    static OPERATIONS: Cell<u64> = const { Cell::new(0) };
}

/// How many operations there were on this thread so far.
pub(crate) fn operations() -> u64 {
    OPERATIONS.get()
}

fn count(operations: usize) {
    OPERATIONS.set(OPERATIONS.get() + operations as u64);
}

/// Counts each step.
#[derive(Debug)]
pub(crate) struct Steps<I>(I);

impl<I: Iterator> Iterator for Steps<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.0.next()?;
        count(1);
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// A map that grows with the cluster.
#[derive(Debug)]
pub(crate) struct Index<K, V>(BTreeMap<K, V>);

impl<K, V> Index<K, V> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> Steps<btree_map::Iter<'_, K, V>> {
        Steps(self.0.iter())
    }

    pub(crate) fn keys(&self) -> Steps<btree_map::Keys<'_, K, V>> {
        Steps(self.0.keys())
    }

    pub(crate) fn values(&self) -> Steps<btree_map::Values<'_, K, V>> {
        Steps(self.0.values())
    }

    pub(crate) fn values_mut(&mut self) -> Steps<btree_map::ValuesMut<'_, K, V>> {
        Steps(self.0.values_mut())
    }

    pub(crate) fn into_keys(self) -> Steps<btree_map::IntoKeys<K, V>> {
        Steps(self.0.into_keys())
    }
}

impl<K: Ord, V> Index<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.get(key)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.get_mut(key)
    }

    pub(crate) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.get_key_value(key)
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        count(1);
        self.0.insert(key, value)
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.remove(key)
    }

    pub(crate) fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        count(1);
        self.0.entry(key)
    }

    pub(crate) fn range<R: RangeBounds<K>>(&self, range: R) -> Steps<btree_map::Range<'_, K, V>> {
        count(1);
        Steps(self.0.range(range))
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        count(self.0.len());
        self.0.retain(keep);
    }

    pub(crate) fn extract_if<R: RangeBounds<K>, F: FnMut(&K, &mut V) -> bool>(
        &mut self,
        range: R,
        which: F,
    ) -> btree_map::ExtractIf<'_, K, V, R, F> {
        count(self.0.len());
        self.0.extract_if(range, which)
    }

    pub(crate) fn clear(&mut self) {
        count(self.0.len());
        self.0.clear();
    }
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Index<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let made: BTreeMap<K, V> = items.into_iter().collect();
        count(made.len());
        Self(made)
    }
}

impl<K: Ord, V> Extend<(K, V)> for Index<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        self.0.extend(items.into_iter().inspect(|_| count(1)));
    }
}

impl<K, V> IntoIterator for Index<K, V> {
    type Item = (K, V);
    type IntoIter = Steps<btree_map::IntoIter<K, V>>;

    fn into_iter(self) -> Self::IntoIter {
        Steps(self.0.into_iter())
    }
}

impl<'a, K, V> IntoIterator for &'a Index<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Steps<btree_map::Iter<'a, K, V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut Index<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = Steps<btree_map::IterMut<'a, K, V>>;

    fn into_iter(self) -> Self::IntoIter {
        Steps(self.0.iter_mut())
    }
}

/// A set that grows with the cluster.
#[derive(Debug)]
pub(crate) struct IndexSet<K>(BTreeSet<K>);

impl<K> IndexSet<K> {
    pub(crate) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> Steps<btree_set::Iter<'_, K>> {
        Steps(self.0.iter())
    }
}

impl<K: Ord> IndexSet<K> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.get(key)
    }

    pub(crate) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.contains(key)
    }

    pub(crate) fn insert(&mut self, key: K) -> bool {
        count(1);
        self.0.insert(key)
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        count(1);
        self.0.remove(key)
    }

    pub(crate) fn first(&self) -> Option<&K> {
        count(1);
        self.0.first()
    }

    pub(crate) fn pop_first(&mut self) -> Option<K> {
        count(1);
        self.0.pop_first()
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&K) -> bool) {
        count(self.0.len());
        self.0.retain(keep);
    }

    pub(crate) fn clear(&mut self) {
        count(self.0.len());
        self.0.clear();
    }
}

impl<K: Clone> Clone for IndexSet<K> {
    fn clone(&self) -> Self {
        count(self.0.len());
        Self(self.0.clone())
    }
}

impl<K> Default for IndexSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> FromIterator<K> for IndexSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(items: I) -> Self {
        let made: BTreeSet<K> = items.into_iter().collect();
        count(made.len());
        Self(made)
    }
}

impl<K> IntoIterator for IndexSet<K> {
    type Item = K;
    type IntoIter = Steps<btree_set::IntoIter<K>>;

    fn into_iter(self) -> Self::IntoIter {
        Steps(self.0.into_iter())
    }
}

impl<'a, K> IntoIterator for &'a IndexSet<K> {
    type Item = &'a K;
    type IntoIter = Steps<btree_set::Iter<'a, K>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted<T>(what: impl FnOnce() -> T) -> u64 {
        let before = operations();
        what();
        operations() - before
    }

    fn index(size: usize) -> Index<usize, usize> {
        (0..size).map(|n| (n, n)).collect()
    }

    #[test]
    fn a_look_up_is_one_operation_however_large_the_map_is() {
        for size in [10, 10_000] {
            let mut index = index(size);
            assert_eq!(counted(|| index.get(&5).is_some()), 1);
            assert_eq!(counted(|| index.insert(5, 6)), 1);
            assert_eq!(counted(|| *index.entry(size).or_default()), 1);
            assert_eq!(counted(|| index.remove(&5)), 1);
            // The beginning of a range is looked up, and what follows are steps.
            assert_eq!(
                counted(|| assert_eq!(index.range(2..).take(3).count(), 3)),
                4
            );
        }
    }

    #[test]
    fn a_walk_over_everything_is_an_operation_for_each() {
        let mut index = index(1000);
        let mut set: IndexSet<usize> = (0..1000).collect();
        assert_eq!(
            counted(|| assert!(!index.values().any(|n| *n == 1000))),
            1000
        );
        assert_eq!(counted(|| assert!(index.keys().all(|n| *n < 1000))), 1000);
        assert_eq!(counted(|| assert_eq!(index.iter().count(), 1000)), 1000);
        assert_eq!(counted(|| index.retain(|_, _| true)), 1000);
        assert_eq!(counted(|| assert_eq!(set.iter().max(), Some(&999))), 1000);
        assert_eq!(counted(|| set.retain(|_| true)), 1000);
        // Made anew: taken out one by one, and put in.
        let anew = || drop(set.into_iter().collect::<IndexSet<usize>>());
        assert_eq!(counted(anew), 2000);
    }

    #[test]
    fn a_walk_that_ends_early_counts_as_far_as_it_went() {
        let index = index(1000);
        assert_eq!(counted(|| assert!(index.values().any(|n| *n == 9))), 10);
    }
}
