//! What goes first, what gathers, and what leaves others alone.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    policy::IdentitySource,
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
    sync::{Event, Fact},
};

use crate::rig::{Rig, pod, policy};

#[test]
fn one_pod_alone_is_one_create_at_once_and_nothing_is_read_before_it() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.writes.clear();
    rig.tell([Event::Applied(Object::Pod(pod(1)))]);
    let calls: Vec<&SpireCall> = rig.waiting.values().collect();
    assert!(
        matches!(&calls[..], [SpireCall::Create { entries }] if entries.len() == 1),
        "{calls:?}"
    );
}

#[test]
fn a_burst_gathers_while_the_slots_are_busy() {
    let mut policy = policy();
    policy.writes_in_flight = 2;
    let mut rig = Rig::new(policy);
    rig.start([]);
    for n in 0..100 {
        rig.tell([Event::Applied(Object::Pod(pod(n)))]);
    }
    let under_way = rig.waiting.values().filter(|c| c.is_write()).count();
    assert_eq!(under_way, 2, "no more than two in flight");
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 101);
    let batches = rig.writes.len();
    assert!(batches < 10, "100 pods went in {batches} calls");
}

#[test]
fn new_pods_go_before_comparisons_and_deletes() {
    let mut policy = policy();
    policy.writes_in_flight = 1;
    let mut rig = Rig::new(policy);
    rig.start((0..20).map(pod));
    // The only slot is busy; deletes queue up, then a new pod comes.
    rig.tell([Event::Applied(Object::Pod(pod(100)))]);
    for n in 0..20 {
        let key = ObjectKey::new(Kind::Pod, "ns", format!("pod-{n:04}"));
        rig.tell([Event::Deleted(key, Uid::new(format!("uid-{n}")))]);
    }
    rig.tell([Event::Applied(Object::Pod(pod(101)))]);
    rig.writes.clear();
    rig.answer_all();
    let first = &rig.writes[0].1;
    assert!(matches!(first, SpireCall::Create { .. }), "{first:?}");
    assert_eq!(rig.server.entries().count(), 3);
}

#[test]
fn a_refused_item_holds_up_no_other() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    let wanted: Vec<PodSnapshot> = (0..10).map(pod).collect();
    rig.tell(
        wanted
            .iter()
            .cloned()
            .map(|p| Event::Applied(Object::Pod(p))),
    );
    let mut rounds = 0;
    while let Some((id, call)) = rig.waiting.pop_first() {
        rounds += 1;
        assert!(rounds < 100, "it backs off");
        let mut answer = rig.server.perform(&call, usize::MAX);
        if let (SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) =
            (&call, &mut answer)
        {
            for ((entry_id, entry), outcome) in entries.iter().zip(outcomes) {
                if entry
                    .selectors
                    .iter()
                    .any(|s| s.value == "pod-name:pod-0003")
                {
                    rig.server.remove(entry_id);
                    let failure = Failure::new(FailureClass::Permanent, "invalid argument");
                    *outcome = Outcome::Refused(failure);
                }
            }
        }
        rig.tell([Event::Replied(id, Ok(answer))]);
    }
    assert_eq!(rig.server.entries().count(), 1 + 9);
    let refused = |f: &&Fact| matches!(f, Fact::Refused { .. });
    assert_eq!(
        rig.facts.iter().filter(refused).count(),
        1,
        "{:?}",
        rig.facts
    );
}

#[test]
fn fewer_calls_are_in_flight_while_the_server_struggles_and_new_pods_still_go_first() {
    let mut policy = policy();
    policy.writes_in_flight = 4;
    let mut rig = Rig::new(policy);
    rig.start([]);
    let most_in_flight = |rig: &mut Rig, from: usize, distress: bool| {
        let mut most = 0;
        for n in from..from + 60 {
            rig.tell([Event::Applied(Object::Pod(pod(n)))]);
            let writes = rig.waiting.values().filter(|c| c.is_write()).count();
            most = most.max(writes);
        }
        while let Some((id, call)) = rig.waiting.pop_first() {
            let mut answer = rig.server.perform(&call, usize::MAX);
            if let (true, SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) =
                (distress, &call, &mut answer)
            {
                for ((entry_id, _), outcome) in entries.iter().zip(outcomes) {
                    rig.server.remove(entry_id);
                    let failure = Failure::new(FailureClass::Retry, "database is locked");
                    *outcome = Outcome::Refused(failure);
                }
            }
            rig.tell([Event::Replied(id, Ok(answer))]);
        }
        most
    };
    assert_eq!(most_in_flight(&mut rig, 0, true), 4);
    assert_eq!(most_in_flight(&mut rig, 100, true), 1);
    rig.wait(Duration::from_secs(120));
    assert_eq!(
        rig.server.entries().count(),
        1 + 120,
        "all are there in the end"
    );
    assert_eq!(most_in_flight(&mut rig, 200, false), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_order_in_which_a_cluster_is_seen_does_not_matter(order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut from_scratch = Rig::new(policy());
        from_scratch.start((0..12).map(pod));
        let mut step_by_step = Rig::new(policy());
        step_by_step.start([]);
        for n in order {
            step_by_step.tell([Event::Applied(Object::Pod(pod(n)))]);
            step_by_step.answer_all();
        }
        let entries = |rig: &Rig| -> BTreeSet<String> {
            rig.server.entries().map(|e| format!("{} {} {:?}", e.spiffe_id, e.parent_id, e.selectors)).collect()
        };
        prop_assert_eq!(entries(&from_scratch), entries(&step_by_step));
    }

    #[test]
    fn changing_one_pod_writes_that_pods_entry_only(which in 0usize..10) {
        let mut policy = policy();
        policy.pods.identity = IdentitySource::Annotation("id".into());
        let named = |n: usize, value: &str| {
            let mut pod = pod(n);
            pod.annotations.insert("id".into(), value.into());
            pod
        };
        let mut rig = Rig::new(policy);
        rig.start((0..10).map(|n| named(n, "old")));
        rig.writes.clear();
        rig.tell([Event::Applied(Object::Pod(named(which, "new")))]);
        rig.answer_all();
        rig.wait(Duration::from_secs(30));
        prop_assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
        let SpireCall::Update { entries, .. } = &rig.writes[0].1 else {
            return Err(TestCaseError::fail("an update"));
        };
        prop_assert_eq!(entries.len(), 1);
        let name = format!("pod-name:pod-{which:04}");
        prop_assert!(entries[0].1.selectors.iter().any(|s| *s.value == *name));
    }
}

#[test]
fn a_pod_that_changes_while_it_waits_does_not_lose_its_place() {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.writes_in_flight = 1;
    let asking = |n| crate::rig::named(n, "team/a");
    let mut rig = Rig::new(policy);
    rig.start([]);
    rig.tell([Event::Paused(true)]);
    rig.tell((0..30).map(|n| Event::Applied(Object::Pod(asking(n)))));
    rig.tell([Event::Applied(Object::Pod(crate::rig::named(0, "team/b")))]);
    rig.tell([Event::Paused(false)]);
    rig.answer_all();
    let created = rig.created();
    assert_eq!(created.first().map(String::as_str), Some("pod-0000"));
    assert_eq!(created.len(), 30);
}
