//! Replies of a SPIRE Server, or of something that poses as one.

use prost::Message;
use registrar_adapters::spire::{convert, outcome, pb::entry};
use registrar_core::{
    entry::EntryId,
    policy::Policy,
    ports::Outcome,
    rules::{Ownership, classify},
    spiffe::SpiffeId,
};

/// Any bytes, as a page of entries and as the results of a batch: what is read is legal, and only what lies under our root
/// or carries our entry IDs is ours.
pub fn server_reply(data: &[u8]) {
    let policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    if let Ok(page) = entry::ListEntriesResponse::decode(data) {
        for read in page.entries.into_iter().flat_map(convert::registered) {
            let again: SpiffeId = read
                .spiffe_id
                .to_string()
                .parse()
                .expect("an ID that is legal");
            assert_eq!(again, read.spiffe_id);
            if let Ownership::Ours(_) = classify(&policy, &read) {
                let under = |id: &SpiffeId| id.is_under(&policy.root);
                assert!(
                    under(&read.parent_id)
                        || under(&read.spiffe_id)
                        || policy.entry_ids.made(&read.id),
                    "{read:?}"
                );
            }
        }
    }
    if let Ok(reply) = entry::BatchCreateEntryResponse::decode(data) {
        for result in reply.results {
            let said = result.status.is_some();
            match outcome::created(result.status, result.entry) {
                Outcome::Ok => assert!(said, "nothing is done that the server does not say"),
                Outcome::AlreadyExists(Some(entry)) => drop(EntryId::new(entry.id.as_str())),
                Outcome::AlreadyExists(None) | Outcome::NotFound | Outcome::Refused(_) => {}
            }
        }
    }
    if let Ok(reply) = entry::BatchDeleteEntryResponse::decode(data) {
        for result in reply.results {
            let said = result.status.is_some();
            assert!(said || outcome::changed(result.status) != Outcome::Ok);
        }
    }
}
