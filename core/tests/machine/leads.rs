//! The lead taken, kept and lost, and what a replica does before it knows all there is.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::{FEDERATES_WITH, IdentitySource, Policy},
    ports::{Failure, FailureClass, SpireCall},
    sync::{CallId, Event, Fact, NotReady, Reconciler, Review, ReviewId},
};

use crate::rig::{self, Rig, entry_of, ms, named, node, pod};

fn policy() -> Policy {
    let mut policy = rig::policy();
    policy.writes_in_flight = 1;
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn is_list(call: &SpireCall) -> bool {
    matches!(call, SpireCall::List { .. })
}

fn told(rig: &Rig, fact: &Fact) -> usize {
    rig.facts.iter().filter(|f| *f == fact).count()
}

fn synced(rig: &Rig) -> bool {
    told(rig, &Fact::FirstSyncDone) > 0
}

#[test]
fn the_server_is_read_anew_by_who_takes_the_lead_not_by_who_has_it_or_loses_it() {
    let mut rig = Rig::new(policy());
    rig.start([named(1, "a")]);
    rig.wait(ms(1000));
    rig.tell([Event::Leading(true)]);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    rig.tell([Event::Leading(false)]);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    rig.tell([Event::Leading(true)]);
    assert!(rig.waiting.values().any(is_list), "{:?}", rig.waiting);
}

#[test]
fn a_page_that_fails_of_a_reading_that_was_given_up_does_not_end_the_next_one() {
    for class in [FailureClass::Retry, FailureClass::Permanent] {
        let mut rig = Rig::new(policy());
        rig.start([named(1, "a")]);
        rig.now += Duration::from_secs(30);
        rig.tell([]);
        let (given_up, _) = rig.take(is_list);
        rig.tell([Event::Leading(false)]);
        rig.tell([Event::Leading(true)]);
        rig.facts.clear();
        let failure = Failure::new(class, "it failed");
        rig.tell([Event::Replied(given_up, Err(failure))]);
        let lists = |rig: &Rig| rig.waiting.values().filter(|c| is_list(c)).count();
        assert_eq!(lists(&rig), 1);
        let (id, call) = rig.take(is_list);
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
        let (id, call) = rig.take(is_list);
        assert!(
            matches!(
                &call,
                SpireCall::List {
                    page_token: Some(_),
                    ..
                }
            ),
            "it goes on: {call:?}"
        );
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
        let compared = |f: &&Fact| matches!(f, Fact::Compared { .. });
        assert_eq!(rig.facts.iter().filter(compared).count(), 1, "{class:?}");
    }
}

/// Of two updates the second waits for the slot of the first.
#[test]
fn what_was_to_be_written_when_the_lead_was_lost_is_decided_anew_by_the_next_lead() {
    let mut rig = Rig::new(policy());
    let other = "other.org".parse().expect("a trust domain");
    rig.server.bundles.insert(other);
    rig.start([named(0, "a"), named(1, "b")]);
    rig.wait(ms(1000));
    rig.writes.clear();
    let mut federated = named(1, "b");
    federated
        .annotations
        .insert(FEDERATES_WITH.into(), "other.org".into());
    let changed = [named(0, "c"), federated];
    rig.tell(changed.map(|pod| Event::Applied(Object::Pod(pod))));
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    rig.tell([Event::Leading(false)]);
    rig.answer_all();
    rig.wait(ms(1000));
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    rig.tell([Event::Leading(true)]);
    let reading = rig.take(is_list);
    rig.answer_all();
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    rig.waiting.extend([reading]);
    rig.answer_all();
    assert_eq!(rig.writes.len(), 2, "{:?}", rig.writes);
}

fn webhook() -> Policy {
    let mut policy = Policy::webhook("example.org", "demo").expect("legal names");
    policy.writes_in_flight = 1;
    policy
}

/// A batch that failed as a whole is tried item by item: the second waits when the lead goes.
#[test]
fn a_replica_that_answers_reviews_writes_nothing_else_once_it_does_not_lead() {
    let mut rig = Rig::new(webhook());
    rig.tell([Event::Leading(true), Event::Answering]);
    rig.listed(Kind::Pod, []);
    rig.answer_all();
    rig.writes.clear();
    rig.tell([0, 1].map(|n| Event::Applied(Object::Pod(pod(n)))));
    assert_eq!(rig.sizes(), [2]);
    rig.fail(FailureClass::Permanent);
    assert_eq!(rig.sizes(), [1]);
    rig.tell([Event::Leading(false)]);
    rig.answer_all();
    rig.wait(ms(5000));
    assert_eq!(rig.server.entries().count(), 2, "{:?}", rig.writes);
    rig.tell([Event::Leading(true)]);
    rig.wait(ms(5000));
    assert_eq!(rig.server.entries().count(), 3, "{:?}", rig.writes);
}

#[test]
fn a_review_asks_for_nothing_before_the_server_was_read_and_the_replica_may_answer() {
    let review = Event::Reviewed {
        id: ReviewId(1),
        review: Review::Created(pod(1)),
        patience: Duration::from_secs(9),
    };
    let mut rig = Rig::new(webhook());
    rig.tell([Event::Answering, review.clone()]);
    let bundles = rig.take(|c| *c == SpireCall::ListBundles);
    let entries = rig.take(is_list);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    let answer = |rig: &mut Rig, (id, call): (CallId, SpireCall)| {
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
    };
    answer(&mut rig, bundles);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    answer(&mut rig, entries);
    assert_eq!(rig.sizes(), [1], "the entry of all nodes first");
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 2);

    // All is read, and nobody said that it may answer.
    let mut rig = Rig::new(webhook());
    rig.tell([]);
    rig.answer_all();
    rig.tell([review.clone()]);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    rig.tell([Event::Answering]);
    assert_eq!(rig.sizes(), [1]);

    // It may answer, and the bundles are not there yet.
    let mut rig = Rig::new(webhook());
    rig.tell([Event::Answering]);
    let entries = rig.take(is_list);
    answer(&mut rig, entries);
    let bundles = rig.take(|c| *c == SpireCall::ListBundles);
    rig.tell([review]);
    assert!(rig.waiting.is_empty(), "{:?}", rig.waiting);
    answer(&mut rig, bundles);
    assert_eq!(rig.sizes(), [1]);
}

