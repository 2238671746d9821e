//! The maps and sets whose size grows with the cluster. They are the standard library's; for tests they count what is done
//! with them, so that a test can tell whether an event costs more the larger the cluster is.

#[cfg(feature = "testing")]
mod counted;

/// A map that grows with the cluster.
#[cfg(not(feature = "testing"))]
pub(crate) type Index<K, V> = std::collections::BTreeMap<K, V>;

/// A set that grows with the cluster.
#[cfg(not(feature = "testing"))]
pub(crate) type IndexSet<K> = std::collections::BTreeSet<K>;

#[cfg(feature = "testing")]
pub(crate) use counted::{Index, IndexSet, operations};
