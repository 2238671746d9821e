//! What an event costs does not depend on how many pods there are: counted in allocations and in operations on the machine's
//! maps and sets, which are the same on every machine, at a thousand pods and at a hundred thousand. And what a pod costs in
//! memory while nothing happens.

// A test may print what it counted, and wait for another; the core may not.
#![allow(clippy::disallowed_macros, clippy::disallowed_types)]

mod cluster;
mod memory;

use std::{
    alloc::System,
    sync::{Arc, Mutex},
};

use registrar_core::{
    cluster::{Object, PodSnapshot},
    policy::Policy,
    sync::Event,
    testing::index_operations,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use cluster::{Cluster, NODES, pod};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An event that changes nothing may allocate this often (its own snapshot not counted).
const UNCHANGED: f64 = 4.0;
/// How many times as much an event may cost with a hundred times as many pods.
const GROWTH: f64 = 1.5;
/// A pod and its entry may take so many bytes, however they came to be known.
const BYTES_A_POD: usize = 1024;
/// Events of a kind that are counted together.
const EVENTS: usize = 50;
const KINDS: [&str; 4] = ["unchanged", "changed", "new", "deleted"];

/// What an event costs, with all that comes of it until the machine is at rest again.
#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: f64,
    operations: f64,
}

impl Cost {
    /// Of an event of a kind.
    fn of(cluster: &mut Cluster, events: Vec<Event>) -> Self {
        let count = events.len() as f64;
        let before = index_operations();
        let region = Region::new(ALLOCATOR);
        for event in events {
            cluster.drive(vec![event]);
        }
        Self {
            allocations: region.change().allocations as f64 / count,
            operations: (index_operations() - before) as f64 / count,
        }
    }
}

/// Of an event that changes nothing, of one that changes an identity, of a new pod, and of a deletion.
fn costs(policy: Policy, pods: usize) -> [Cost; 4] {
    let mut cluster = Cluster::at_rest(policy, pods);
    let (old, new): (Arc<str>, Arc<str>) = ("team/a".into(), "team/b".into());
    let some = |identity: &Arc<str>| -> Vec<PodSnapshot> {
        (0..EVENTS)
            .map(|n| pod(n * (pods / EVENTS), identity))
            .collect()
    };
    let applied = |pods: Vec<PodSnapshot>| -> Vec<Event> {
        pods.into_iter()
            .map(|p| Event::Applied(Object::Pod(p)))
            .collect()
    };
    let fresh: Vec<PodSnapshot> = (0..EVENTS).map(|n| pod(pods + n, &old)).collect();
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
    cases.map(|events| Cost::of(&mut cluster, events))
}

/// Counts with few pods and with many, and compares.
fn compare(mode: &str, policy: &Policy, (few, many): (usize, usize)) {
    let small = costs(policy.clone(), few);
    let large = costs(policy.clone(), many);
    println!("{mode}: an event at {few} pods, at {many}, times");
    for ((kind, few), many) in KINDS.iter().zip(&small).zip(&large) {
        for (what, few, many) in [
            ("allocations", few.allocations, many.allocations),
            ("index operations", few.operations, many.operations),
        ] {
            let times = many / few;
            println!("  {kind:9} {what:16} {few:7.2} {many:7.2} {times:5.2}");
            assert!(many > 0.0, "{mode}: nothing was counted, {kind}, {what}");
            assert!(
                many <= few * GROWTH,
                "{mode}: {kind}, {what}: {few} and {many}"
            );
        }
    }
    assert!(large[0].allocations <= UNCHANGED, "{mode}: {large:?}");
}

/// Bytes that what `make` returns holds for each of these pods.
fn bytes_a_pod<T>(pods: usize, make: impl FnOnce() -> T) -> usize {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    drop(made);
    (change.bytes_allocated - change.bytes_deallocated) / pods
}

#[test]
fn an_event_costs_the_same_at_a_thousand_pods_and_at_a_hundred_thousand_and_a_pod_takes_less_than_a_kib()
 {
    let _alone = ONE_AT_A_TIME.lock();
    compare("reconcile mode", &cluster::reconcile(), (1_000, 100_000));
    // Fewer: a pod is more than four times the work there.
    compare("crd mode", &cluster::crd(), (1_000, 20_000));
    let made = bytes_a_pod(10_000, || Cluster::at_rest(cluster::reconcile(), 10_000));
    let found = bytes_a_pod(10_000, || memory::restarted(10_000));
    println!("bytes a pod: {made} after its entry was made, {found} after it was found");
    for bytes in [made, found] {
        assert!(bytes <= BYTES_A_POD, "{bytes} bytes a pod");
    }
}

#[test]
fn an_event_costs_the_same_however_many_writes_the_kubernetes_api_has_yet_to_take() {
    let _alone = ONE_AT_A_TIME.lock();
    let identity: Arc<str> = "team/a".into();
    let unchanged = |gone: usize| {
        let mut cluster = Cluster::at_rest(cluster::crd(), 1 + gone);
        cluster.delete_unanswered((1..=gone).map(|n| pod(n, &identity)));
        let status = cluster.machine.status(cluster.now);
        assert_eq!(status.spiffe_ids, NODES + 1 + gone, "none is gone yet");
        assert_eq!(status.entries.1, 1, "all their entries are: {status:?}");
        let event = Event::Applied(Object::Pod(pod(0, &identity)));
        Cost::of(&mut cluster, vec![event]).operations
    };
    let (few, many) = (unchanged(50), unchanged(1_000));
    println!(
        "index operations of an unchanged event: {few} while 50 writes wait, {many} while 1000 do"
    );
    assert!(many <= few * GROWTH, "{few} and {many}");
}
