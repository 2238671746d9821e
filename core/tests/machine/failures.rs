//! What becomes of an object whose write fails, of its batch or by itself, or of which no answer tells.

use std::time::Duration;

use registrar_core::{
    cluster::{Object, PodSnapshot},
    entry::{EntryId, RegisteredEntry},
    policy::{FEDERATES_WITH, IdentitySource, Policy},
    ports::{Failure, FailureClass, SpireAnswer, SpireCall},
    spiffe::TrustDomain,
    sync::{Event, Fact},
};

use crate::rig::{self, Rig, entry_of, ms, named};

fn policy() -> Policy {
    let mut policy = rig::policy();
    policy.writes_in_flight = 1;
    // Nothing is compared meanwhile.
    policy.drift_interval = Duration::from_secs(3600);
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn applied(pod: PodSnapshot) -> Event {
    Event::Applied(Object::Pod(pod))
}

/// Leads, and has no pods.
fn ready() -> Rig {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.wait(ms(1000));
    rig.writes.clear();
    rig.facts.clear();
    rig
}

fn count(rig: &Rig, is: impl Fn(&Fact) -> bool) -> usize {
    rig.facts.iter().filter(|f| is(f)).count()
}

fn refused(fact: &Fact) -> bool {
    matches!(fact, Fact::Refused { .. })
}

fn other() -> TrustDomain {
    TrustDomain::new("other.org").expect("a legal name")
}

fn federated(n: usize) -> PodSnapshot {
    let mut pod = named(n, "a");
    pod.annotations
        .insert(FEDERATES_WITH.into(), "other.org".into());
    pod
}

fn federates(rig: &Rig) -> usize {
    let mut entries = 0;
    for entry in rig.server.entries() {
        entries += usize::from(entry.federates_with.contains(&other()));
    }
    entries
}

#[test]
fn a_call_with_one_item_that_is_refused_as_a_whole_is_that_items_refusal_and_backs_off() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    rig.fail(FailureClass::Permanent);
    assert_eq!(count(&rig, refused), 1, "{:?}", rig.facts);
    assert_eq!(rig.machine.status(rig.now).refused, 1);
    assert_eq!(rig.sizes(), [0; 0], "not at once again");
    let again = rig.wake_at.expect("it is tried again") - rig.now;
    assert!((ms(2000)..=ms(2500)).contains(&again), "{again:?}");
    rig.wait(ms(3000));
    assert_eq!(rig.server.entries().count(), 2);
    assert_eq!(rig.machine.status(rig.now).refused, 0);
}

#[test]
fn what_is_refused_for_now_is_tried_again_sooner_each_time_later_and_told_each_time() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        rig.refuse(FailureClass::Retry, "database is locked");
        let at = rig.wake_at.expect("it is tried again");
        pauses.push(at - rig.now);
        rig.now = at;
        rig.tell([]);
    }
    for (n, pause) in pauses.into_iter().enumerate() {
        let least = ms(500 << n);
        assert!(pause >= least && pause <= least + least / 4, "{pause:?}");
    }
    assert_eq!(count(&rig, refused), 6);
}

#[test]
fn a_change_of_the_object_does_not_wait_for_its_back_off() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    rig.refuse(FailureClass::Permanent, "no");
    assert_eq!(rig.sizes(), [0; 0]);
    rig.tell([applied(named(1, "b"))]);
    assert_eq!(rig.sizes(), [1]);
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 2);
    let status = rig.machine.status(rig.now);
    assert_eq!((status.refused, status.busy), (0, 0));
}

#[test]
fn a_change_while_a_refused_write_is_under_way_is_written_at_once() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    rig.tell([applied(named(1, "b"))]);
    rig.refuse(FailureClass::Permanent, "no");
    assert_eq!(rig.sizes(), [1], "the change is no failure");
    let (_, call) = rig.take(SpireCall::is_write);
    let SpireCall::Create { entries } = &call else {
        panic!("{call:?}");
    };
    assert!(entries[0].1.spiffe_id.path().ends_with("/b"), "{call:?}");
}

