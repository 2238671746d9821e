//! What we wrote to the Kubernetes API and the watch has yet to show: until then, what is seen of it is old.

use crate::{
    index::{Index, IndexSet},
    ports::ResourceName,
};

/// Objects that we wrote, and the version that shows it.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    versions: Index<ResourceName, u64>,
    /// The same, lowest version first: a watch that lags shows thousands of others before the last of ours.
    in_order: IndexSet<(u64, ResourceName)>,
}

impl Awaited {
    pub(super) fn insert(&mut self, name: ResourceName, version: u64) {
        if let Some(former) = self.versions.insert(name.clone(), version) {
            self.in_order.remove(&(former, name.clone()));
        }
        self.in_order.insert((version, name));
    }

    pub(super) fn contains(&self, name: &ResourceName) -> bool {
        self.versions.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.versions.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The watch has come to this version, of whichever object: versions count changes of all.
    pub(super) fn seen(&mut self, version: u64) {
        while self.in_order.first().is_some_and(|(at, _)| *at <= version) {
            if let Some((_, name)) = self.in_order.pop_first() {
                self.versions.remove(&name);
            }
        }
    }

    /// All of them, which are not waited for any longer.
    pub(super) fn take(&mut self) -> Vec<ResourceName> {
        self.in_order = IndexSet::default();
        std::mem::take(&mut self.versions).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::index_operations;

    fn name(n: u64) -> ResourceName {
        ResourceName::new("ns", format!("r-{n}"))
    }

    #[test]
    fn what_the_watch_has_come_to_is_waited_for_no_longer() {
        let mut awaited = Awaited::default();
        for n in 1..=4 {
            awaited.insert(name(n), n);
        }
        awaited.insert(name(1), 5);
        awaited.seen(3);
        let waits =
            |a: &Awaited| -> Vec<u64> { (1..=4).filter(|n| a.contains(&name(*n))).collect() };
        assert_eq!(waits(&awaited), [1, 4]);
        awaited.seen(5);
        assert!(awaited.is_empty());
        awaited.insert(name(2), 6);
        assert_eq!(awaited.take(), [name(2)]);
        assert!(awaited.is_empty() && !awaited.contains(&name(2)));
        awaited.insert(name(2), 7);
        awaited.seen(6);
        assert!(awaited.contains(&name(2)));
    }

    #[test]
    fn a_version_that_shows_one_write_costs_the_same_however_many_are_waited_for() {
        let costs = |size: u64| {
            let mut awaited = Awaited::default();
            for n in 1..=size {
                awaited.insert(name(n), n);
            }
            let before = index_operations();
            awaited.seen(1);
            assert!(!awaited.contains(&name(1)));
            index_operations() - before
        };
        assert_eq!(costs(10), costs(10_000));
    }
}
