//! One suite of cases for whatever answers the core's calls: the model server that the histories run on, and the real one.
//! Both are spoken to over a socket, through the SPIRE adapter, and, where the core asks for less than the API offers, with
//! its messages themselves.
//!
//! What the API promises, and the case that shows it:
//!
//! | create | |
//! |---|---|
//! | a batch is no transaction: items run one after another, each by itself | [`create::items_of_a_batch_are_independent_and_answered_in_order`] |
//! | a deadline within a batch leaves what came before it applied | [`create::a_deadline_within_a_batch_leaves_the_items_before_it_applied`] |
//! | an empty batch is valid | [`create::an_empty_batch_is_a_no_op`] |
//! | conversion, the store's own checks, similar entries, then the row: in this order | [`create::an_entry_is_converted_then_validated_then_compared_then_stored`] |
//! | similar is: the same SPIFFE ID, parent and set of selectors, nothing else | [`create::only_spiffe_id_parent_and_the_set_of_selectors_make_entries_similar`] |
//! | a similar entry is answered as it is stored; what was sent is ignored | [`create::a_similar_entry_is_answered_with_the_one_that_is_there`] |
//! | a value given twice or an ID taken is refused without an entry, and nothing is stored | [`create::a_value_given_twice_or_an_id_taken_is_refused_without_an_entry`] |
//! | a trust domain given twice is harmless | [`create::a_trust_domain_given_twice_is_stored_once`] |
//! | a trust domain without a bundle refuses the whole entry, on create and update | [`create::a_trust_domain_without_a_bundle_refuses_the_whole_entry`] |
//! | a trust domain with a bundle may be named | [`create::a_trust_domain_with_a_bundle_is_listed_and_may_be_named`] |
//! | the server's own trust domain may be named (agents then fail: that is theirs to show, not the server's) | [`create::the_servers_own_trust_domain_is_taken_though_no_list_of_bundles_shows_it`] |
//! | IDs: the client's choice within the rules, the server's if empty, free again after a delete | [`create::an_id_is_the_clients_choice_within_the_rules_and_may_be_used_again`] |
//! | results come back through the output mask | [`create::results_come_back_through_the_output_mask`] |
//! | reserved and empty paths are no workload's | [`create::an_id_in_the_reserved_namespace_is_refused_for_good`] |
//!
//! | update | |
//! |---|---|
//! | the ID alone says which entry; unknown or empty is not found | [`update::an_update_of_an_unknown_or_empty_id_is_not_found`] |
//! | without a mask everything is overwritten, with one only its fields | [`update::an_update_without_a_mask_overwrites_everything_with_one_only_its_fields`] |
//! | fields outside of the mask are not even looked at | [`update::an_update_without_the_field_does_not_look_at_it`] |
//! | SPIFFE ID, parent and selectors can be changed; ID and time of creation stay; no similar entry is looked for | [`update::ids_parents_and_selectors_can_be_changed_in_place_even_to_those_of_another`] |
//! | each update is a revision, also one that changes nothing | [`update::every_update_is_a_revision_even_if_nothing_changes`] |
//! | DNS names and selectors are read in their order, trust domains in none; a write's reply keeps none | [`update::dns_names_and_selectors_keep_their_order_and_trust_domains_are_a_set`] |
//! | items are refused as those of a create are | [`update::an_update_is_refused_item_by_item_as_a_create_is`] |
//! | revision and time of creation in a mask are ignored | [`update::the_revision_and_the_time_of_creation_are_the_servers`] |
//!
//! | delete, get, list, count | |
//! |---|---|
//! | a delete: done, not found, or no ID; the ID comes back. (A store that fails is answered INTERNAL: not shown, the real one's would have to be broken for every other test.) | [`read::a_delete_says_what_became_of_each_id`] |
//! | a deleted parent leaves its children | [`read::a_deleted_parent_leaves_its_children`] |
//! | a read of an unknown or empty ID is an error | [`read::a_read_of_an_unknown_or_empty_id_is_an_error`] |
//! | filters are joined by and; what cannot be asked for is refused; an empty hint and a false downstream ask for nothing | [`filters::filters_are_joined_and_malformed_ones_refused`] |
//! | sets match exactly, as a subset, as a superset, or at all | [`filters::sets_match_exactly_as_a_subset_as_a_superset_or_at_all`] |
//! | no page size: everything at once, whatever the token | [`read::without_a_page_size_everything_comes_at_once`] |
//! | pages: every row once; a token on all but an empty one; row numbers, never used twice; a bad one is INTERNAL | [`read::pages_show_every_entry_once_and_end_without_a_token`], [`read::a_token_is_the_number_of_a_row_and_no_number_is_used_twice`] |
//! | what exists throughout a scan is seen once, what comes meanwhile at most once | [`read::an_entry_changed_during_a_scan_is_seen_once_and_a_later_one_at_most_once`] |
//! | a row that is no entry is left out of lists | [`read::a_row_that_is_no_entry_is_left_out_of_lists`] |
//! | a count is that of the list. (That it walks the whole table is a matter of time, which no test measures.) | [`filters::a_count_is_that_of_the_list`] |

