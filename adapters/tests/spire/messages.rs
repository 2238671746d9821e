//! Values to messages of SPIRE's API, and back.

use registrar_adapters::spire::{
    convert,
    pb::types::{self, selector_match::MatchBehavior},
};
use registrar_core::{
    entry::{
        DnsName, Entry, EntryId, Field, FieldMask, RegisteredEntry, Selector, Selectors,
        shared_names, shared_trust_domains,
    },
    spiffe::{SpiffeId, TrustDomain},
};

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).expect("a legal ID")
}

fn message_id(trust_domain: &str, path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: trust_domain.into(),
        path: path.into(),
    })
}

fn selectors() -> Selectors {
    Selectors::new([
        Selector::new("k8s", "ns:apps"),
        Selector::new("k8s", "pod-name:blog"),
    ])
}

fn message_selectors() -> Vec<types::Selector> {
    ["ns:apps", "pod-name:blog"]
        .map(|value| types::Selector {
            r#type: "k8s".into(),
            value: value.into(),
        })
        .to_vec()
}

fn plain() -> Entry {
    Entry::new(
        id("spiffe://example.org/ns/apps/sa/blog"),
        id("spiffe://example.org/node/n1"),
        selectors(),
    )
}

/// An entry with a value of its own in every field.
fn whole() -> Entry {
    Entry {
        dns_names: shared_names(["b.test", "a.test"].map(DnsName::stored)),
        federates_with: shared_trust_domains(
            ["other.test", "another.test"]
                .map(|td| TrustDomain::new(td).expect("legal"))
                .into(),
        ),
        x509_svid_ttl: Some(600),
        jwt_svid_ttl: Some(300),
        hint: Some("internal".into()),
        downstream: Some(true),
        ..plain()
    }
}

fn entry_id() -> EntryId {
    EntryId::new("kwr-1234.1-1").expect("a legal ID")
}

#[test]
fn an_entry_is_sent_field_by_field() {
    let expected = types::Entry {
        id: "kwr-1234.1-1".into(),
        spiffe_id: message_id("example.org", "/ns/apps/sa/blog"),
        parent_id: message_id("example.org", "/node/n1"),
        selectors: message_selectors(),
        x509_svid_ttl: 600,
        jwt_svid_ttl: 300,
        federates_with: vec!["another.test".into(), "other.test".into()],
        downstream: true,
        dns_names: vec!["b.test".into(), "a.test".into()],
        hint: "internal".into(),
        ..types::Entry::default()
    };
    assert_eq!(convert::entry(&entry_id(), &whole()), expected);
}

#[test]
fn what_an_entry_does_not_manage_is_sent_as_the_servers_default() {
    let expected = types::Entry {
        id: "kwr-1234.1-1".into(),
        spiffe_id: message_id("example.org", "/ns/apps/sa/blog"),
        parent_id: message_id("example.org", "/node/n1"),
        selectors: message_selectors(),
        ..types::Entry::default()
    };
    assert_eq!(convert::entry(&entry_id(), &plain()), expected);
}

#[test]
fn what_was_sent_is_read_back_as_it_was() {
    for entry in [plain(), whole()] {
        let read = convert::registered(convert::entry(&entry_id(), &entry)).expect("readable");
        assert_eq!(read, RegisteredEntry::created(entry_id(), &entry));
        assert!(entry.changed_fields(&read).is_empty());
    }
}

#[test]
fn what_only_the_server_says_of_an_entry_is_read() {
    let stored = types::Entry {
        admin: true,
        store_svid: true,
        created_at: 1_700_000_000,
        ..convert::entry(&entry_id(), &plain())
    };
    let read = convert::registered(stored).expect("readable");
    assert_eq!(
        (
            read.admin,
            read.store_svid,
            read.downstream,
            read.created_at
        ),
        (true, true, false, 1_700_000_000)
    );
}

