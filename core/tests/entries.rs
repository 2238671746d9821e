//! Entries: in which fields a stored one differs from the wanted one, and what their IDs tell.

use std::sync::Arc;

use registrar_core::{
    cluster::Uid,
    entry::{
        DnsName, Entry, EntryId, EntryIdPrefix, Field, FieldMask, RegisteredEntry, Selector,
        Selectors, shared_names, shared_text, shared_trust_domains,
    },
    policy::Policy,
    spiffe::{SpiffeId, TrustDomain},
};

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("an ID")
}

fn selectors(values: &[&str]) -> Selectors {
    Selectors::new(values.iter().map(|v| Selector::new("k8s", *v)))
}

fn plain() -> Entry {
    Entry::new(id("/a"), id("/parent"), selectors(&["ns:apps", "sa:blog"]))
}

/// An entry that says something in every field.
fn full() -> Entry {
    let td = TrustDomain::new("other.test").expect("a name");
    Entry {
        spiffe_id: id("/b"),
        parent_id: id("/other-parent"),
        selectors: selectors(&["pod-uid:u"]),
        dns_names: shared_names([DnsName::stored("a.test")]),
        federates_with: shared_trust_domains([td].into()),
        x509_svid_ttl: Some(60),
        jwt_svid_ttl: Some(30),
        hint: Some("internal".into()),
        downstream: Some(true),
    }
}

#[test]
fn an_update_writes_exactly_the_fields_that_differ_and_afterwards_none_does() {
    type Change = fn(&mut Entry, Entry);
    let changes: [(Field, Change); 9] = [
        (Field::SpiffeId, |e, f| e.spiffe_id = f.spiffe_id),
        (Field::ParentId, |e, f| e.parent_id = f.parent_id),
        (Field::Selectors, |e, f| e.selectors = f.selectors),
        (Field::DnsNames, |e, f| e.dns_names = f.dns_names),
        (Field::FederatesWith, |e, f| {
            e.federates_with = f.federates_with
        }),
        (Field::X509SvidTtl, |e, f| e.x509_svid_ttl = f.x509_svid_ttl),
        (Field::JwtSvidTtl, |e, f| e.jwt_svid_ttl = f.jwt_svid_ttl),
        (Field::Hint, |e, f| e.hint = f.hint),
        (Field::Downstream, |e, f| e.downstream = f.downstream),
    ];
    for (field, change) in changes {
        let mut stored = RegisteredEntry::created(EntryId::stored("x"), &plain());
        let mut wanted = plain();
        change(&mut wanted, full());
        let mask = wanted.changed_fields(&stored);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [field]);
        stored.update(&wanted, mask);
        assert_eq!(
            stored,
            RegisteredEntry::created(EntryId::stored("x"), &wanted)
        );
        assert!(wanted.changed_fields(&stored).is_empty());
    }
}

#[test]
fn what_is_not_ours_to_manage_never_differs_and_the_order_of_selectors_is_none() {
    let mut stored = RegisteredEntry::created(EntryId::stored("x"), &plain());
    (stored.x509_svid_ttl, stored.jwt_svid_ttl, stored.hint) = (1, 2, "theirs".into());
    (stored.downstream, stored.admin, stored.store_svid) = (true, true, true);
    stored.selectors = selectors(&["sa:blog", "ns:apps"]);
    assert!(plain().changed_fields(&stored).is_empty());
    assert!(plain().is_similar(&stored));
}

#[test]
fn only_the_same_id_parent_and_set_of_selectors_are_similar() {
    let stored = RegisteredEntry::created(EntryId::stored("x"), &full());
    assert!(full().is_similar(&stored));
    for other in [
        Entry {
            spiffe_id: id("/c"),
            ..full()
        },
        Entry {
            parent_id: id("/c"),
            ..full()
        },
        Entry {
            selectors: selectors(&["pod-uid:u", "ns:apps"]),
            ..full()
        },
    ] {
        assert!(!other.is_similar(&stored), "{other:#?}");
    }
    let other_names = Entry {
        dns_names: shared_names([]),
        ..full()
    };
    assert!(other_names.is_similar(&stored));
}

