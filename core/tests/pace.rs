//! How long pods wait for their entries, in a time of its own: the machine against a server that takes as long as SPIRE does
//! (one write after the other, 2.4 ms a create, 1.06 an update, 0.88 a delete, and a millisecond a call). Nothing here depends
//! on the clock or the load of the machine that runs it.

// A test may print what it measured; the core may not.
#![allow(clippy::disallowed_macros)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::{IdentitySource, Policy},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall, SpireReply},
    sync::{CallId, Event, Fact, Reconciler},
};

/// What travelling to the server or back takes.
const WAY: Duration = Duration::from_micros(200);

/// How the server does its work.
#[derive(Debug, Clone, Copy)]
struct Service {
    /// Beyond the items, each call.
    call: Duration,
    /// How many writes may be under way before items fail by deadlocks.
    bears: usize,
}

impl Service {
    /// As it was measured.
    const USUAL: Self = Self {
        call: Duration::from_millis(1),
        bears: usize::MAX,
    };

    fn takes(&self, call: &SpireCall) -> Duration {
        let items = |each: u64, n: usize| Duration::from_micros(each * n as u64);
        self.call
            + match call {
                SpireCall::Create { entries } => items(2_400, entries.len()),
                SpireCall::Update { entries, .. } => items(1_060, entries.len()),
                SpireCall::Delete { ids } => items(880, ids.len()),
                SpireCall::Read { ids } => items(500, ids.len()),
                SpireCall::List { .. } => Duration::from_millis(23),
                SpireCall::Find { .. } | SpireCall::ListBundles => Duration::from_millis(1),
            }
    }
}

/// The machine, the server, and what comes when.
struct Simulation {
    machine: Reconciler,
    service: Service,
    now: Duration,
    /// What comes to the machine, in order.
    coming: BTreeMap<(Duration, u64), Event>,
    count: u64,
    /// Until when the server writes.
    busy_until: Duration,
    /// How long it has written.
    worked: Duration,
    /// Writes under way, and the most there were.
    under_way: BTreeSet<CallId>,
    most_under_way: usize,
    entries: BTreeMap<EntryId, RegisteredEntry>,
    /// Pods whose entry was made, in order, and how long each waited for it.
    made: Vec<(String, Duration)>,
    born: BTreeMap<String, Duration>,
    wake_at: Option<Duration>,
}

impl Simulation {
    fn new(policy: Policy, service: Service) -> Self {
        let mut simulation = Self {
            machine: Reconciler::new(policy, 1),
            service,
            now: Duration::ZERO,
            coming: BTreeMap::new(),
            count: 0,
            busy_until: Duration::ZERO,
            worked: Duration::ZERO,
            under_way: BTreeSet::new(),
            most_under_way: 0,
            entries: BTreeMap::new(),
            made: Vec::new(),
            born: BTreeMap::new(),
            wake_at: None,
        };
        simulation.comes(Duration::ZERO, Event::Leading(true));
        simulation
    }

    fn comes(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.coming.insert((at, self.count), event);
    }

    /// A list that begins now, with this long for each page of 500.
    fn list(&mut self, kind: Kind, objects: Vec<Object>, page: Duration) {
        let begun = self.now;
        self.comes(begun, Event::RelistBegan(kind));
        let mut at = begun;
        for objects in objects.chunks(500) {
            at += page;
            for object in objects {
                if let Object::Pod(pod) = object {
                    self.born.insert(pod.name.to_string(), begun);
                }
                self.comes(at, Event::Listed(object.clone()));
            }
        }
        self.comes(at, Event::RelistDone(kind));
    }

    fn pod_comes(&mut self, at: Duration, pod: PodSnapshot) {
        self.born.insert(pod.name.to_string(), at);
        self.comes(at, Event::Applied(Object::Pod(pod)));
    }

    /// Lets time pass until nothing is to come before then.
    fn run_until(&mut self, end: Duration) {
        loop {
            let event = self.coming.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = event
                .into_iter()
                .chain(self.wake_at)
                .min()
                .filter(|at| *at <= end)
            else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            let later = self.coming.split_off(&(self.now, u64::MAX));
            let events = std::mem::replace(&mut self.coming, later);
            self.step(events.into_values().collect());
        }
    }

