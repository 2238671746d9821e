//! Labels and annotations.

use std::{fmt, sync::Arc};

type Pair = (Arc<str>, Arc<str>);

/// The labels or annotations that the policy asks for ([`crate::policy::Policy::wanted_metadata`]); others are not kept.
///
/// Few each, and held by every pod: a sorted slice without room to spare.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(Box<[Pair]>);

impl Metadata {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key))
    }

    /// The value of this key.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.position(key).ok().map(|n| &self.0[n].1)
    }

    /// Whether this key has a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// By key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// In order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(key, _)| key)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives this key this value.
    pub fn insert(&mut self, key: Arc<str>, value: Arc<str>) {
        match self.position(&key) {
            Ok(n) => self.0[n].1 = value,
            Err(n) => {
                let mut pairs = std::mem::take(&mut self.0).into_vec();
                pairs.insert(n, (key, value));
                self.0 = pairs.into();
            }
        }
    }

    /// Takes this key away.
    pub fn remove(&mut self, key: &str) -> Option<Arc<str>> {
        let n = self.position(key).ok()?;
        let mut pairs = std::mem::take(&mut self.0).into_vec();
        let (_, value) = pairs.remove(n);
        self.0 = pairs.into();
        Some(value)
    }

    /// Keeps those of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let mut pairs = std::mem::take(&mut self.0).into_vec();
        pairs.retain(|(key, value)| keep(key, value));
        self.0 = pairs.into();
    }
}

impl FromIterator<Pair> for Metadata {
    /// Of several values of one key, the last.
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Self {
        let mut pairs: Vec<Pair> = pairs.into_iter().collect();
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Self(pairs.into())
    }
}

impl<const N: usize> From<[Pair; N]> for Metadata {
    fn from(pairs: [Pair; N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pairs() -> impl Strategy<Value = Vec<Pair>> {
        let text = || prop_oneof!["a", "b", "c", "d"].prop_map(|t| Arc::from(t.as_str()));
        proptest::collection::vec((text(), text()), 0..8)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(first in pairs(), more in pairs(), less in pairs()) {
            let mut metadata: Metadata = first.iter().cloned().collect();
            let mut map: BTreeMap<_, _> = first.into_iter().collect();
            for (key, value) in more {
                metadata.insert(key.clone(), value.clone());
                map.insert(key, value);
            }
            for (key, _) in less {
                prop_assert_eq!(metadata.remove(&key), map.remove(&key));
                prop_assert!(!metadata.contains_key(&key));
            }
            prop_assert!(metadata.iter().eq(map.iter()));
            prop_assert!(map.iter().all(|(key, value)| metadata.get(key) == Some(value)));
            prop_assert_eq!((metadata.len(), metadata.is_empty()), (map.len(), map.is_empty()));
        }
    }
}
