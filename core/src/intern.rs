//! One copy of values that many objects share: names of namespaces, nodes and service accounts, SPIFFE IDs of accounts and
//! of parents.

use std::sync::Arc;

use crate::index::IndexSet;

/// Below this many values a sweep is not worth it.
const FIRST_SWEEP: usize = 1024;

/// What can have several holders.
pub(crate) trait Shared: Ord + Clone {
    /// Whether both are one copy, not only equal.
    fn is_same(&self, other: &Self) -> bool;
    /// How many hold this copy.
    fn holders(&self) -> usize;
}

impl Shared for Arc<str> {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }

    fn holders(&self) -> usize {
        Arc::strong_count(self)
    }
}

/// The values that are shared. Those that nobody else holds any more are swept out as the number grows.
#[derive(Debug)]
pub(crate) struct Interner<T = Arc<str>> {
    values: IndexSet<T>,
    sweep_at: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: IndexSet::new(),
            sweep_at: 0,
        }
    }
}

impl<T: Shared> Interner<T> {
    /// Makes `value` the shared copy of itself.
    pub(crate) fn share(&mut self, value: &mut T) {
        if let Some(shared) = self.values.get(value) {
            if !shared.is_same(value) {
                *value = shared.clone();
            }
            return;
        }
        if self.values.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.values.retain(|v| v.holders() > 1);
            self.sweep_at = self.values.len() * 2;
        }
        self.values.insert(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::spiffe::SpiffeId;

    #[test]
    fn equal_strings_become_one() {
        let mut interner = Interner::<Arc<str>>::default();
        let (mut a, mut b): (Arc<str>, Arc<str>) = ("node-1".into(), "node-1".into());
        interner.share(&mut a);
        interner.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn equal_ids_become_one_and_those_that_nobody_holds_are_swept_out() {
        let id =
            |n: usize| SpiffeId::parse(&format!("spiffe://example.org/{n}")).expect("a SPIFFE ID");
        let mut interner = Interner::<SpiffeId>::default();
        let (mut kept, mut equal) = (id(0), id(0));
        interner.share(&mut kept);
        assert!(kept == equal && !kept.is_same(&equal));
        interner.share(&mut equal);
        assert!(kept.is_same(&equal));
        (0..10_000).for_each(|n| interner.share(&mut id(n)));
        assert!(interner.values.len() <= FIRST_SWEEP);
        assert!(interner.values.contains(&kept));
    }

    thread_local! {
        static LOOKED: Cell<usize> = const { Cell::new(0) };
    }

    /// Always held, and counts how often that is asked.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Held(usize);

    impl Shared for Held {
        fn is_same(&self, _: &Self) -> bool {
            true
        }

        fn holders(&self) -> usize {
            LOOKED.set(LOOKED.get() + 1);
            2
        }
    }

    #[test]
    fn sweeps_come_ever_more_seldom_when_everything_is_held() {
        let mut interner = Interner::<Held>::default();
        (0..100_000).for_each(|n| interner.share(&mut Held(n)));
        let looked = LOOKED.get();
        assert!((1024..200_000).contains(&looked), "{looked}");
    }

    #[test]
    fn strings_that_nobody_holds_are_swept_out() {
        let mut interner = Interner::<Arc<str>>::default();
        let mut kept: Arc<str> = "kept".into();
        interner.share(&mut kept);
        for n in 0..100_000 {
            interner.share(&mut format!("passing-{n}").into());
        }
        assert!(
            interner.values.len() <= FIRST_SWEEP,
            "{}",
            interner.values.len()
        );
        assert!(interner.values.contains("kept"));
    }
}