    /// Lets time pass until nothing is to do.
    fn settle(&mut self) -> Duration {
        let begun = self.now;
        loop {
            self.run_until(self.now + Duration::from_millis(1));
            if self.coming.is_empty() && self.machine.status(self.now).busy == 0 {
                return self.now - begun;
            }
            assert!(
                self.now - begun < Duration::from_secs(7200),
                "it does not end"
            );
        }
    }

    fn step(&mut self, events: Vec<Event>) {
        for event in &events {
            if let Event::Replied(id, _) = event {
                self.under_way.remove(id);
            }
        }
        let step = self.machine.step(self.now, events);
        self.wake_at = step.wake_at;
        for fact in step.facts {
            if let Fact::Created { subject, .. } = fact {
                let name = self.machine.object_of(&subject);
                let name = name
                    .map(|(key, _)| key.name.to_string())
                    .unwrap_or_default();
                if let Some(born) = self.born.get(&name) {
                    self.made.push((name, self.now - *born));
                }
            }
        }
        for (id, call) in step.calls {
            self.start(id, call);
        }
    }

    fn start(&mut self, id: CallId, call: SpireCall) {
        let takes = self.service.takes(&call);
        let arrives = self.now + WAY;
        let ends = if call.is_write() {
            self.under_way.insert(id);
            self.most_under_way = self.most_under_way.max(self.under_way.len());
            self.worked += takes;
            self.busy_until = self.busy_until.max(arrives) + takes;
            self.busy_until
        } else {
            // Reads do not wait for writes.
            arrives + takes
        };
        let overloaded = self.under_way.len() > self.service.bears;
        let reply = self.perform(call, overloaded);
        self.comes(ends + WAY, Event::Replied(id, reply));
    }

    fn perform(&mut self, call: SpireCall, overloaded: bool) -> SpireReply {
        let deadlock = || {
            let failure = Failure::new(FailureClass::Retry, "database is locked");
            Outcome::Refused(failure)
        };
        let written = |n: usize| Ok(SpireAnswer::Written(vec![Outcome::Ok; n]));
        match call {
            call if overloaded && call.is_write() => {
                let n = match &call {
                    SpireCall::Create { entries } | SpireCall::Update { entries, .. } => {
                        entries.len()
                    }
                    SpireCall::Delete { ids } => ids.len(),
                    _ => 0,
                };
                Ok(SpireAnswer::Written((0..n).map(|_| deadlock()).collect()))
            }
            SpireCall::Create { entries } => {
                for (id, entry) in &entries {
                    let stored = RegisteredEntry::created(id.clone(), entry);
                    assert!(self.entries.insert(id.clone(), stored).is_none(), "twice");
                }
                written(entries.len())
            }
            SpireCall::Update { entries, mask } => {
                for (id, entry) in &entries {
                    self.entries
                        .get_mut(id)
                        .expect("is there")
                        .update(entry, mask);
                }
                written(entries.len())
            }
            SpireCall::Delete { ids } => {
                ids.iter().for_each(|id| drop(self.entries.remove(id)));
                written(ids.len())
            }
            SpireCall::Read { ids } => Ok(SpireAnswer::Read(
                ids.iter()
                    .map(|id| Ok(self.entries.get(id).cloned()))
                    .collect(),
            )),
            SpireCall::List {
                page_token,
                page_size,
            } => {
                let from = page_token.map_or(EntryId::stored(""), |t| EntryId::stored(&t));
                let rest = self.entries.range(from..).map(|(_, e)| e);
                let page: Vec<_> = rest.take(page_size as usize + 1).cloned().collect();
                let next = page.get(page_size as usize).map(|e| e.id.as_str().into());
                let entries = page.into_iter().take(page_size as usize).collect();
                Ok(SpireAnswer::Page {
                    entries,
                    unreadable: 0,
                    next,
                })
            }
            SpireCall::Find { .. } => panic!("nothing is searched for"),
            SpireCall::ListBundles => Ok(SpireAnswer::Bundles(BTreeSet::new())),
        }
    }