mod create;
mod filter;
mod filters;
mod memory;
mod model;
mod read;
mod update;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use registrar_adapters::spire::{
    Deadlines, SpireClient, SpireServer, Wire,
    pb::{
        entry::{
            BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest,
            GetEntryRequest, ListEntriesRequest, entry_client::EntryClient,
            list_entries_request::Filter,
        },
        types::{self, EntryMask},
    },
};
use registrar_core::{
    entry::{DnsName, Entry, EntryId, Field, FieldMask, RegisteredEntry, Selector, Selectors},
    ports::{Outcome, SpireAnswer, SpireCall},
    spiffe::{SpiffeId, TrustDomain},
};
use registrar_tests::{Entries, Options};
use tonic::{Code, Status};

use crate::plane::{Bench, Private, private, shared};
use model::Model;

/// A server under test.
pub struct Server {
    /// As the registrar speaks to it.
    port: SpireClient,
    /// As the API is.
    api: EntryClient<Wire>,
    entries: Entries,
    wire: Wire,
    behind: Behind,
}

enum Behind {
    Model(
        Model,
        #[expect(dead_code, reason = "removes the socket at the end")] tempfile::TempDir,
    ),
    Shared(#[expect(dead_code, reason = "holds a turn")] Box<Bench>),
    Own(Box<Private>),
}

/// What became of an item: code, message, entry.
type Told = (Code, String, Option<types::Entry>);

/// Names that no other case uses.
fn unique(word: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{word}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

fn told(status: Option<types::Status>, entry: Option<types::Entry>) -> Told {
    let status = status.unwrap_or_default();
    (Code::from_i32(status.code), status.message, entry)
}

impl Server {
    fn at(socket: &std::path::Path, behind: Behind) -> Self {
        let wire = Wire::unix(socket);
        Self {
            port: SpireClient::new(wire.clone(), Deadlines::default(), Arc::new(|| true)),
            api: EntryClient::new(wire.clone()),
            entries: Entries::new(socket).expect("a socket"),
            wire,
            behind,
        }
    }

    fn model() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("model.sock");
        let model = Model::start(&socket);
        Self::at(&socket, Behind::Model(model, dir))
    }

    async fn real() -> Self {
        let bench = shared("contract").await;
        let socket = bench.plane.spire_socket();
        Self::at(&socket, Behind::Shared(Box::new(bench)))
    }

    /// A real one that no other test uses.
    async fn own() -> Self {
        let private = private(Options {
            controller_manager: false,
            ..Options::default()
        })
        .await;
        let socket = private.plane.spire_socket();
        Self::at(&socket, Behind::Own(Box::new(private)))
    }

    async fn call(&self, call: SpireCall) -> SpireAnswer {
        self.port.perform(call).await.expect("the server answers")
    }

    async fn bundle(&self, td: &str) {
        self.entries.set_bundle(td).await.expect("bundle");
    }

    async fn write(&self, call: SpireCall) -> Outcome {
        match self.call(call).await {
            SpireAnswer::Written(mut outcomes) => outcomes.remove(0),
            other => panic!("not the answer to a write: {other:?}"),
        }
    }

    async fn create(&self, id: &EntryId, entry: &Entry) -> Outcome {
        self.write(SpireCall::Create {
            entries: vec![(id.clone(), Arc::new(entry.clone()))],
        })
        .await
    }

    async fn update(&self, id: &EntryId, entry: &Entry, fields: &[Field]) -> Outcome {
        let mask: FieldMask = fields.iter().copied().collect();
        let entries = vec![(id.clone(), Arc::new(entry.clone()))];
        self.write(SpireCall::Update { mask, entries }).await
    }

    async fn delete(&self, id: &EntryId) -> Outcome {
        self.write(SpireCall::Delete {
            ids: vec![id.clone()],
        })
        .await
    }

    async fn read(&self, id: &EntryId) -> Option<RegisteredEntry> {
        match self
            .call(SpireCall::Read {
                ids: vec![id.clone()],
            })
            .await
        {
            SpireAnswer::Read(mut found) => found.remove(0).expect("readable"),
            other => panic!("not the answer to a read: {other:?}"),
        }
    }

    async fn create_sent(
        &self,
        entries: Vec<types::Entry>,
        output_mask: Option<EntryMask>,
    ) -> Vec<Told> {
        let request = BatchCreateEntryRequest {
            entries,
            output_mask,
        };
        let reply = self.api.clone().batch_create_entry(request).await;
        let results = reply.expect("an answer").into_inner().results;
        results
            .into_iter()
            .map(|r| told(r.status, r.entry))
            .collect()
    }

    async fn create_one(&self, entry: types::Entry) -> Told {
        self.create_sent(vec![entry], None).await.remove(0)
    }

    async fn update_sent(
        &self,
        entries: Vec<types::Entry>,
        input_mask: Option<EntryMask>,
        output_mask: Option<EntryMask>,
    ) -> Vec<Told> {
        let request = BatchUpdateEntryRequest {
            entries,
            input_mask,
            output_mask,
        };
        let reply = self.api.clone().batch_update_entry(request).await;
        let results = reply.expect("an answer").into_inner().results;
        results
            .into_iter()
            .map(|r| told(r.status, r.entry))
            .collect()
    }

    async fn update_one(&self, entry: types::Entry, input_mask: Option<EntryMask>) -> Told {
        self.update_sent(vec![entry], input_mask, None)
            .await
            .remove(0)
    }

    async fn delete_sent(&self, ids: &[&str]) -> Vec<(Code, String, String)> {
        let request = BatchDeleteEntryRequest {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let reply = self.api.clone().batch_delete_entry(request).await;
        let results = reply.expect("an answer").into_inner().results;
        results
            .into_iter()
            .map(|r| {
                let (code, message, _) = told(r.status, None);
                (code, message, r.id)
            })
            .collect()
    }

    async fn get(&self, id: &str, output_mask: Option<EntryMask>) -> Result<types::Entry, Status> {
        let id = id.to_owned();
        let request = GetEntryRequest { id, output_mask };
        let reply = self.api.clone().get_entry(request).await?;
        Ok(reply.into_inner())
    }

    async fn list(
        &self,
        request: ListEntriesRequest,
    ) -> Result<(Vec<types::Entry>, String), Status> {
        let reply = self.api.clone().list_entries(request).await?.into_inner();
        Ok((reply.entries, reply.next_page_token))
    }

    /// Makes the row of an entry what no entry can be.
    fn spoil(&self, id: &str) {
        let spoilt = match &self.behind {
            Behind::Model(model, _) => return model.spoil(id),
            Behind::Shared(..) => panic!("other tests need this server"),
            Behind::Own(private) => private.plane.spoil_entry(id),
        };
        spoilt.expect("the row is changed");
    }
}

fn spiffe_id(path: &str) -> SpiffeId {
    SpiffeId::new(TrustDomain::new("example.org").expect("legal"), path).expect("legal")
}

fn id() -> EntryId {
    EntryId::new(&unique("contract")).expect("legal")
}

/// An entry that is similar to no other.
fn entry() -> Entry {
    let name = unique("pod");
    let selectors = Selectors::new([
        Selector::new("k8s", "ns:contract"),
        Selector::new("k8s", format!("pod-name:{name}")),
    ]);
    Entry::new(
        spiffe_id(&format!("/contract/{name}")),
        spiffe_id("/contract/parent"),
        selectors,
    )
}

/// The same as a message, with an ID.
fn sent() -> types::Entry {
    registrar_adapters::spire::convert::entry(&id(), &entry())
}

fn names(names: &[&str]) -> Arc<[DnsName]> {
    names.iter().map(|n| DnsName::stored(n)).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn domains(names: &[&str]) -> Arc<BTreeSet<TrustDomain>> {
    Arc::new(
        names
            .iter()
            .map(|n| TrustDomain::new(n).expect("legal"))
            .collect(),
    )
}

fn path(path: &str) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: "example.org".into(),
        path: path.into(),
    }
}

/// Entries with these IDs, on the server.
async fn made<const N: usize>(s: &Server, entries: [types::Entry; N]) -> [String; N] {
    for (code, message, _) in s.create_sent(entries.to_vec(), None).await {
        assert_eq!(code, Code::Ok, "{message}");
    }
    entries.map(|e| e.id)
}

macro_rules! suite {
    ($($theme:ident: $($case:ident),+;)+) => {
        mod on_the_model {
            $($(#[tokio::test] async fn $case() {
                super::$theme::$case(&super::Server::model()).await;
            })+)+
        }
        mod on_the_real_server {
            $($(#[tokio::test] async fn $case() {
                super::$theme::$case(&super::Server::real().await).await;
            })+)+
        }
    };
}

