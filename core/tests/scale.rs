//! What an event costs does not depend on how many pods there are: counted in allocations, which are the same on every
//! machine, at a thousand pods and at a hundred thousand.

// A test may print what it counted; the core may not.
#![allow(clippy::disallowed_macros)]

use std::{alloc::System, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::EntryId,
    policy::{IdentitySource, Policy},
    ports::{Outcome, SpireAnswer, SpireCall},
    sync::{CallId, Event, Reconciler},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An event that changes nothing may allocate this often (its own snapshot not counted).
const UNCHANGED: usize = 4;

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn node(n: usize) -> NodeSnapshot {
    NodeSnapshot {
        name: format!("node-{n}").into(),
        uid: Uid::new(format!("node-uid-{n}")),
        annotations: Default::default(),
    }
}

fn pod(n: usize, identity: &Arc<str>) -> PodSnapshot {
    PodSnapshot {
        namespace: format!("ns-{}", n % 100).into(),
        name: format!("pod-{n:06}").into(),
        uid: Uid::new(format!("uid-{n}")),
        node_name: Some(format!("node-{}", n % 100).into()),
        service_account: Some("sa".into()),
        hostname: None,
        labels: Default::default(),
        annotations: [("id".into(), identity.clone())].into(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

/// Steps, and answers every call as a server does that takes everything.
fn drive(machine: &mut Reconciler, now: &mut Duration, events: Vec<Event>) -> usize {
    let mut writes = 0;
    let mut step = machine.step(*now, events);
    loop {
        *now += Duration::from_millis(1);
        let replies: Vec<Event> = step
            .calls
            .drain(..)
            .map(|(id, call)| reply(id, call))
            .collect();
        if replies.is_empty() {
            return writes;
        }
        writes += replies.len();
        step = machine.step(*now, replies);
    }
}

fn reply(id: CallId, call: SpireCall) -> Event {
    let answer = match call {
        SpireCall::List { .. } => SpireAnswer::Page {
            entries: Vec::new(),
            unreadable: 0,
            next: None,
        },
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => {
            SpireAnswer::Written(entries.iter().map(|_| Outcome::Ok).collect())
        }
        SpireCall::Delete { ids } => {
            SpireAnswer::Written(ids.iter().map(|_| Outcome::Ok).collect())
        }
        SpireCall::Read { ids } => {
            SpireAnswer::Read(ids.iter().map(|_: &EntryId| Ok(None)).collect())
        }
        SpireCall::Find { .. } => panic!("nothing is searched for"),
        SpireCall::ListBundles => SpireAnswer::Bundles(Default::default()),
    };
    Event::Replied(id, Ok(answer))
}

/// A machine at rest with `pods` pods on a hundred nodes.
fn at_rest(pods: usize, now: &mut Duration) -> Reconciler {
    let identity: Arc<str> = "team/a".into();
    let mut machine = Reconciler::new(policy(), 1);
    drive(&mut machine, now, vec![Event::Leading(true)]);
    let list = |kind, objects: Vec<Object>| -> Vec<Event> {
        std::iter::once(Event::RelistBegan(kind))
            .chain(objects.into_iter().map(Event::Listed))
            .chain([Event::RelistDone(kind)])
            .collect()
    };
    let nodes = (0..100).map(|n| Object::Node(node(n))).collect();
    drive(&mut machine, now, list(Kind::Node, nodes));
    let pods = (0..pods).map(|n| Object::Pod(pod(n, &identity))).collect();
    drive(&mut machine, now, list(Kind::Pod, pods));
    assert!(machine.status(*now).busy == 0, "at rest");
    machine
}

/// Allocations an event, over 50 events of the same kind.
fn per_event(machine: &mut Reconciler, now: &mut Duration, events: Vec<Event>) -> usize {
    let count = events.len();
    let region = Region::new(ALLOCATOR);
    for event in events {
        drive(machine, now, vec![event]);
    }
    region.change().allocations / count
}

/// Allocations of an event that changes nothing, of one that changes an identity, of a new pod, and of a deletion.
fn costs(pods: usize) -> [usize; 4] {
    let mut now = Duration::ZERO;
    let mut machine = at_rest(pods, &mut now);
    let (old, new): (Arc<str>, Arc<str>) = ("team/a".into(), "team/b".into());
    let some = |identity: &Arc<str>| -> Vec<PodSnapshot> {
        (0..50).map(|n| pod(n * (pods / 50), identity)).collect()
    };
    let applied = |pods: Vec<PodSnapshot>| -> Vec<Event> {
        pods.into_iter()
            .map(|p| Event::Applied(Object::Pod(p)))
            .collect()
    };
    let fresh: Vec<PodSnapshot> = (0..50).map(|n| pod(pods + n, &old)).collect();
    let deleted = fresh
        .iter()
        .map(|p| Event::Deleted(Object::Pod(p.clone()).key(), p.uid.clone()))
        .collect();
    let cases = [
        applied(some(&old)),
        applied(some(&new)),
        applied(fresh),
        deleted,
    ];
    cases.map(|events| per_event(&mut machine, &mut now, events))
}

/// Bytes that a machine at rest holds for each of its pods.
fn bytes_a_pod(pods: usize) -> usize {
    let region = Region::new(ALLOCATOR);
    let mut now = Duration::ZERO;
    let machine = at_rest(pods, &mut now);
    let change = region.change();
    drop(machine);
    (change.bytes_allocated - change.bytes_deallocated) / pods
}

// One test: the allocator counts for the whole process.
#[test]
fn an_event_costs_the_same_at_a_thousand_pods_and_at_a_hundred_thousand() {
    let small = costs(1_000);
    let large = costs(100_000);
    println!("bytes a pod: {}", bytes_a_pod(10_000));
    println!(
        "allocations an event (unchanged, changed, new, deleted): {small:?} at 1k, {large:?} at 100k"
    );
    assert!(large[0] <= UNCHANGED, "an unchanged event: {large:?}");
    for (few, many) in small.iter().zip(&large) {
        assert!(
            *many * 2 <= *few * 3 + 2,
            "more than 1.5 times: {small:?}, {large:?}"
        );
    }
}
