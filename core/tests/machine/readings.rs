//! What is made of what the server shows: pages, drift, foreign entries, batches that fail as a whole.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, Uid},
    entry::{DnsName, Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{FEDERATES_WITH, NodePolicy, ParentForm},
    ports::{Failure, FailureClass, SpireAnswer, SpireCall},
    spiffe::{SpiffeId, TrustDomain},
    sync::{CallId, Drift, Event, Fact},
};

use crate::rig::{Rig, entry_of, pod, policy};

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("an ID")
}

fn foreign(n: usize, parent: &str) -> RegisteredEntry {
    let selector = Selector::new("k8s", format!("container-name:c{n}"));
    let entry = Entry::new(
        id(&format!("/f/{n}")),
        id(parent),
        Selectors::new([selector]),
    );
    RegisteredEntry::created(EntryId::stored(&format!("foreign-{n:05}")), &entry)
}

/// The one call under way.
fn only(rig: &mut Rig, is: impl Fn(&SpireCall) -> bool) -> (CallId, SpireCall) {
    let mut found: Vec<_> = rig.waiting.extract_if(.., |_, c| is(c)).collect();
    assert_eq!(found.len(), 1, "{found:?} beside {:?}", rig.waiting);
    found.remove(0)
}

fn is_list(call: &SpireCall) -> bool {
    matches!(call, SpireCall::List { .. })
}

/// Answers all but the reading of entries.
fn answer_others(rig: &mut Rig) {
    let others: Vec<_> = rig.waiting.extract_if(.., |_, c| !is_list(c)).collect();
    for (id, call) in others {
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
    }
}

