//! Registration entries: what we want, what a server stores, and where the two differ.

mod dns_name;
mod fields;
mod id;
mod registered;
mod selector;

pub use dns_name::{DnsName, DnsNameError};
pub use fields::{Field, FieldMask};
pub use id::{EntryId, EntryIdError, EntryIdPrefix};
pub use registered::RegisteredEntry;
pub use selector::{Selector, SelectorRef, Selectors};

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use crate::spiffe::{SpiffeId, TrustDomain};

// Most entries have none of these: one empty value serves all.
static NO_NAMES: LazyLock<Arc<[DnsName]>> = LazyLock::new(|| Arc::new([]));
static NO_TRUST_DOMAINS: LazyLock<Arc<BTreeSet<TrustDomain>>> = LazyLock::new(Arc::default);
static NO_TEXT: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

/// DNS names in one allocation, in none if there are none.
pub fn shared_names(names: impl IntoIterator<Item = DnsName>) -> Arc<[DnsName]> {
    let mut names = names.into_iter().peekable();
    match names.peek() {
        None => NO_NAMES.clone(),
        Some(_) => names.collect(),
    }
}

/// Trust domains in one place, in the common one if there are none.
pub fn shared_trust_domains(domains: BTreeSet<TrustDomain>) -> Arc<BTreeSet<TrustDomain>> {
    if domains.is_empty() {
        NO_TRUST_DOMAINS.clone()
    } else {
        Arc::new(domains)
    }
}

/// A text in one allocation, in none if it is empty.
pub fn shared_text(text: &str) -> Arc<str> {
    if text.is_empty() {
        NO_TEXT.clone()
    } else {
        text.into()
    }
}

/// The entry an object should have. Fields that are `None` are not ours to manage: what the server has there stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The identity that matching workloads (or, for a node entry, agents) get.
    pub spiffe_id: SpiffeId,
    /// The node, node alias or `/spire/server` that the entry hangs under.
    pub parent_id: SpiffeId,
    /// In the order in which they are sent; compared as a set, as SPIRE does.
    pub selectors: Selectors,
    /// In order: the first becomes the certificate's common name.
    pub dns_names: Arc<[DnsName]>,
    /// Only trust domains whose bundle the server has; never our own.
    pub federates_with: Arc<BTreeSet<TrustDomain>>,
    /// Seconds; `None` leaves the server's value alone.
    pub x509_svid_ttl: Option<i32>,
    /// Seconds; `None` leaves the server's value alone.
    pub jwt_svid_ttl: Option<i32>,
    /// At most 1024 bytes; `None` leaves the server's value alone.
    pub hint: Option<Arc<str>>,
    /// `None` leaves the server's value alone.
    pub downstream: Option<bool>,
}

impl Entry {
    /// An entry without DNS names, federation or optional fields.
    pub fn new(spiffe_id: SpiffeId, parent_id: SpiffeId, selectors: Selectors) -> Self {
        Self {
            spiffe_id,
            parent_id,
            selectors,
            dns_names: NO_NAMES.clone(),
            federates_with: NO_TRUST_DOMAINS.clone(),
            x509_svid_ttl: None,
            jwt_svid_ttl: None,
            hint: None,
            downstream: None,
        }
    }

    /// Whether the server would call `stored` *similar*: same SPIFFE ID, same parent, same set of selectors.
    ///
    /// SPIRE refuses a second entry of one such tuple (`ALREADY_EXISTS` with the first).
    pub fn is_similar(&self, stored: &RegisteredEntry) -> bool {
        self.spiffe_id == stored.spiffe_id
            && self.parent_id == stored.parent_id
            && self.selectors.same_set(&stored.selectors)
    }

    /// The fields an update must write so that `stored` becomes this entry. Empty: nothing to do.
    ///
    /// DNS names are compared in order (the first is the certificate's name), selectors and trust domains as sets.
    pub fn changed_fields(&self, stored: &RegisteredEntry) -> FieldMask {
        let mut mask = FieldMask::default();
        let mut differs = |field, yes: bool| {
            if yes {
                mask.insert(field);
            }
        };
        differs(Field::SpiffeId, self.spiffe_id != stored.spiffe_id);
        differs(Field::ParentId, self.parent_id != stored.parent_id);
        differs(
            Field::Selectors,
            !self.selectors.same_set(&stored.selectors),
        );
        differs(Field::DnsNames, self.dns_names != stored.dns_names);
        differs(
            Field::FederatesWith,
            self.federates_with != stored.federates_with,
        );
        differs(
            Field::X509SvidTtl,
            self.x509_svid_ttl
                .is_some_and(|v| v != stored.x509_svid_ttl),
        );
        differs(
            Field::JwtSvidTtl,
            self.jwt_svid_ttl.is_some_and(|v| v != stored.jwt_svid_ttl),
        );
        differs(
            Field::Hint,
            self.hint.as_deref().is_some_and(|v| v != &*stored.hint),
        );
        differs(
            Field::Downstream,
            self.downstream.is_some_and(|v| v != stored.downstream),
        );
        mask
    }
}