#[test]
fn a_mask_holds_the_fields_that_were_put_in() {
    let mut mask = FieldMask::default();
    assert_eq!((mask.is_empty(), mask.to_string()), (true, String::new()));
    mask.insert(Field::Hint);
    mask.insert(Field::ParentId);
    mask.insert(Field::Hint);
    assert_eq!(
        (mask.is_empty(), mask.to_string()),
        (false, "parent_id,hint".to_owned())
    );
    assert!(mask.contains(Field::Hint) && !mask.contains(Field::SpiffeId));
}

#[test]
fn the_ids_of_one_registrar_are_its_own_and_none_is_given_twice() {
    let of = |controller: &str, cluster: &str| {
        let policy = Policy::reconcile("example.org", cluster, controller).expect("legal names");
        policy.entry_ids
    };
    let ours = of("a", "demo");
    assert!(ours.as_str().starts_with("kwr-") && ours.as_str().ends_with('.'));
    assert_eq!(ours, of("a", "demo"), "the same for ever");
    // What stands on servers since the first version.
    assert_eq!(ours.as_str().len(), "kwr-0123456789abcdef.".len());
    let root = id("/a/demo/node");
    assert_eq!(ours, EntryIdPrefix::of(&root, "demo"));
    assert_ne!(ours, EntryIdPrefix::of(&root, "other"));
    for other in [of("b", "demo"), of("a", "other")] {
        assert_ne!(ours, other);
        assert!(!other.made(&ours.issue(1, 1)));
    }
    let issued = [ours.issue(1, 1), ours.issue(1, 2), ours.issue(2, 1)];
    for (n, id) in issued.iter().enumerate() {
        assert!(ours.made(id) && EntryId::new(id.as_str()).is_ok(), "{id}");
        assert!(!issued[..n].contains(id));
        assert_eq!(ours.owner_part(id), None, "{id} has no owner");
    }
    assert!(!ours.made(&EntryId::stored("x")));
}

#[test]
fn an_id_tells_the_object_that_it_was_made_for() {
    let policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    let ids = policy.entry_ids;
    let (a, b) = (Uid::new("a"), Uid::new("b"));
    let of_a = ids.issue_for(&a, 7, 255);
    assert!(ids.made(&of_a) && EntryId::new(of_a.as_str()).is_ok());
    let part = ids.owner_part(&of_a).expect("an owner");
    assert_eq!(part, ids.of_owner(&a));
    assert_ne!(part, ids.of_owner(&b));
    assert!(of_a.as_str().ends_with("-0000000000000007-ff"), "{of_a}");
    assert_ne!(of_a, ids.issue_for(&a, 7, 254));
    assert_eq!(ids.owner_part(&EntryId::stored("x-y-z")), None);
}

#[test]
fn a_written_name_is_what_the_servers_own_rule_accepts() {
    let label = "x".repeat(63);
    let longest = [&label[..61]; 4].join(".") + ".abcde";
    assert_eq!(longest.len(), 253);
    for name in [
        "a",
        "*.a",
        "A_b.c",
        "a!b",
        "*.A-b",
        &label,
        &longest,
        &format!("*.{longest}"),
    ] {
        assert_eq!(
            DnsName::written(name).map(|n| n.to_string()).as_deref(),
            Ok(name)
        );
    }
    let (long_label, too_long) = ("x".repeat(64), format!("{longest}f"));
    for name in [
        "",
        "*.",
        "*",
        "a.*",
        "a.*b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "-A",
        "A-",
        "aB--c",
        "ab--c",
        "a b",
        "a\n",
        "ä",
        &long_label,
        &too_long,
    ] {
        assert!(DnsName::written(name).is_err(), "{name:?}");
    }
    assert!(DnsName::new(&longest).is_ok() && DnsName::new(&too_long).is_err());
}

#[test]
fn empty_values_take_no_place_of_their_own() {
    assert!(Arc::ptr_eq(&shared_names([]), &shared_names([])));
    assert!(Arc::ptr_eq(&shared_text(""), &shared_text("")));
    let none = || shared_trust_domains(Default::default());
    assert!(Arc::ptr_eq(&none(), &none()));
    assert_eq!(
        (
            &*shared_text("x"),
            shared_names([DnsName::stored("x")]).len()
        ),
        ("x", 1)
    );
}

#[test]
fn a_selector_reads_as_spire_writes_it() {
    let selector = Selector::new("k8s", "pod-label:app:web");
    assert_eq!(selector.to_string(), "k8s:pod-label:app:web");
    assert_eq!(format!("{selector:?}"), "k8s:pod-label:app:web");
}
