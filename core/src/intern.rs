//! One copy of strings that many objects share: names of namespaces, nodes and service accounts, paths of parents.

use std::{collections::BTreeSet, sync::Arc};

/// Below this many strings a sweep is not worth it.
const FIRST_SWEEP: usize = 1024;

/// The strings that are shared. Those that nobody else holds any more are swept out as the number grows.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    strings: BTreeSet<Arc<str>>,
    sweep_at: usize,
}

impl Interner {
    /// Makes `text` the shared copy of itself.
    pub(crate) fn share(&mut self, text: &mut Arc<str>) {
        if let Some(shared) = self.strings.get(&**text) {
            if !Arc::ptr_eq(shared, text) {
                *text = shared.clone();
            }
            return;
        }
        if self.strings.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.strings.retain(|s| Arc::strong_count(s) > 1);
            self.sweep_at = self.strings.len() * 2;
        }
        self.strings.insert(text.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_become_one() {
        let mut interner = Interner::default();
        let (mut a, mut b): (Arc<str>, Arc<str>) = ("node-1".into(), "node-1".into());
        interner.share(&mut a);
        interner.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn strings_that_nobody_holds_are_swept_out() {
        let mut interner = Interner::default();
        let mut kept: Arc<str> = "kept".into();
        interner.share(&mut kept);
        for n in 0..100_000 {
            interner.share(&mut format!("passing-{n}").into());
        }
        assert!(
            interner.strings.len() <= FIRST_SWEEP,
            "{}",
            interner.strings.len()
        );
        assert!(interner.strings.contains("kept"));
    }
}