#[test]
fn a_reading_with_fewer_answers_than_questions_is_asked_again() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    rig.fail(FailureClass::Unknown);
    rig.now += ms(1000);
    rig.tell([]);
    let is_read = |call: &SpireCall| matches!(call, SpireCall::Read { .. });
    let (id, _) = rig.take(is_read);
    rig.tell([Event::Replied(id, Ok(SpireAnswer::Read(vec![])))]);
    rig.wait(ms(3000));
    assert_eq!(rig.server.entries().count(), 2);
    let status = rig.machine.status(rig.now);
    assert_eq!((status.busy, status.in_flight), (0, 0), "{status:#?}");
}

#[test]
fn an_answer_to_another_question_counts_for_none() {
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    let (id, _) = rig.take(SpireCall::is_write);
    let nothing = SpireAnswer::Bundles(Default::default());
    rig.tell([Event::Replied(id, Ok(nothing))]);
    let failed = |f: &Fact| {
        matches!(f, Fact::ServerFailed { method, failure, .. }
            if *method == "BatchCreateEntry" && failure.class == FailureClass::Unknown)
    };
    assert_eq!(count(&rig, failed), 1, "{:?}", rig.facts);
    rig.wait(ms(3000));
    assert_eq!(rig.server.entries().count(), 2);
}

/// A create arrived of which no answer came: it is taken over. An update of an entry that is known is not.
#[test]
fn what_arrived_without_an_answer_is_adopted_if_it_was_not_known_before() {
    let adopted = |f: &Fact| matches!(f, Fact::Adopted { .. });
    let lost = |rig: &mut Rig| {
        let (id, call) = rig.take(SpireCall::is_write);
        rig.server.perform(&call, usize::MAX);
        let failure = Failure::new(FailureClass::Unknown, "deadline exceeded");
        rig.tell([Event::Replied(id, Err(failure))]);
        rig.wait(ms(3000));
    };
    let mut rig = ready();
    rig.tell([applied(named(1, "a"))]);
    lost(&mut rig);
    assert_eq!(count(&rig, adopted), 1, "{:?}", rig.facts);
    rig.facts.clear();
    rig.tell([applied(named(1, "b"))]);
    lost(&mut rig);
    assert_eq!(count(&rig, adopted), 0, "{:?}", rig.facts);
    assert_eq!(rig.writes.len(), 2, "{:?}", rig.writes);
    let mut entries = rig.server.entries();
    assert!(entries.any(|e| e.spiffe_id.path().ends_with("/b")));
}

#[test]
fn an_entry_is_made_without_the_bundle_that_went_unseen_and_at_once() {
    let mut rig = Rig::new(policy());
    rig.server.bundles.insert(other());
    rig.start([federated(0)]);
    rig.wait(ms(500));
    assert_eq!(federates(&rig), 1);
    rig.server.bundles.remove(&other());
    let at = rig.now;
    rig.tell([applied(federated(1))]);
    rig.answer_all();
    let wanted = entry_of(&policy(), &named(1, "a"));
    let found = rig.server.entries().any(|e| wanted.is_similar(e));
    assert!(found && rig.now == at, "{:#?}", rig.facts);
    assert_eq!(count(&rig, refused), 0);
    assert_eq!(rig.machine.status(rig.now).refused, 0);
    // It federates once the bundle is there again, though no list was ever without it.
    rig.server.bundles.insert(other());
    rig.wait(ms(3000));
    assert_eq!(federates(&rig), 2, "{:#?}", rig.writes);
}