suite!(
    create:
        items_of_a_batch_are_independent_and_answered_in_order,
        a_deadline_within_a_batch_leaves_the_items_before_it_applied,
        an_empty_batch_is_a_no_op,
        an_entry_is_converted_then_validated_then_compared_then_stored,
        only_spiffe_id_parent_and_the_set_of_selectors_make_entries_similar,
        a_similar_entry_is_answered_with_the_one_that_is_there,
        a_value_given_twice_or_an_id_taken_is_refused_without_an_entry,
        a_trust_domain_given_twice_is_stored_once,
        a_trust_domain_without_a_bundle_refuses_the_whole_entry,
        a_trust_domain_with_a_bundle_is_listed_and_may_be_named,
        the_servers_own_trust_domain_is_taken_though_no_list_of_bundles_shows_it,
        an_id_is_the_clients_choice_within_the_rules_and_may_be_used_again,
        results_come_back_through_the_output_mask,
        an_id_in_the_reserved_namespace_is_refused_for_good;
    update:
        an_update_of_an_unknown_or_empty_id_is_not_found,
        an_update_without_a_mask_overwrites_everything_with_one_only_its_fields,
        an_update_without_the_field_does_not_look_at_it,
        ids_parents_and_selectors_can_be_changed_in_place_even_to_those_of_another,
        every_update_is_a_revision_even_if_nothing_changes,
        dns_names_and_selectors_keep_their_order_and_trust_domains_are_a_set,
        an_update_is_refused_item_by_item_as_a_create_is,
        the_revision_and_the_time_of_creation_are_the_servers;
    read:
        a_delete_says_what_became_of_each_id,
        a_deleted_parent_leaves_its_children,
        a_read_of_an_unknown_or_empty_id_is_an_error,
        without_a_page_size_everything_comes_at_once,
        pages_show_every_entry_once_and_end_without_a_token,
        a_token_is_the_number_of_a_row_and_no_number_is_used_twice,
        an_entry_changed_during_a_scan_is_seen_once_and_a_later_one_at_most_once;
    filters:
        filters_are_joined_and_malformed_ones_refused,
        sets_match_exactly_as_a_subset_as_a_superset_or_at_all,
        a_count_is_that_of_the_list;
);

#[tokio::test]
async fn a_row_that_is_no_entry_is_left_out_of_lists_of_the_model() {
    read::a_row_that_is_no_entry_is_left_out_of_lists(&Server::model()).await;
}

#[tokio::test]
async fn a_row_that_is_no_entry_is_left_out_of_lists_of_the_real_server() {
    read::a_row_that_is_no_entry_is_left_out_of_lists(&Server::own().await).await;
}
