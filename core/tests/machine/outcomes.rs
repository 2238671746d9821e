//! What is made of the server's answers and of its entries.

use std::time::Duration;

use registrar_core::{
    cluster::{Object, PodSnapshot},
    entry::{DnsName, EntryId, Field, RegisteredEntry},
    policy::{FEDERATES_WITH, IdentitySource},
    ports::{Failure, FailureClass, SpireCall},
    spiffe::TrustDomain,
    sync::{Event, Fact},
};

use crate::rig::{Rig, entry_of, pod, policy};

#[test]
fn an_unknown_outcome_is_read_not_guessed() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.tell([Event::Applied(Object::Pod(pod(1)))]);
    let (id, call) = rig.waiting.pop_first().expect("a create");
    rig.server.perform(&call, usize::MAX);
    let failure = Failure::new(FailureClass::Unknown, "deadline exceeded");
    rig.tell([Event::Replied(id, Err(failure))]);
    rig.writes.clear();
    rig.wait(Duration::from_secs(5));
    assert!(rig.writes.is_empty(), "{:?}", rig.writes);
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn a_label_that_repeats_thousands_of_times_is_told_once() {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    let mut rig = Rig::new(policy);
    rig.start([]);
    for n in 0..1000 {
        let mut pod = pod(1);
        pod.annotations.insert("id".into(), "a//b".into());
        pod.pod_ips = Box::new([format!("10.0.{}.{}", n / 256, n % 256).into()]);
        rig.tell([Event::Applied(Object::Pod(pod))]);
    }
    let held = |f: &&Fact| matches!(f, Fact::Held { .. });
    assert_eq!(rig.facts.iter().filter(held).count(), 1);
}

fn federated(n: usize) -> PodSnapshot {
    let mut pod = pod(n);
    let annotation = "spiffe.io/federatesWith";
    pod.annotations
        .insert(annotation.into(), "other.org".into());
    pod
}

/// A rig whose server has the entry of `pod(1)` as `change` left it, and a bundle of `other.org`.
fn with_entry(change: impl FnOnce(&mut RegisteredEntry)) -> (Rig, EntryId) {
    let mut rig = Rig::new(policy());
    let id = EntryId::stored("of-an-operator");
    let mut entry = RegisteredEntry::created(id.clone(), &entry_of(&policy(), &pod(1)));
    change(&mut entry);
    rig.server.put(entry);
    let other = "other.org".parse().expect("a trust domain");
    rig.server.bundles.insert(other);
    (rig, id)
}

#[test]
fn an_update_writes_what_differs_and_keeps_what_an_operator_set() {
    let (mut rig, id) = with_entry(|entry| {
        (entry.x509_svid_ttl, entry.jwt_svid_ttl) = (1234, 567);
        (entry.hint, entry.admin, entry.store_svid) = ("db".into(), true, true);
    });
    let before = rig.server.get(&id).cloned().expect("there");
    rig.start([federated(1)]);
    rig.wait(Duration::from_secs(30));
    let masks: Vec<_> = rig
        .writes
        .iter()
        .filter_map(|(_, call)| match call {
            SpireCall::Update { mask, .. } => Some(mask.iter().collect::<Vec<_>>()),
            _ => None,
        })
        .collect();
    assert_eq!(masks, [vec![Field::FederatesWith]]);
    let after = rig.server.get(&id).expect("there");
    assert_eq!(after.federates_with.len(), 1);
    let expected = RegisteredEntry {
        federates_with: after.federates_with.clone(),
        ..before
    };
    assert_eq!(*after, expected);
}

#[test]
fn dns_names_in_another_order_are_another_value_and_trust_domains_in_another_order_are_not() {
    let names = ["b.example.org", "a.example.org"].map(|n| DnsName::new(n).expect("a DNS name"));
    let mut entry = entry_of(&policy(), &pod(1));
    entry.dns_names = names.clone().into();
    let mut stored = RegisteredEntry::created(EntryId::stored("x"), &entry);
    assert!(entry.changed_fields(&stored).is_empty());
    stored.dns_names = names.into_iter().rev().collect();
    let changed: Vec<Field> = entry.changed_fields(&stored).iter().collect();
    assert_eq!(
        changed,
        [Field::DnsNames],
        "the first one is the certificate's common name"
    );
}

#[test]
fn an_entry_that_someone_deleted_is_made_again_without_any_event_of_its_pod() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    let of_the_pod = |rig: &Rig| -> Option<RegisteredEntry> {
        let selected = |e: &&RegisteredEntry| format!("{:?}", e.selectors).contains("pod-0001");
        rig.server.entries().find(selected).cloned()
    };
    let entry = of_the_pod(&rig).expect("registered");
    rig.server.remove(&entry.id);
    rig.wait(policy().drift_interval * 3);
    let again = of_the_pod(&rig).expect("made again");
    assert_eq!(again.spiffe_id, entry.spiffe_id);
}

#[test]
fn a_restart_on_entries_that_are_right_writes_nothing() {
    let mut first = Rig::new(policy());
    first
        .server
        .bundles
        .insert("other.org".parse().expect("a trust domain"));
    first.start((0..20).map(federated));
    first.wait(Duration::from_secs(30));
    let mut second = Rig::new(policy());
    second.server = first.server.clone();
    second.start((0..20).map(federated));
    second.wait(Duration::from_secs(60));
    assert_eq!(second.writes, []);
}

#[test]
fn a_bundle_that_arrives_is_used_within_five_seconds() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    let td = TrustDomain::new("later.test").expect("legal");
    let mut pod = pod(1);
    pod.annotations
        .insert(FEDERATES_WITH.into(), "later.test".into());
    rig.tell([Event::Applied(Object::Pod(pod))]);
    rig.wait(Duration::from_secs(3600));
    let federates = |rig: &Rig| {
        let mut entries = rig.server.entries();
        entries.any(|e| e.federates_with.contains(&td))
    };
    assert!(!federates(&rig));
    rig.server.bundles.insert(td.clone());
    rig.wait(Duration::from_secs(5));
    assert!(federates(&rig));
}

#[test]
fn while_one_call_feels_for_a_server_that_was_away_its_reply_is_waited_for() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    let away = || Err(Failure::new(FailureClass::Retry, "connection refused"));
    rig.tell([Event::Applied(Object::Pod(pod(2)))]);
    while let Some((id, _)) = rig.waiting.pop_first() {
        rig.tell([Event::Replied(id, away())]);
    }
    rig.now = rig.wake_at.expect("when the server is tried again");
    rig.tell([]);
    assert_eq!(rig.waiting.len(), 1);
    // A server that hangs keeps the call for seconds; a comparison falls due meanwhile.
    rig.now += policy().drift_interval;
    rig.tell([]);
    assert_eq!(rig.waiting.len(), 1);
    let soon = rig.now + Duration::from_millis(100);
    assert!(rig.wake_at.is_none_or(|at| at > soon), "{:?}", rig.wake_at);
}
