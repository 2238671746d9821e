//! Entries as a server stores them.

use std::{collections::BTreeSet, sync::Arc};

use super::{DnsName, Entry, EntryId, Field, FieldMask, Selectors, shared_text};
use crate::spiffe::{SpiffeId, TrustDomain};

/// An entry on the server, in the fields that we read (SPIRE's `spire.api.types.Entry` under our output mask).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredEntry {
    /// The server's or our own ID.
    pub id: EntryId,
    /// The identity it gives.
    pub spiffe_id: SpiffeId,
    /// What it hangs under.
    pub parent_id: SpiffeId,
    /// In the server's order (that of insertion).
    pub selectors: Selectors,
    /// In order.
    pub dns_names: Arc<[DnsName]>,
    /// The server's order is not the one that was sent, hence a set.
    pub federates_with: Arc<BTreeSet<TrustDomain>>,
    /// Seconds, 0 for the server's default.
    pub x509_svid_ttl: i32,
    /// Seconds, 0 for the server's default.
    pub jwt_svid_ttl: i32,
    /// Empty if unset.
    pub hint: Arc<str>,
    /// Whether its identity may call the server's admin API.
    pub admin: bool,
    /// Whether its identity may get a CA certificate.
    pub downstream: bool,
    /// Whether it is for SVID stores.
    pub store_svid: bool,
    /// Seconds since 1970; 0 where the server does not say (before 1.6.3).
    pub created_at: i64,
}

impl RegisteredEntry {
    /// What the server stores after it created `entry` under `id`.
    pub fn created(id: EntryId, entry: &Entry) -> Self {
        Self {
            id,
            spiffe_id: entry.spiffe_id.clone(),
            parent_id: entry.parent_id.clone(),
            selectors: entry.selectors.clone(),
            dns_names: entry.dns_names.clone(),
            federates_with: entry.federates_with.clone(),
            x509_svid_ttl: entry.x509_svid_ttl.unwrap_or(0),
            jwt_svid_ttl: entry.jwt_svid_ttl.unwrap_or(0),
            hint: entry.hint.clone().unwrap_or_else(|| shared_text("")),
            admin: false,
            downstream: entry.downstream.unwrap_or(false),
            store_svid: false,
            created_at: 0,
        }
    }

    /// Writes the fields of `mask` from `entry`, as the server does on an update.
    pub fn update(&mut self, entry: &Entry, mask: FieldMask) {
        for field in mask.iter() {
            match field {
                Field::SpiffeId => self.spiffe_id = entry.spiffe_id.clone(),
                Field::ParentId => self.parent_id = entry.parent_id.clone(),
                Field::Selectors => self.selectors = entry.selectors.clone(),
                Field::DnsNames => self.dns_names = entry.dns_names.clone(),
                Field::FederatesWith => self.federates_with = entry.federates_with.clone(),
                Field::X509SvidTtl => self.x509_svid_ttl = entry.x509_svid_ttl.unwrap_or(0),
                Field::JwtSvidTtl => self.jwt_svid_ttl = entry.jwt_svid_ttl.unwrap_or(0),
                Field::Hint => self.hint = entry.hint.clone().unwrap_or_else(|| shared_text("")),
                Field::Downstream => self.downstream = entry.downstream.unwrap_or(false),
            }
        }
    }
}