#[test]
fn a_list_of_bundles_that_was_asked_for_before_the_server_missed_one_does_not_bring_it_back() {
    let mut rig = Rig::new(policy());
    rig.server.bundles.insert(other());
    rig.start([federated(0)]);
    rig.wait(ms(500));
    rig.now += ms(2000);
    rig.tell([]);
    let (list, call) = rig.take(|c| *c == SpireCall::ListBundles);
    let with_it = rig.server.perform(&call, usize::MAX);
    rig.server.bundles.remove(&other());
    rig.writes.clear();
    rig.tell([applied(federated(1))]);
    rig.answer_after(Duration::ZERO);
    rig.answer_after(Duration::ZERO);
    assert_eq!(rig.writes.len(), 2, "{:?}", rig.writes);
    rig.tell([Event::Replied(list, Ok(with_it))]);
    assert_eq!(rig.writes.len(), 2, "{:?}", rig.writes);
    rig.server.bundles.insert(other());
    rig.wait(ms(5000));
    assert_eq!(federates(&rig), 2, "{:#?}", rig.writes);
}

#[test]
fn where_bundles_may_not_be_listed_all_begins_without_and_they_are_asked_for_a_minute_later() {
    let mut rig = Rig::new(policy());
    rig.tell([Event::Leading(true)]);
    let deny = |rig: &mut Rig| {
        let (id, _) = rig.take(|c| *c == SpireCall::ListBundles);
        let failure = Failure::new(FailureClass::Denied, "permission denied");
        rig.tell([Event::Replied(id, Err(failure))]);
    };
    deny(&mut rig);
    let denied_at = rig.now;
    rig.start([federated(0)]);
    assert_eq!(rig.server.entries().count(), 2);
    assert!(rig.machine.not_ready().is_empty());
    let asked = |rig: &Rig| rig.waiting.values().any(|c| *c == SpireCall::ListBundles);
    while !asked(&rig) {
        rig.answer_all();
        rig.now = rig.wake_at.expect("something is to be done some day");
        rig.tell([]);
        assert!(rig.now < Duration::from_secs(300));
    }
    assert_eq!(rig.now - denied_at, Duration::from_secs(60));
    rig.server.bundles.insert(other());
    rig.answer_all();
    assert_eq!(federates(&rig), 1);
}

#[test]
fn one_entry_that_is_there_already_is_not_made_and_its_pod_is_not_refused() {
    let mut rig = ready();
    let stored = entry_of(&policy(), &named(1, "a"));
    let id = EntryId::stored("by-another-replica");
    rig.server
        .put(RegisteredEntry::created(id.clone(), &stored));
    rig.tell([applied(named(1, "a"))]);
    rig.answer_all();
    let created = |f: &Fact| matches!(f, Fact::Created { .. });
    assert_eq!((count(&rig, created), count(&rig, refused)), (0, 0));
    let status = rig.machine.status(rig.now);
    assert_eq!((status.entries, status.busy), ((1, 1), 0));
}

#[test]
fn calls_that_fail_together_are_one_failure_and_say_how_long_it_is_until_the_next_attempt() {
    let mut policy = policy();
    policy.writes_in_flight = 2;
    let mut rig = Rig::new(policy);
    rig.start([]);
    rig.tell([applied(named(1, "a"))]);
    rig.tell([applied(named(2, "a"))]);
    assert_eq!(rig.sizes(), [1, 1]);
    rig.facts.clear();
    rig.fail(FailureClass::Retry);
    rig.now += ms(50);
    rig.fail(FailureClass::Retry);
    let until: Vec<Duration> = rig
        .facts
        .iter()
        .filter_map(|f| match f {
            Fact::ServerFailed { retry_in, .. } => Some(*retry_in),
            _ => None,
        })
        .collect();
    let [first, second] = until[..] else {
        panic!("{until:?}");
    };
    assert!((ms(200)..=ms(250)).contains(&first), "{first:?}");
    assert_eq!(second, first - ms(50));
    assert_eq!(rig.wake_at, Some(rig.now + second));
    rig.wait(ms(1000));
    let back = |f: &Fact| *f == Fact::ServerBack;
    assert_eq!(count(&rig, back), 1, "{:?}", rig.facts);
}