fn token(call: &SpireCall) -> Option<String> {
    match call {
        SpireCall::List { page_token, .. } => page_token.as_ref().map(ToString::to_string),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_that_fails_is_asked_for_again_and_one_whose_token_is_refused_begins_a_new_pass() {
    let mut rig = Rig::new(policy());
    (0..2500).for_each(|n| rig.server.put(foreign(n, "/elsewhere")));
    rig.tell([Event::Leading(true)]);
    answer_others(&mut rig);
    let (first, call) = only(&mut rig, is_list);
    assert_eq!(token(&call), None);
    let answer = rig.server.perform(&call, usize::MAX);
    rig.tell([Event::Replied(first, Ok(answer))]);
    let (second, call) = only(&mut rig, is_list);
    let of_second = token(&call);
    assert!(of_second.is_some());
    let away = Failure::new(FailureClass::Retry, "connection refused");
    rig.tell([Event::Replied(second, Err(away))]);
    rig.now += Duration::from_secs(1);
    rig.tell([]);
    answer_others(&mut rig);
    let (again, call) = only(&mut rig, is_list);
    assert_eq!(token(&call), of_second, "the same page");
    let invalid = Failure::new(FailureClass::Permanent, "invalid token");
    rig.tell([Event::Replied(again, Err(invalid))]);
    rig.now += Duration::from_secs(10);
    rig.tell([]);
    answer_others(&mut rig);
    let (_, call) = only(&mut rig, is_list);
    assert_eq!(token(&call), None, "from the start");
}

#[test]
fn a_reading_of_a_pass_that_was_given_up_says_nothing() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    rig.wait(Duration::from_secs(1));
    rig.now += Duration::from_secs(30);
    rig.tell([]);
    let (late, _) = only(&mut rig, is_list);
    // A new lead reads everything anew; what the former pass still brings does not count.
    rig.tell([Event::Leading(false)]);
    rig.tell([Event::Leading(true)]);
    let compared = rig.facts.len();
    let nothing = SpireAnswer::Page {
        entries: vec![],
        unreadable: 0,
        next: None,
    };
    rig.tell([Event::Replied(late, Ok(nothing))]);
    let told = |f: &Fact| matches!(f, Fact::Compared { .. } | Fact::Drifted { .. });
    assert!(
        !rig.facts[compared..].iter().any(told),
        "{:?}",
        &rig.facts[compared..]
    );
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn drift_is_told_of_what_we_manage_and_of_nothing_else() {
    type Change = fn(&mut RegisteredEntry);
    let other = || TrustDomain::new("other.test").expect("a name");
    let managed: [Change; 3] = [
        |e| e.spiffe_id = id("/x"),
        |e| e.dns_names = [DnsName::stored("x.test")].into(),
        |e| {
            e.selectors = Selectors::new(
                [
                    e.selectors.iter().map(Selector::from).collect(),
                    vec![Selector::new("k8s", "sa:x")],
                ]
                .concat(),
            )
        },
    ];
    let theirs: [Change; 3] = [
        |e| e.hint = "theirs".into(),
        |e| e.x509_svid_ttl = 7,
        |e| (e.admin, e.store_svid) = (true, true),
    ];
    let all = managed
        .map(|c| (c, true))
        .into_iter()
        .chain(theirs.map(|c| (c, false)));
    for (n, (change, told)) in all.enumerate() {
        let mut rig = Rig::new(policy());
        rig.server.bundles.insert(other());
        rig.start([pod(1)]);
        rig.wait(Duration::from_secs(30));
        let wanted = entry_of(&policy(), &pod(1));
        let found = rig.server.entries().find(|e| wanted.is_similar(e));
        let entry = found.expect("registered").id.clone();
        rig.server.change(&entry, change);
        rig.wait(Duration::from_secs(30));
        let drifts: Vec<&Fact> = rig
            .facts
            .iter()
            .filter(|f| matches!(f, Fact::Drifted { .. }))
            .collect();
        assert_eq!(drifts.len(), usize::from(told), "change {n}: {drifts:?}");
        assert!(
            rig.server
                .entries()
                .any(|e| wanted.changed_fields(e).is_empty()),
            "change {n}"
        );
        if let Some(Fact::Drifted { drift, id, .. }) = drifts.first() {
            assert_eq!((*drift, id), (Drift::Changed, &entry));
        }
    }
}

#[test]
fn of_many_foreign_entries_under_our_root_a_hundred_are_named_each_once() {
    let mut rig = Rig::new(policy());
    (0..150).for_each(|n| rig.server.put(foreign(n, "/registrar/demo/node/node-0")));
    rig.start([]);
    rig.wait(Duration::from_secs(60));
    let told = |f: &&Fact| matches!(f, Fact::Foreign { .. });
    assert_eq!(rig.facts.iter().filter(told).count(), 100);
    assert_eq!(rig.server.entries().count(), 151, "and none is touched");
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_tried_one_by_one() {
    let mut policy = policy();
    policy.writes_in_flight = 1;
    let mut rig = Rig::new(policy);
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.tell((0..5).map(|n| Event::Applied(Object::Pod(pod(n)))));
    let is_create = |c: &SpireCall| matches!(c, SpireCall::Create { .. });
    let (whole, call) = only(&mut rig, is_create);
    assert!(matches!(&call, SpireCall::Create { entries } if entries.len() == 5));
    let refused = Failure::new(FailureClass::Permanent, "message too large");
    rig.tell([Event::Replied(whole, Err(refused))]);
    rig.writes.clear();
    rig.wait(Duration::from_secs(120));
    assert_eq!(rig.server.entries().count(), 6);
    let largest = rig.writes.iter().map(|(_, w)| match w {
        SpireCall::Create { entries } => entries.len(),
        _ => 0,
    });
    assert_eq!(largest.max(), Some(1), "{:?}", rig.writes);
}

#[test]
fn an_answer_with_fewer_outcomes_than_items_counts_for_none_of_them() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.tell((0..3).map(|n| Event::Applied(Object::Pod(pod(n)))));
    rig.tell([]);
    let creates: Vec<_> = rig
        .waiting
        .extract_if(.., |_, c| matches!(c, SpireCall::Create { .. }))
        .collect();
    for (id, _) in creates {
        rig.tell([Event::Replied(id, Ok(SpireAnswer::Written(vec![])))]);
    }
    let created = |f: &Fact| matches!(f, Fact::Created { .. });
    assert_eq!(
        rig.facts.iter().filter(|f| created(f)).count(),
        1,
        "the node's alone"
    );
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.server.entries().count(), 4);
}

#[test]
fn a_bundle_that_goes_is_told_and_the_entries_that_name_it_are_read() {
    let mut rig = Rig::new(policy());
    let td = TrustDomain::new("other.test").expect("a name");
    rig.server.bundles.insert(td.clone());
    let mut federated = pod(1);
    federated
        .annotations
        .insert(FEDERATES_WITH.into(), "other.test".into());
    rig.start([federated]);
    rig.wait(Duration::from_secs(10));
    rig.server.dissociate(&td);
    rig.server.bundles.remove(&td);
    rig.now += Duration::from_secs(3);
    rig.tell([]);
    let (list, call) = only(&mut rig, |c| *c == SpireCall::ListBundles);
    let answer = rig.server.perform(&call, usize::MAX);
    rig.tell([Event::Replied(list, Ok(answer))]);
    assert!(
        rig.facts.contains(&Fact::BundleGone(td.clone())),
        "{:?}",
        rig.facts
    );
    let read = rig
        .waiting
        .values()
        .any(|c| matches!(c, SpireCall::Read { ids } if ids.len() == 1));
    assert!(read, "{:?}", rig.waiting);
    rig.server.bundles.insert(td.clone());
    rig.wait(Duration::from_secs(10));
    assert!(rig.facts.contains(&Fact::BundleArrived(td.clone())));
    assert!(rig.server.entries().any(|e| e.federates_with.contains(&td)));
}

#[test]
fn the_end_of_a_former_object_is_not_the_end_of_the_one_that_has_its_name() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    rig.wait(Duration::from_secs(1));
    let mut again = pod(1);
    again.uid = Uid::new("again");
    rig.tell([Event::Applied(Object::Pod(again))]);
    let key = ObjectKey::new(Kind::Pod, pod(1).namespace, pod(1).name);
    rig.tell([Event::Deleted(key.clone(), pod(1).uid)]);
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.server.entries().count(), 2);
    rig.tell([Event::Deleted(key, Uid::new("again"))]);
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.server.entries().count(), 1);
}