#[test]
fn an_entry_with_an_id_that_no_spiffe_id_can_be_is_not_read() {
    let good = || convert::entry(&entry_id(), &whole());
    type Spoil = fn(&mut types::Entry);
    let spoilt: [(&str, Spoil); 8] = [
        ("no SPIFFE ID", |e| e.spiffe_id = None),
        ("no parent", |e| e.parent_id = None),
        ("a capital in the trust domain", |e| {
            e.spiffe_id = message_id("Example.org", "/a");
        }),
        ("no trust domain", |e| e.spiffe_id = message_id("", "/a")),
        ("a path that is none", |e| {
            e.spiffe_id = message_id("example.org", "a");
        }),
        ("a path that goes up", |e| {
            e.parent_id = message_id("example.org", "/a/../b");
        }),
        ("a parent's trust domain that is none", |e| {
            e.parent_id = message_id("example org", "/a");
        }),
        ("a federated trust domain that is none", |e| {
            e.federates_with.push("Not One".into());
        }),
    ];
    assert!(convert::registered(good()).is_ok());
    for (what, spoil) in spoilt {
        let mut entry = good();
        spoil(&mut entry);
        assert!(convert::registered(entry).is_err(), "{what}");
    }
}

#[test]
fn a_name_that_an_older_server_stored_is_kept_as_it_is() {
    let stored = types::Entry {
        dns_names: vec!["Not_A.Legal.Name".into()],
        ..convert::entry(&entry_id(), &plain())
    };
    let read = convert::registered(stored).expect("readable");
    assert_eq!(read.dns_names[0].as_str(), "Not_A.Legal.Name");
}

#[test]
fn an_update_writes_exactly_the_fields_of_its_mask() {
    let named = |mask: &types::EntryMask| -> Vec<&str> {
        [
            ("spiffe_id", mask.spiffe_id),
            ("parent_id", mask.parent_id),
            ("selectors", mask.selectors),
            ("dns_names", mask.dns_names),
            ("federates_with", mask.federates_with),
            ("x509_svid_ttl", mask.x509_svid_ttl),
            ("jwt_svid_ttl", mask.jwt_svid_ttl),
            ("hint", mask.hint),
            ("downstream", mask.downstream),
            ("admin", mask.admin),
            ("store_svid", mask.store_svid),
            ("expires_at", mask.expires_at),
            ("created_at", mask.created_at),
            ("revision_number", mask.revision_number),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    };
    for field in Field::ALL {
        let mask = convert::input_mask([field].into_iter().collect());
        assert_eq!(named(&mask), [field.name()]);
    }
    let all: FieldMask = Field::ALL.into_iter().collect();
    let names: Vec<&str> = Field::ALL.map(Field::name).to_vec();
    assert_eq!(named(&convert::input_mask(all)), names);
    assert!(named(&convert::input_mask(FieldMask::default())).is_empty());
}

#[test]
fn every_field_that_is_read_is_asked_for() {
    let expected = types::EntryMask {
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
    };
    assert_eq!(convert::output_mask(), expected);
}

#[test]
fn a_search_is_for_exactly_this_parent_and_these_selectors() {
    let filter = convert::exactly(&id("spiffe://example.org/node/n1"), &selectors());
    assert_eq!(filter.by_parent_id, message_id("example.org", "/node/n1"));
    let by_selectors = filter.by_selectors.expect("selectors");
    assert_eq!(by_selectors.selectors, message_selectors());
    assert_eq!(by_selectors.r#match(), MatchBehavior::MatchExact);
    assert_eq!(
        (filter.by_spiffe_id, filter.by_federates_with),
        (None, None)
    );
}

#[test]
fn of_an_agent_its_end_and_its_ban_are_asked_for() {
    let request = convert::agent_request(&id("spiffe://example.org/spire/agent/x"));
    assert_eq!(request.id, message_id("example.org", "/spire/agent/x"));
    let mask = request.output_mask.expect("a mask");
    assert!(mask.x509svid_expires_at && mask.banned);
}
