//! What an event costs does not depend on how many pods there are: counted in allocations, which are the same on every
//! machine, at a thousand pods and at a hundred thousand. And what a pod costs in memory while nothing happens.

// A test may print what it counted; the core may not.
#![allow(clippy::disallowed_macros)]

use std::{alloc::System, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry},
    policy::{IdentitySource, Policy},
    ports::{Outcome, SpireAnswer, SpireCall},
    rules::{Bundles, Decision, PodLookups, decide_node, decide_pod},
    spiffe::SpiffeId,
    sync::{CallId, Event, Reconciler},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An event that changes nothing may allocate this often (its own snapshot not counted).
const UNCHANGED: usize = 4;
/// A pod and its entry may take so many bytes, however they came to be known.
const BYTES_A_POD: usize = 1024;
/// What the IDs of entries begin with here.
const ID: &str = "kwr-0123456789abcdef.0123456789abcdef";

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

/// Bytes that what `make` returns holds for each of these pods.
fn bytes_a_pod<T>(pods: usize, make: impl FnOnce() -> T) -> usize {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    drop(made);
    (change.bytes_allocated - change.bytes_deallocated) / pods
}

/// A machine that began with all entries in place, as a server lists them: with texts of their own.
fn restarted(pods: usize) -> Reconciler {
    let mut now = Duration::ZERO;
    let mut machine = Reconciler::new(policy(), 2);
    let stored = |id: String, entry: &Entry| {
        let id_of = |id: &SpiffeId| SpiffeId::parse(&id.to_string()).expect("legal");
        let mut stored = RegisteredEntry::created(EntryId::stored(&id), entry);
        stored.spiffe_id = id_of(&entry.spiffe_id);
        stored.parent_id = id_of(&entry.parent_id);
        stored
    };
    let entries = |n: std::ops::Range<usize>| -> Vec<RegisteredEntry> {
        let (policy, bundles) = (policy(), Bundles::default());
        let lookups = || PodLookups {
            node: None,
            slices: &[],
            bundles: &bundles,
        };
        let of = |decision, n| match decision {
            Decision::Register { entries, .. } => stored(format!("{ID}-{n}"), &entries[0]),
            other => panic!("{other:?}"),
        };
        n.map(|n| match n.checked_sub(pods) {
            Some(n) => of(decide_node(&policy, &node(n), &bundles), pods + n),
            None => of(decide_pod(&policy, &pod(n, &"team/a".into()), lookups()), n),
        })
        .collect()
    };
    let mut calls = machine.step(now, [Event::Leading(true)]).calls;
    // The pods' list is half through when the entries' is complete.
    let objects = (0..pods).map(|n| Event::Listed(Object::Pod(pod(n, &"team/a".into()))));
    let (first, second): (Vec<_>, Vec<_>) = objects.enumerate().partition(|(n, _)| n % 2 == 0);
    let events = |half: Vec<(usize, Event)>| half.into_iter().map(|(_, event)| event);
    calls.extend(machine.step(now, [Event::RelistBegan(Kind::Pod)]).calls);
    calls.extend(machine.step(now, events(first)).calls);
    let mut at = 0;
    while let Some((id, call)) = calls.pop() {
        now += Duration::from_millis(1);
        let replied = match call {
            SpireCall::List { page_size, .. } => {
                let end = (at + page_size as usize).min(pods + 100);
                let entries = entries(at..end);
                at = end;
                let next = (at < pods + 100).then(|| at.to_string().into());
                let page = SpireAnswer::Page {
                    entries,
                    unreadable: 0,
                    next,
                };
                Event::Replied(id, Ok(page))
            }
            call => reply(id, call),
        };
        calls.extend(machine.step(now, [replied]).calls);
    }
    let nodes = (0..100).map(|n| Event::Listed(Object::Node(node(n))));
    let nodes = std::iter::once(Event::RelistBegan(Kind::Node)).chain(nodes);
    let writes = drive(&mut machine, &mut now, events(second).collect())
        + drive(&mut machine, &mut now, vec![Event::RelistDone(Kind::Pod)])
        + drive(&mut machine, &mut now, nodes.collect())
        + drive(&mut machine, &mut now, vec![Event::RelistDone(Kind::Node)]);
    let status = machine.status(now);
    assert_eq!(
        (writes, status.busy, status.entries.1),
        (0, 0, pods),
        "{status:?}"
    );
    machine
}

// One test: the allocator counts for the whole process.
#[test]
fn an_event_costs_the_same_at_a_thousand_pods_and_at_a_hundred_thousand_and_a_pod_takes_less_than_a_kib()
 {
    let small = costs(1_000);
    let large = costs(100_000);
    let made = bytes_a_pod(10_000, || {
        let mut now = Duration::ZERO;
        at_rest(10_000, &mut now)
    });
    let found = bytes_a_pod(10_000, || restarted(10_000));
    println!("bytes a pod: {made} after its entry was made, {found} after it was found");
    for bytes in [made, found] {
        assert!(bytes <= BYTES_A_POD, "{bytes} bytes a pod");
    }
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
