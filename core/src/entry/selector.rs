//! Selectors: which workloads or agents an entry is for.

use std::{
    fmt::{self, Write as _},
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

/// A selector as [`Selectors`] hold it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectorRef<'s> {
    /// `k8s` or `k8s_psat`, for example; no colon.
    pub kind: &'s str,
    /// What follows the first colon.
    pub value: &'s str,
}

impl From<SelectorRef<'_>> for Selector {
    fn from(selector: SelectorRef<'_>) -> Self {
        Self::new(selector.kind, selector.value)
    }
}

impl fmt::Display for SelectorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

impl fmt::Debug for SelectorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The selectors of an entry, without duplicates (SPIRE refuses an entry that names one twice), in the order given.
///
/// One text for all of them, for every entry has some: each as the length of its kind, a colon, the length of its value, a
/// colon, and both of these.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selectors(Arc<str>);

impl Selectors {
    /// Keeps the first of each.
    pub fn new(selectors: impl IntoIterator<Item = Selector>) -> Self {
        let mut unique: Vec<Selector> = Vec::with_capacity(3);
        for selector in selectors {
            if !unique.contains(&selector) {
                unique.push(selector);
            }
        }
        Self::joined(unique.iter().map(|s| SelectorRef {
            kind: &s.kind,
            value: &s.value,
        }))
    }

    fn joined<'s>(selectors: impl Iterator<Item = SelectorRef<'s>>) -> Self {
        let mut text = String::with_capacity(96);
        for SelectorRef { kind, value } in selectors {
            // Writing to a string does not fail.
            let _ = write!(text, "{}:{}:{kind}{value}", kind.len(), value.len());
        }
        Self(text.into())
    }

    /// The same ones in one order, whatever the order here is.
    pub(crate) fn sorted(&self) -> Self {
        let mut selectors: Vec<_> = self.iter().collect();
        selectors.sort_unstable();
        Self::joined(selectors.into_iter())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = SelectorRef<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (selector, after) = first(rest)?;
            rest = after;
            Some(selector)
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none (SPIRE refuses such an entry).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same selectors, in any order.
    pub fn same_set(&self, other: &Self) -> bool {
        self == other
            || self.len() == other.len() && self.iter().all(|s| other.iter().any(|o| o == s))
    }
}

/// The first selector of a text, and what follows it; `None` at the end.
fn first(text: &str) -> Option<(SelectorRef<'_>, &str)> {
    let (kind, rest) = text.split_once(':')?;
    let (value, rest) = rest.split_once(':')?;
    let (kind, rest) = rest.split_at_checked(kind.parse().ok()?)?;
    let (value, rest) = rest.split_at_checked(value.parse().ok()?)?;
    Some((SelectorRef { kind, value }, rest))
}

impl fmt::Debug for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selectors() -> impl Strategy<Value = Vec<Selector>> {
        let part = || proptest::string::string_regex("[:0-9a\u{e9}]{0,5}").expect("a pattern");
        let one = (part(), part()).prop_map(|(kind, value)| Selector::new(kind, value));
        proptest::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_once_and_in_order(given in selectors()) {
            let mut unique: Vec<Selector> = Vec::new();
            for selector in &given {
                if !unique.contains(selector) {
                    unique.push(selector.clone());
                }
            }
            let selectors = Selectors::new(given.clone());
            let out: Vec<Selector> = selectors.iter().map(Selector::from).collect();
            prop_assert_eq!(&out, &unique);
            prop_assert_eq!((selectors.len(), selectors.is_empty()), (unique.len(), unique.is_empty()));
            let backwards = Selectors::new(given.into_iter().rev());
            prop_assert!(selectors.same_set(&backwards));
            prop_assert_eq!(selectors.sorted(), backwards.sorted());
        }

        #[test]
        fn sets_are_the_same_when_their_members_are(a in selectors(), b in selectors()) {
            use std::collections::BTreeSet;
            let same = a.iter().collect::<BTreeSet<_>>() == b.iter().collect::<BTreeSet<_>>();
            let (a, b) = (Selectors::new(a), Selectors::new(b));
            prop_assert_eq!(a.same_set(&b), same);
            prop_assert_eq!(a.sorted() == b.sorted(), same);
        }
    }
}
