//! Selectors: which workloads or agents an entry is for.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

/// The types of nearly all selectors: one string each, not one a selector.
static COMMON_TYPES: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| ["k8s".into(), "k8s_psat".into()]);

/// One selector, such as `k8s:ns:production`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// `k8s` or `k8s_psat`, for example; no colon.
    pub kind: Arc<str>,
    /// What follows the first colon.
    pub value: Arc<str>,
}

impl Selector {
    /// A selector from its parts.
    pub fn new(kind: impl AsRef<str>, value: impl Into<Arc<str>>) -> Self {
        let kind = kind.as_ref();
        let common = COMMON_TYPES.iter().find(|c| ***c == *kind);
        Self {
            kind: common.cloned().unwrap_or_else(|| kind.into()),
            value: value.into(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The selectors of an entry, without duplicates (SPIRE refuses an entry that names one twice), in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors(Arc<[Selector]>);

impl Selectors {
    /// Keeps the first of each.
    pub fn new(selectors: impl IntoIterator<Item = Selector>) -> Self {
        let mut unique: Vec<Selector> = Vec::with_capacity(3);
        for selector in selectors {
            if !unique.contains(&selector) {
                unique.push(selector);
            }
        }
        Self(unique.into())
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none (SPIRE refuses such an entry).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same selectors, in any order.
    pub fn same_set(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|s| other.0.contains(s))
    }
}