#[test]
fn a_list_is_told_once_however_often_it_comes() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.listed(Kind::Pod, []);
    rig.listed(Kind::Node, [Object::Node(node())]);
    for kind in [Kind::Pod, Kind::Node] {
        assert_eq!(told(&rig, &Fact::Synced(kind)), 1, "{:?}", rig.facts);
    }
}

#[test]
fn a_first_sync_is_not_done_before_all_lists_are_there_and_every_pod_has_its_entry() {
    let mut rig = Rig::new(policy());
    rig.tell([Event::Leading(true)]);
    rig.answer_all();
    assert!(!synced(&rig), "nothing is listed");
    rig.listed(Kind::Node, []);
    rig.answer_all();
    assert!(!synced(&rig), "no pods are listed");
    assert_eq!(rig.machine.not_ready(), [NotReady::NotListed(Kind::Pod)]);
    rig.listed(Kind::Pod, [Object::Pod(named(1, "a"))]);
    assert_eq!(rig.sizes(), [1]);
    assert!(!synced(&rig), "its create is under way");
    assert_eq!(rig.machine.not_ready(), [NotReady::FirstSync]);
    rig.answer_all();
    assert!(synced(&rig));
    assert_eq!(rig.machine.not_ready(), []);
    rig.wait(ms(30_000));
    assert_eq!(told(&rig, &Fact::FirstSyncDone), 1);
}