#[test]
fn a_node_that_cannot_be_read_keeps_its_entry_and_its_pods_theirs() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    rig.wait(Duration::from_secs(1));
    let key = ObjectKey::new(Kind::Node, "", "node-0");
    rig.tell([Event::Undecodable {
        kind: Kind::Node,
        key: Some(key.clone()),
        uid: Some(Uid::new("node-uid")),
        why: "garbled".into(),
    }]);
    rig.wait(Duration::from_secs(60));
    let status = rig.machine.status(rig.now);
    assert_eq!(status.held, [("Undecodable", 1)].into());
    assert_eq!(rig.server.entries().count(), 2);
    let node = NodeSnapshot {
        name: "node-0".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    rig.tell([Event::Applied(Object::Node(node))]);
    rig.wait(Duration::from_secs(1));
    assert!(rig.machine.status(rig.now).held.is_empty());
}

#[test]
fn an_entry_that_could_not_be_told_ours_under_the_agent_is_replaced_not_changed() {
    let mut under_agents = policy();
    under_agents.nodes = NodePolicy::None;
    under_agents.pods.parent = ParentForm::Agent;
    let mut rig = Rig::new(under_agents);
    // Of before, by someone else's hand: only its place tells that it is ours.
    let former = entry_of(&policy(), &pod(1));
    let theirs = EntryId::stored("of-before");
    rig.server
        .put(RegisteredEntry::created(theirs.clone(), &former));
    rig.start([pod(1)]);
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.server.get(&theirs), None);
    let entries: Vec<&RegisteredEntry> = rig.server.entries().collect();
    let [entry] = entries[..] else {
        panic!("{entries:#?}");
    };
    assert_eq!(entry.parent_id, id("/spire/agent/k8s_psat/demo/node-uid"));
    assert!(policy().entry_ids.made(&entry.id));
}

#[test]
fn what_waits_while_all_writing_is_stopped_is_counted_with_how_long_it_waits() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.tell([Event::Paused(true)]);
    rig.tell((0..3).map(|n| Event::Applied(Object::Pod(pod(n)))));
    rig.wait(Duration::from_secs(3));
    let status = rig.machine.status(rig.now);
    assert!(status.paused);
    assert_eq!((status.queued, status.busy), (3, 3));
    assert_eq!(status.oldest, Some(Duration::from_secs(3)));
    assert_eq!(rig.server.entries().count(), 1);
    rig.tell([Event::Paused(false)]);
    rig.wait(Duration::from_secs(1));
    assert_eq!(rig.server.entries().count(), 4);
}
