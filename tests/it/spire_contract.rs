//! One suite of cases for whatever answers the core's calls: the model server that the histories run on, and the real one
//! through the SPIRE adapter. Each case is named after what SPIRE's Entry API promises.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use registrar_adapters::spire::{Deadlines, SpireClient, SpireServer, Wire};
use registrar_core::{
    entry::{DnsName, Entry, EntryId, Field, FieldMask, RegisteredEntry, Selector, Selectors},
    ports::{FailureClass, Outcome, SpireAnswer, SpireCall},
    spiffe::{SpiffeId, TrustDomain},
    testing::ModelServer,
};
use registrar_tests::Entries;

use crate::plane::shared;

/// A server under test.
enum Server {
    Model(Mutex<ModelServer>),
    Real(Box<(SpireClient, Entries)>),
}

/// Names that no other case uses.
fn unique(word: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{word}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

impl Server {
    async fn call(&self, call: SpireCall) -> SpireAnswer {
        match self {
            Server::Model(server) => server
                .lock()
                .expect("not poisoned")
                .perform(&call, usize::MAX),
            Server::Real(real) => real.0.perform(call).await.expect("the server answers"),
        }
    }

    async fn bundle(&self, td: &str) {
        match self {
            Server::Model(server) => {
                let td = TrustDomain::new(td).expect("legal");
                server.lock().expect("not poisoned").bundles.insert(td);
            }
            Server::Real(real) => real.1.set_bundle(td).await.expect("bundle"),
        }
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

fn names(names: &[&str]) -> Arc<[DnsName]> {
    names.iter().map(|n| DnsName::stored(n)).collect()
}

fn domains(names: &[&str]) -> Arc<BTreeSet<TrustDomain>> {
    Arc::new(
        names
            .iter()
            .map(|n| TrustDomain::new(n).expect("legal"))
            .collect(),
    )
}

async fn an_entry_is_created_under_the_id_that_the_client_chose(s: &Server) {
    let (id, entry) = (id(), entry());
    assert_eq!(s.create(&id, &entry).await, Outcome::Ok);
    let stored = s.read(&id).await.expect("stored");
    assert!(entry.changed_fields(&stored).is_empty(), "{stored:?}");
}

async fn an_empty_batch_is_a_no_op(s: &Server) {
    for call in [
        SpireCall::Create { entries: vec![] },
        SpireCall::Delete { ids: vec![] },
        SpireCall::Update {
            mask: FieldMask::from_iter([Field::Hint]),
            entries: vec![],
        },
    ] {
        assert_eq!(s.call(call).await, SpireAnswer::Written(vec![]));
    }
}

async fn items_of_a_batch_are_independent_and_answered_in_order(s: &Server) {
    let (first, second) = (id(), id());
    let one = Arc::new(entry());
    let entries = vec![
        (first.clone(), one.clone()),
        (id(), one),
        (second, Arc::new(entry())),
    ];
    let SpireAnswer::Written(outcomes) = s.call(SpireCall::Create { entries }).await else {
        panic!("a write is answered by outcomes")
    };
    assert_eq!(outcomes[0], Outcome::Ok);
    assert!(
        matches!(&outcomes[1], Outcome::AlreadyExists(Some(e)) if e.id == first),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2], Outcome::Ok);
}

async fn a_similar_entry_is_answered_with_the_one_that_is_there(s: &Server) {
    let (first, wanted) = (id(), entry());
    let original = Entry {
        dns_names: names(&["a.test"]),
        hint: Some("h".into()),
        ..wanted.clone()
    };
    assert_eq!(s.create(&first, &original).await, Outcome::Ok);
    // The same selectors in another order, other DNS names: still similar.
    let given: Vec<Selector> = wanted.selectors.iter().map(Selector::from).collect();
    let similar = Entry {
        selectors: Selectors::new(given.into_iter().rev()),
        ..wanted
    };
    match s.create(&id(), &similar).await {
        Outcome::AlreadyExists(Some(found)) => {
            assert_eq!(found.id, first);
            assert_eq!((&found.dns_names, &*found.hint), (&names(&["a.test"]), "h"));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_subset_of_selectors_is_not_similar(s: &Server) {
    let whole = entry();
    let part = Entry {
        selectors: Selectors::new(whole.selectors.iter().take(1).map(Selector::from)),
        ..whole.clone()
    };
    assert_eq!(s.create(&id(), &whole).await, Outcome::Ok);
    assert_eq!(s.create(&id(), &part).await, Outcome::Ok);
}

async fn an_id_that_is_taken_is_refused_without_an_entry(s: &Server) {
    let taken = id();
    assert_eq!(s.create(&taken, &entry()).await, Outcome::Ok);
    assert_eq!(
        s.create(&taken, &entry()).await,
        Outcome::AlreadyExists(None)
    );
}

async fn a_trust_domain_without_a_bundle_refuses_the_whole_entry(s: &Server) {
    let td = unique("nowhere");
    let entry = Entry {
        federates_with: domains(&[&td]),
        ..entry()
    };
    let missing = format!("unable to find federated bundle \"spiffe://{td}\"");
    match s.create(&id(), &entry).await {
        Outcome::Refused(failure) => {
            assert!(failure.message.contains(&missing), "{failure:?}");
            assert_eq!(failure.class, FailureClass::Retry);
        }
        other => panic!("{other:?}"),
    }
    let id = id();
    let alone = Entry {
        federates_with: Arc::default(),
        ..entry.clone()
    };
    assert_eq!(s.create(&id, &alone).await, Outcome::Ok);
    match s.update(&id, &entry, &[Field::FederatesWith]).await {
        Outcome::Refused(failure) => assert!(failure.message.contains(&missing), "{failure:?}"),
        other => panic!("{other:?}"),
    }
}

async fn a_trust_domain_with_a_bundle_is_listed_and_may_be_named(s: &Server) {
    let td = unique("somewhere");
    s.bundle(&td).await;
    match s.call(SpireCall::ListBundles).await {
        SpireAnswer::Bundles(known) => {
            assert!(known.contains(&TrustDomain::new(&td).expect("legal")))
        }
        other => panic!("{other:?}"),
    }
    let (id, entry) = (
        id(),
        Entry {
            federates_with: domains(&[&td]),
            ..entry()
        },
    );
    assert_eq!(s.create(&id, &entry).await, Outcome::Ok);
    assert_eq!(
        s.read(&id).await.expect("stored").federates_with,
        domains(&[&td])
    );
}

async fn an_update_writes_only_the_masked_fields(s: &Server) {
    let (id, before) = (
        id(),
        Entry {
            x509_svid_ttl: Some(600),
            hint: Some("h".into()),
            ..entry()
        },
    );
    assert_eq!(s.create(&id, &before).await, Outcome::Ok);
    let after = Entry {
        dns_names: names(&["b.test", "a.test"]),
        hint: Some("other".into()),
        ..before.clone()
    };
    assert_eq!(s.update(&id, &after, &[Field::DnsNames]).await, Outcome::Ok);
    let stored = s.read(&id).await.expect("stored");
    assert_eq!(
        stored.dns_names,
        names(&["b.test", "a.test"]),
        "in the order that was sent"
    );
    assert_eq!((&*stored.hint, stored.x509_svid_ttl), ("h", 600));
}

async fn ids_parents_and_selectors_can_be_changed_in_place(s: &Server) {
    let (id, before, other) = (id(), entry(), entry());
    assert_eq!(s.create(&id, &before).await, Outcome::Ok);
    let after = Entry {
        parent_id: spiffe_id("/contract/other-parent"),
        ..other
    };
    let fields = [Field::SpiffeId, Field::ParentId, Field::Selectors];
    assert_eq!(s.update(&id, &after, &fields).await, Outcome::Ok);
    assert!(after.is_similar(&s.read(&id).await.expect("stored")));
}

async fn an_update_may_make_two_entries_similar(s: &Server) {
    let (first, second, one) = (id(), id(), entry());
    assert_eq!(s.create(&first, &one).await, Outcome::Ok);
    assert_eq!(s.create(&second, &entry()).await, Outcome::Ok);
    assert_eq!(
        s.update(&second, &one, &[Field::SpiffeId, Field::Selectors])
            .await,
        Outcome::Ok
    );
}

async fn an_update_of_an_unknown_entry_is_not_found(s: &Server) {
    assert_eq!(
        s.update(&id(), &entry(), &[Field::DnsNames]).await,
        Outcome::NotFound
    );
}

async fn a_delete_is_answered_and_a_second_one_is_not_found(s: &Server) {
    let id = id();
    assert_eq!(s.create(&id, &entry()).await, Outcome::Ok);
    assert_eq!(s.delete(&id).await, Outcome::Ok);
    assert_eq!(s.delete(&id).await, Outcome::NotFound);
    assert_eq!(s.read(&id).await, None);
}

async fn a_deleted_parent_leaves_its_children(s: &Server) {
    let (parent, child) = (id(), id());
    let alias = Entry {
        parent_id: spiffe_id("/spire/server"),
        ..entry()
    };
    let below = Entry {
        parent_id: alias.spiffe_id.clone(),
        ..entry()
    };
    assert_eq!(s.create(&parent, &alias).await, Outcome::Ok);
    assert_eq!(s.create(&child, &below).await, Outcome::Ok);
    assert_eq!(s.delete(&parent).await, Outcome::Ok);
    assert!(s.read(&child).await.is_some());
}

async fn pages_show_every_entry_once_and_end_without_a_token(s: &Server) {
    let mut made = BTreeSet::new();
    for _ in 0..7 {
        let id = id();
        assert_eq!(s.create(&id, &entry()).await, Outcome::Ok);
        made.insert(id);
    }
    let mut seen = Vec::new();
    let mut page_token = None;
    loop {
        match s
            .call(SpireCall::List {
                page_token,
                page_size: 3,
            })
            .await
        {
            SpireAnswer::Page { entries, next, .. } => {
                assert!(entries.len() <= 3);
                assert!(
                    next.is_some() || entries.is_empty(),
                    "only an empty page is the last"
                );
                seen.extend(entries.into_iter().map(|e| e.id));
                match next {
                    Some(token) => page_token = Some(token),
                    None => break,
                }
            }
            other => panic!("{other:?}"),
        }
    }
    for id in made {
        assert_eq!(seen.iter().filter(|s| **s == id).count(), 1, "{id}");
    }
}

async fn an_id_in_the_reserved_namespace_is_refused_for_good(s: &Server) {
    let td = || TrustDomain::new("example.org").expect("legal");
    for path in ["", "/spire", "/spire/agent/x"] {
        let mut entry = entry();
        entry.spiffe_id = SpiffeId::stored(td(), path).expect("a path");
        let outcome = s.create(&id(), &entry).await;
        let Outcome::Refused(failure) = outcome else {
            panic!("{path:?}: {outcome:?}");
        };
        assert_eq!(failure.class, FailureClass::Permanent, "{failure:?}");
        assert!(failure.message.contains("invalid spiffe ID"), "{failure:?}");
    }
}

async fn an_entry_id_with_other_characters_is_refused_for_good(s: &Server) {
    for bad in ["a/b", "a b", &"x".repeat(256)] {
        let outcome = s.create(&EntryId::stored(bad), &entry()).await;
        let permanent =
            matches!(&outcome, Outcome::Refused(f) if f.class == FailureClass::Permanent);
        assert!(permanent, "{bad:?}: {outcome:?}");
    }
}

async fn a_dns_name_given_twice_is_refused_without_an_entry(s: &Server) {
    let mut twice = entry();
    twice.dns_names = names(&["a.test", "b.test", "a.test"]);
    let id = id();
    assert_eq!(s.create(&id, &twice).await, Outcome::AlreadyExists(None));
    assert_eq!(s.read(&id).await, None, "nothing was created");
    let once = Entry {
        dns_names: names(&["a.test"]),
        ..twice.clone()
    };
    assert_eq!(s.create(&id, &once).await, Outcome::Ok);
    let outcome = s.update(&id, &twice, &[Field::DnsNames]).await;
    assert_eq!(outcome, Outcome::AlreadyExists(None));
    let stored = s.read(&id).await.expect("it is there");
    assert_eq!(stored.dns_names, once.dns_names, "nothing was changed");
}

async fn dns_names_and_selectors_keep_the_order_in_which_they_were_sent(s: &Server) {
    let mut wanted = entry();
    wanted.dns_names = names(&["z.test", "a.test", "m.test"]);
    let id = id();
    assert_eq!(s.create(&id, &wanted).await, Outcome::Ok);
    let stored = s.read(&id).await.expect("it is there");
    assert_eq!(stored.dns_names, wanted.dns_names);
    assert_eq!(stored.selectors, wanted.selectors);
    wanted.dns_names = names(&["m.test", "z.test", "a.test"]);
    assert_eq!(
        s.update(&id, &wanted, &[Field::DnsNames]).await,
        Outcome::Ok
    );
    let stored = s.read(&id).await.expect("it is there");
    assert_eq!(stored.dns_names, wanted.dns_names);
}

async fn an_update_without_the_field_does_not_look_at_it(s: &Server) {
    let wanted = entry();
    let id = id();
    assert_eq!(s.create(&id, &wanted).await, Outcome::Ok);
    let mut other = entry();
    other.hint = Some("hint".into());
    assert_eq!(s.update(&id, &other, &[Field::Hint]).await, Outcome::Ok);
    let stored = s.read(&id).await.expect("it is there");
    assert_eq!(&*stored.hint, "hint");
    assert_eq!(stored.spiffe_id, wanted.spiffe_id);
    assert!(stored.selectors.same_set(&wanted.selectors));
}

async fn a_read_of_an_unknown_entry_finds_none(s: &Server) {
    assert_eq!(s.read(&id()).await, None);
}

async fn a_delete_without_an_id_is_refused_for_good(s: &Server) {
    let outcome = s.delete(&EntryId::stored("")).await;
    let permanent = matches!(&outcome, Outcome::Refused(f) if f.class == FailureClass::Permanent);
    assert!(permanent, "{outcome:?}");
}

async fn an_entry_changed_during_a_scan_is_seen_once_and_a_later_one_at_most_once(s: &Server) {
    let page = async |page_token| match s
        .call(SpireCall::List {
            page_token,
            page_size: 2,
        })
        .await
    {
        SpireAnswer::Page { entries, next, .. } => (entries, next),
        other => panic!("{other:?}"),
    };
    let (first, second, late) = (id(), id(), id());
    let wanted = entry();
    assert_eq!(s.create(&first, &wanted).await, Outcome::Ok);
    assert_eq!(s.create(&second, &entry()).await, Outcome::Ok);
    let mut seen = Vec::new();
    let (mut entries, mut next) = page(None).await;
    let changed = Entry {
        spiffe_id: spiffe_id(&format!("/contract/{}", unique("changed"))),
        ..wanted
    };
    let outcome = s.update(&first, &changed, &[Field::SpiffeId]).await;
    assert_eq!(outcome, Outcome::Ok);
    assert_eq!(s.create(&late, &entry()).await, Outcome::Ok);
    loop {
        seen.extend(entries.into_iter().map(|e| e.id));
        let Some(token) = next else { break };
        (entries, next) = page(Some(token)).await;
    }
    let times = |id: &EntryId| seen.iter().filter(|s| *s == id).count();
    assert_eq!((times(&first), times(&second)), (1, 1));
    assert!(times(&late) <= 1);
}

macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod model {
            use super::*;
            $(#[tokio::test] async fn $case() {
                super::$case(&Server::Model(Mutex::default())).await;
            })+
        }
        mod real {
            use super::*;
            $(#[tokio::test] async fn $case() {
                let b = shared("contract").await;
                let wire = Wire::unix(b.plane.spire_socket());
                let client = SpireClient::new(wire, Deadlines::default(), Arc::new(|| true));
                super::$case(&Server::Real(Box::new((client, b.entries.clone())))).await;
            })+
        }
    };
}

suite!(
    an_entry_is_created_under_the_id_that_the_client_chose,
    an_empty_batch_is_a_no_op,
    items_of_a_batch_are_independent_and_answered_in_order,
    a_similar_entry_is_answered_with_the_one_that_is_there,
    a_subset_of_selectors_is_not_similar,
    an_id_that_is_taken_is_refused_without_an_entry,
    a_trust_domain_without_a_bundle_refuses_the_whole_entry,
    a_trust_domain_with_a_bundle_is_listed_and_may_be_named,
    an_update_writes_only_the_masked_fields,
    ids_parents_and_selectors_can_be_changed_in_place,
    an_update_may_make_two_entries_similar,
    an_update_of_an_unknown_entry_is_not_found,
    a_delete_is_answered_and_a_second_one_is_not_found,
    a_deleted_parent_leaves_its_children,
    pages_show_every_entry_once_and_end_without_a_token,
    an_id_in_the_reserved_namespace_is_refused_for_good,
    an_entry_id_with_other_characters_is_refused_for_good,
    a_dns_name_given_twice_is_refused_without_an_entry,
    dns_names_and_selectors_keep_the_order_in_which_they_were_sent,
    an_update_without_the_field_does_not_look_at_it,
    a_read_of_an_unknown_entry_finds_none,
    a_delete_without_an_id_is_refused_for_good,
    an_entry_changed_during_a_scan_is_seen_once_and_a_later_one_at_most_once,
);