#[test]
fn a_first_sync_does_not_wait_for_what_the_server_refuses_but_for_its_answer() {
    let mut policy = policy();
    policy.writes_in_flight = 2;
    let mut rig = Rig::new(policy);
    rig.tell([Event::Leading(true)]);
    rig.listed(Kind::Node, []);
    rig.answer_all();
    rig.tell([Event::RelistBegan(Kind::Pod)]);
    for n in 1..=2 {
        rig.tell([Event::Listed(Object::Pod(named(n, "a")))]);
    }
    rig.tell([Event::RelistDone(Kind::Pod)]);
    assert_eq!(rig.sizes(), [1, 1]);
    rig.refuse(FailureClass::Permanent, "no");
    assert!(!synced(&rig), "the other is under way");
    // The one that was refused is under way once more when the other is refused.
    rig.now += ms(4000);
    rig.tell([]);
    assert_eq!(rig.sizes(), [1, 1]);
    rig.refuse(FailureClass::Permanent, "no");
    assert!(!synced(&rig), "one is under way again");
    rig.refuse(FailureClass::Permanent, "no");
    assert!(synced(&rig));
    assert_eq!(rig.machine.status(rig.now).refused, 2);
}

#[test]
fn a_first_sync_waits_for_three_attempts_of_which_nothing_is_known() {
    let mut rig = Rig::new(policy());
    rig.tell([Event::Leading(true)]);
    rig.listed(Kind::Node, []);
    rig.listed(Kind::Pod, [Object::Pod(named(1, "a"))]);
    while rig.sizes().is_empty() {
        let (id, call) = rig.take(|call| !call.is_write());
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
    }
    for attempt in 1..=3 {
        rig.refuse(FailureClass::Unknown, "context deadline exceeded");
        assert_eq!(synced(&rig), attempt == 3, "attempt {attempt}");
        rig.now = rig.wake_at.expect("it is tried again");
        rig.tell([]);
        let (id, call) = rig.take(|c| matches!(c, SpireCall::Read { .. }));
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
        assert_eq!(rig.sizes(), [1]);
    }
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 1);
}

/// What is gone waits for the first sync, not the first sync for it.
#[test]
fn entries_without_a_pod_do_not_hold_up_a_first_sync() {
    let mut rig = Rig::new(rig::policy());
    for n in 0..3 {
        let entry = entry_of(&rig::policy(), &pod(n));
        let id = EntryId::stored(&format!("old-{n}"));
        rig.server.put(RegisteredEntry::created(id, &entry));
    }
    rig.tell([Event::Leading(true)]);
    rig.listed(Kind::Node, []);
    rig.listed(Kind::Pod, []);
    while !rig.waiting.values().any(SpireCall::is_write) {
        let (id, call) = rig.take(|_| true);
        let answer = rig.server.perform(&call, usize::MAX);
        rig.tell([Event::Replied(id, Ok(answer))]);
    }
    assert!(synced(&rig));
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 0);
}

#[test]
fn objects_that_changed_wait_for_new_ones_and_pods_for_nodes() {
    let mut rig = Rig::new(policy());
    rig.machine = Reconciler::new(policy(), 3).in_slices(1);
    rig.start([]);
    while rig.wake_at == Some(rig.now) {
        rig.tell([]);
        rig.answer_all();
    }
    rig.tell([Event::Applied(Object::Pod(named(1, "a")))]);
    rig.answer_all();
    rig.wait(ms(1000));
    rig.writes.clear();
    rig.tell([Event::Paused(true)]);
    rig.tell([Event::Applied(Object::Pod(named(1, "b")))]);
    rig.tell([Event::Applied(Object::Pod(named(2, "a")))]);
    let second = NodeSnapshot {
        name: "node-1".into(),
        uid: Uid::new("node-uid-1"),
        annotations: Default::default(),
    };
    rig.tell([Event::Applied(Object::Node(second))]);
    rig.tell([Event::Paused(false)]);
    rig.wait(ms(5000));
    let words: Vec<String> = rig
        .writes
        .iter()
        .map(|(_, call)| match call {
            SpireCall::Create { entries } => format!("create {}", entries[0].1.spiffe_id.path()),
            SpireCall::Update { .. } => "update".into(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].ends_with("/node-1"), "{words:?}");
    assert!(words[1].ends_with("/a"), "{words:?}");
    assert_eq!(words[2], "update");
}