    /// How long 99 of 100 of the pods whose name begins so waited at most.
    fn p99(&self, prefix: &str) -> Duration {
        let of = self
            .made
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        percentile(of.map(|(_, waited)| *waited).collect())
    }
}

fn percentile(mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    waits[(waits.len() * 99).div_ceil(100) - 1]
}

/// What pods wait that a bare client creates one by one as they come, each in a call of its own.
fn bare_p99(count: u32, every: Duration) -> Duration {
    let mut busy_until = Duration::ZERO;
    let takes = Service::USUAL.call + Duration::from_micros(2_400);
    percentile(
        (0..count)
            .map(|n| {
                let due = every * n;
                busy_until = busy_until.max(due + WAY) + takes;
                busy_until + WAY - due
            })
            .collect(),
    )
}

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn pod(word: &str, n: usize, identity: &str) -> PodSnapshot {
    PodSnapshot {
        namespace: "ns".into(),
        name: format!("{word}-{n:06}").into(),
        uid: Uid::new(format!("{word}-uid-{n}")),
        node_name: Some(format!("node-{}", n % 100).into()),
        service_account: Some("sa".into()),
        hostname: None,
        labels: Default::default(),
        annotations: [("id".into(), Arc::from(identity))].into(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn pods(count: usize) -> Vec<Object> {
    (0..count)
        .map(|n| Object::Pod(pod("old", n, "a")))
        .collect()
}

fn nodes() -> Vec<Object> {
    (0..100)
        .map(|n| {
            Object::Node(NodeSnapshot {
                name: format!("node-{n}").into(),
                uid: Uid::new(format!("node-uid-{n}")),
                annotations: Default::default(),
            })
        })
        .collect()
}

/// A cluster of so many pods, all with their entries.
fn at_rest(pods: usize) -> Simulation {
    let mut simulation = Simulation::new(policy(), Service::USUAL);
    simulation.list(Kind::Node, nodes(), Duration::from_millis(5));
    simulation.list(Kind::Pod, self::pods(pods), Duration::from_millis(20));
    simulation.settle();
    assert_eq!(simulation.entries.len(), pods + 100);
    simulation
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn at_two_hundred_pods_a_second_a_pod_waits_no_longer_than_beside_a_bare_client() {
    for rate in [20, 200, 280] {
        let mut simulation = at_rest(1_000);
        let every = Duration::from_secs(1) / rate;
        let begun = simulation.now + ms(10);
        for n in 0..rate * 10 {
            simulation.pod_comes(begun + every * n, pod("new", n as usize, "a"));
        }
        simulation.settle();
        let (ours, bare) = (simulation.p99("new"), bare_p99(rate * 10, every));
        println!("{rate} pods a second: p99 {ours:?}, bare {bare:?}");
        assert!(ours <= bare * 3 / 2, "{rate}/s: {ours:?} beside {bare:?}");
    }
}

#[test]
fn a_new_pod_does_not_wait_for_thousands_of_updates_or_deletes() {
    for gone in [false, true] {
        let mut simulation = at_rest(10_000);
        let begun = simulation.now + ms(10);
        for n in 0..10_000 {
            let changed = pod("old", n, "b");
            let event = match gone {
                true => Event::Deleted(Object::Pod(changed.clone()).key(), changed.uid),
                false => Event::Applied(Object::Pod(changed)),
            };
            simulation.comes(begun, event);
        }
        for n in 0..100 {
            simulation.pod_comes(begun + ms(50) * n, pod("new", n as usize, "a"));
        }
        let took = simulation.settle();
        let (p99, quiet) = (simulation.p99("new"), bare_p99(100, ms(50)));
        println!(
            "while 10,000 are {}: p99 {p99:?}, quiet {quiet:?}, all in {took:?}",
            if gone { "deleted" } else { "updated" }
        );
        assert!(p99 <= ms(150), "{p99:?}");
        // And the server was kept busy all the time.
        let least = if gone { ms(8_800) } else { ms(10_600) };
        assert!(took <= least * 11 / 10 + ms(500), "{took:?}");
    }
}

#[test]
fn a_comparison_of_all_entries_does_not_delay_a_new_pod() {
    let mut simulation = at_rest(10_000);
    let interval = simulation.machine.policy().drift_interval;
    let begun = simulation.now;
    // Twice all entries, while pods come.
    let count = 2 * interval.as_secs() as u32;
    for n in 0..count {
        simulation.pod_comes(
            begun + Duration::from_secs(1) * n,
            pod("new", n as usize, "a"),
        );
    }
    simulation.run_until(begun + 2 * interval + ms(1000));
    simulation.settle();
    let p99 = simulation.p99("new");
    assert!(p99 <= ms(6), "{p99:?}");
}

#[test]
fn a_first_sync_keeps_the_server_busy_from_the_first_page_of_pods_on() {
    let mut simulation = Simulation::new(policy(), Service::USUAL);
    simulation.list(Kind::Node, nodes(), ms(5));
    simulation.list(Kind::Pod, pods(1_000), ms(20));
    let took = simulation.settle();
    let share = simulation.worked.as_secs_f64() / took.as_secs_f64();
    println!(
        "1,000 pods: the server worked {:?} of {took:?}",
        simulation.worked
    );
    assert!(share >= 0.97, "{share}");
}

#[test]
fn fewer_calls_are_in_flight_while_the_server_struggles_and_all_again_when_it_does_not() {
    let mut simulation = at_rest(100);
    simulation.service.bears = 1;
    let begun = simulation.now;
    for n in 0..4_000 {
        simulation.pod_comes(begun + ms(5) * n, pod("new", n as usize, "a"));
    }
    // In the first seconds it learns.
    simulation.run_until(begun + ms(3_000));
    simulation.most_under_way = 0;
    simulation.run_until(begun + ms(9_000));
    let struggling = simulation.most_under_way;
    simulation.service.bears = usize::MAX;
    // What failed comes back after its back-off; then as many are in flight as may be.
    simulation.settle();
    for n in 0..2_000 {
        simulation.pod_comes(simulation.now, pod("late", n, "a"));
    }
    simulation.most_under_way = 0;
    simulation.settle();
    let well = simulation.most_under_way;
    println!("in flight: {struggling} while it struggles, {well} when it is well");
    assert!(struggling <= 2 && well == 4, "{struggling}, {well}");
    assert_eq!(
        simulation.entries.len(),
        6_200,
        "and all are there in the end"
    );
}

#[test]
fn a_storm_against_a_slow_server_is_worked_off_in_order() {
    let mut simulation = at_rest(100);
    // Every call takes 50 ms longer.
    simulation.service.call = ms(51);
    let begun = simulation.now;
    for n in 0..5_000 {
        simulation.pod_comes(begun + ms(4) * n, pod("storm", n as usize, "a"));
    }
    simulation.run_until(begun + ms(20_000));
    simulation.settle();
    assert_eq!(simulation.entries.len(), 5_200);
    let made = simulation
        .made
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("storm-"));
    let made: Vec<usize> = made.map(|n| n.parse().expect("a number")).collect();
    let out_of_order = made.iter().enumerate().map(|(at, n)| at.abs_diff(*n)).max();
    println!("farthest from its place: {out_of_order:?}");
    assert!(out_of_order < Some(4 * 200), "{out_of_order:?}");
    for n in 0..5_000 {
        let pod = pod("storm", n, "a");
        let key = ObjectKey::new(Kind::Pod, pod.namespace, pod.name);
        simulation.comes(simulation.now, Event::Deleted(key, pod.uid));
    }
    let took = simulation.settle();
    println!("5,000 deletes: {took:?}");
    assert_eq!(simulation.entries.len(), 200);
    assert!(took < Duration::from_secs(20), "{took:?}");
}
