//! SpiffeIDs that somebody wrote.

use registrar_core::{
    cluster::{SpiffeIdSelector, SpiffeIdSpec},
    entry::{EntryId, RegisteredEntry},
    ports::ResourceName,
    rules::{Bundles, Decision, decide_spiffe_id},
};

use crate::sleeper::{Sleeper, crd};

pub fn by_hand() -> ResourceName {
    ResourceName::new("apps", "by-hand")
}

/// Asks for this path, for what runs in this namespace.
pub fn spec_in(namespace: &str, path: &str) -> SpiffeIdSpec {
    SpiffeIdSpec {
        parent_id: "spiffe://example.org/parent".into(),
        spiffe_id: format!("spiffe://example.org/{path}").into(),
        selector: SpiffeIdSelector {
            namespace: Some(namespace.into()),
            ..SpiffeIdSelector::default()
        },
        ..SpiffeIdSpec::default()
    }
}

pub fn spec(path: &str) -> SpiffeIdSpec {
    spec_in("apps", path)
}

/// What the server would have of a SpiffeID, under this ID.
pub fn entry_of(sleeper: &Sleeper, name: &ResourceName, id: &str) -> RegisteredEntry {
    let resource = &sleeper.api.objects[name];
    let decision = decide_spiffe_id(&crd(), resource, &Bundles::default());
    let Decision::Register { entries, .. } = decision else {
        panic!("{decision:?}");
    };
    RegisteredEntry::created(EntryId::stored(id), &entries[0])
}
