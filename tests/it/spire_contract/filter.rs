//! The model's filters and output masks.

use std::collections::BTreeSet;

use registrar_adapters::spire::pb::{
    entry::{count_entries_request, list_entries_request},
    types::{self, EntryMask},
};
use registrar_tests::control_plane::TRUST_DOMAIN;
use tonic::Status;

pub use list_entries_request::Filter;

/// Both calls have the same filter.
pub fn of_count(filter: count_entries_request::Filter) -> Filter {
    Filter {
        by_spiffe_id: filter.by_spiffe_id,
        by_parent_id: filter.by_parent_id,
        by_selectors: filter.by_selectors,
        by_federates_with: filter.by_federates_with,
        by_hint: filter.by_hint,
        by_downstream: filter.by_downstream,
    }
}

/// Refuses what cannot be asked for.
pub fn check(filter: &Filter) -> Result<(), Status> {
    let malformed = |what: &str, why: &str| {
        Err(Status::invalid_argument(format!(
            "malformed {what} filter: {why}"
        )))
    };
    if let Some(id) = &filter.by_spiffe_id {
        let reserved = id.path == "/spire" || id.path.starts_with("/spire/");
        if id.trust_domain != TRUST_DOMAIN || id.path.is_empty() || reserved {
            return malformed("SPIFFE ID", "it is not a workload's");
        }
    }
    if let Some(id) = &filter.by_parent_id
        && (id.trust_domain != TRUST_DOMAIN || id.path.is_empty())
    {
        return malformed("parent ID", "it is not a member's");
    }
    if filter
        .by_selectors
        .as_ref()
        .is_some_and(|by| by.selectors.is_empty())
    {
        return malformed("selectors", "empty selector set");
    }
    let federates_with = filter.by_federates_with.as_ref();
    if federates_with.is_some_and(|by| by.trust_domains.is_empty()) {
        return malformed("federates with", "empty trust domain set");
    }
    Ok(())
}

/// Whether an entry fits every part of a filter.
pub fn fits(filter: &Filter, entry: &types::Entry) -> bool {
    let selectors = |s: &[types::Selector]| -> BTreeSet<String> {
        s.iter()
            .map(|s| format!("{}:{}", s.r#type, s.value))
            .collect()
    };
    let domains = |d: &[String]| -> BTreeSet<String> { d.iter().cloned().collect() };
    let id = |by: &Option<types::Spiffeid>, is: &Option<types::Spiffeid>| by.is_none() || by == is;
    id(&filter.by_spiffe_id, &entry.spiffe_id)
        && id(&filter.by_parent_id, &entry.parent_id)
        && filter.by_selectors.as_ref().is_none_or(|by| {
            sets(&selectors(&entry.selectors), &selectors(&by.selectors), by.r#match)
        })
        && filter.by_federates_with.as_ref().is_none_or(|by| {
            sets(&domains(&entry.federates_with), &domains(&by.trust_domains), by.r#match)
        })
        && filter
            .by_hint
            .as_ref()
            .is_none_or(|hint| hint.is_empty() || *hint == entry.hint)
        // False asks for nothing.
        && (filter.by_downstream != Some(true) || entry.downstream)
}

/// What an entry has against what is asked for: exact, subset, superset, any.
fn sets(entry: &BTreeSet<String>, asked: &BTreeSet<String>, kind: i32) -> bool {
    match kind {
        0 => entry == asked,
        1 => !entry.is_empty() && entry.is_subset(asked),
        2 => asked.is_subset(entry),
        _ => !entry.is_disjoint(asked),
    }
}

/// An entry under an output mask: none shows everything, and the ID is always shown.
pub fn masked(mut entry: types::Entry, mask: Option<&EntryMask>) -> types::Entry {
    let Some(mask) = mask else { return entry };
    let all = entry.clone();
    entry = types::Entry {
        id: all.id,
        ..types::Entry::default()
    };
    macro_rules! show {
        ($($field:ident),+) => { $(if mask.$field { entry.$field = all.$field; })+ };
    }
    show!(
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at
    );
    entry
}
