//! Messages of SPIRE's API to values of the core, and back.

use std::collections::BTreeSet;

use registrar_core::{
    entry::{
        DnsName, Entry, EntryId, Field, FieldMask, RegisteredEntry, Selector, SelectorRef,
        Selectors, shared_names, shared_text, shared_trust_domains,
    },
    spiffe::{SpiffeError, SpiffeId, TrustDomain},
};

use super::pb::{agent::GetAgentRequest, entry::list_entries_request::Filter, types};

/// The fields that [`registered`] reads: what every list asks for.
pub fn output_mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        parent_id: true,
        selectors: true,
        x509_svid_ttl: true,
        federates_with: true,
        admin: true,
        downstream: true,
        dns_names: true,
        store_svid: true,
        jwt_svid_ttl: true,
        hint: true,
        created_at: true,
        expires_at: false,
        revision_number: false,
    }
}

/// A list's filter: exactly this parent and these selectors.
pub fn exactly(parent: &SpiffeId, selectors: &Selectors) -> Filter {
    Filter {
        by_parent_id: Some(spiffe_id(parent)),
        by_selectors: Some(types::SelectorMatch {
            selectors: selectors.iter().map(selector).collect(),
            r#match: types::selector_match::MatchBehavior::MatchExact.into(),
        }),
        ..Filter::default()
    }
}

/// An update's `input_mask`.
pub fn input_mask(mask: FieldMask) -> types::EntryMask {
    let mut out = types::EntryMask::default();
    for field in mask.iter() {
        match field {
            Field::SpiffeId => out.spiffe_id = true,
            Field::ParentId => out.parent_id = true,
            Field::Selectors => out.selectors = true,
            Field::DnsNames => out.dns_names = true,
            Field::FederatesWith => out.federates_with = true,
            Field::X509SvidTtl => out.x509_svid_ttl = true,
            Field::JwtSvidTtl => out.jwt_svid_ttl = true,
            Field::Hint => out.hint = true,
            Field::Downstream => out.downstream = true,
        }
    }
    out
}

/// An entry to be created or updated under `id`.
pub fn entry(id: &EntryId, entry: &Entry) -> types::Entry {
    types::Entry {
        id: id.as_str().to_owned(),
        spiffe_id: Some(spiffe_id(&entry.spiffe_id)),
        parent_id: Some(spiffe_id(&entry.parent_id)),
        selectors: entry.selectors.iter().map(selector).collect(),
        x509_svid_ttl: entry.x509_svid_ttl.unwrap_or(0),
        jwt_svid_ttl: entry.jwt_svid_ttl.unwrap_or(0),
        federates_with: entry
            .federates_with
            .iter()
            .map(ToString::to_string)
            .collect(),
        downstream: entry.downstream.unwrap_or(false),
        dns_names: entry
            .dns_names
            .iter()
            .map(|n| n.as_str().to_owned())
            .collect(),
        hint: entry.hint.as_deref().unwrap_or_default().to_owned(),
        ..types::Entry::default()
    }
}

fn selector(selector: SelectorRef<'_>) -> types::Selector {
    types::Selector {
        r#type: selector.kind.to_owned(),
        value: selector.value.to_owned(),
    }
}

/// A request for what the server knows of an agent.
pub fn agent_request(id: &SpiffeId) -> GetAgentRequest {
    GetAgentRequest {
        id: Some(spiffe_id(id)),
        output_mask: Some(types::AgentMask {
            x509svid_expires_at: true,
            banned: true,
        }),
    }
}

fn spiffe_id(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: id.trust_domain().to_string(),
        path: id.path().to_owned(),
    }
}

/// An entry as the server stores it.
///
/// # Errors
/// If it has an ID that no SPIFFE ID can be: then it is nothing of ours.
pub fn registered(entry: types::Entry) -> Result<RegisteredEntry, SpiffeError> {
    let federates_with: BTreeSet<TrustDomain> = entry
        .federates_with
        .iter()
        .map(|td| TrustDomain::new(td))
        .collect::<Result<_, _>>()?;
    Ok(RegisteredEntry {
        id: EntryId::stored(&entry.id),
        spiffe_id: stored_id(entry.spiffe_id)?,
        parent_id: stored_id(entry.parent_id)?,
        selectors: Selectors::new(
            entry
                .selectors
                .into_iter()
                .map(|s| Selector::new(s.r#type, s.value)),
        ),
        dns_names: shared_names(entry.dns_names.iter().map(|n| DnsName::stored(n))),
        federates_with: shared_trust_domains(federates_with),
        x509_svid_ttl: entry.x509_svid_ttl,
        jwt_svid_ttl: entry.jwt_svid_ttl,
        hint: shared_text(&entry.hint),
        admin: entry.admin,
        downstream: entry.downstream,
        store_svid: entry.store_svid,
        created_at: entry.created_at,
    })
}

fn stored_id(id: Option<types::Spiffeid>) -> Result<SpiffeId, SpiffeError> {
    let id = id.ok_or(SpiffeError::Empty)?;
    SpiffeId::stored(TrustDomain::new(&id.trust_domain)?, id.path)
}
