//! A day of a busy cluster, in a time of its own: pods come, change and go, lists are read again, calls fail, entries are
//! changed behind our back. In the end nothing is left to do, and memory is what it was. `HOURS=240` makes it longer.

// A test may read its length from the environment and print what it counted; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{alloc::System, collections::BTreeMap, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::{IdentitySource, MaxDeletes, Policy},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall, SpireReply},
    sync::{CallId, Event, Reconciler},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PODS: usize = 2_000;
/// What happens in a minute.
const REPLACED: usize = 20;
const CHANGED: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

struct World {
    machine: Reconciler,
    now: Duration,
    entries: BTreeMap<EntryId, RegisteredEntry>,
    /// By the number of their place: which pod of that name it is, and its identity.
    pods: Vec<(usize, usize)>,
    /// Whether calls fail, by turns in each way.
    failing: bool,
    calls: usize,
}

impl World {
    fn new() -> Self {
        let mut policy =
            Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
        policy.pods.identity = IdentitySource::Annotation("id".into());
        policy.max_deletes = MaxDeletes::Percent(100);
        let mut world = Self {
            machine: Reconciler::new(policy, 1),
            now: Duration::ZERO,
            entries: BTreeMap::new(),
            pods: vec![(0, 0); PODS],
            failing: false,
            calls: 0,
        };
        world.step(vec![Event::Leading(true)]);
        world.list();
        world
    }

    fn pod(&self, place: usize) -> PodSnapshot {
        let (life, identity) = self.pods[place];
        PodSnapshot {
            namespace: format!("ns-{}", place % 20).into(),
            name: format!("pod-{place:06}-{life:06}").into(),
            uid: Uid::new(format!("uid-{place:06}-{life:06}")),
            node_name: Some(format!("node-{}", place % 20).into()),
            service_account: Some("sa".into()),
            hostname: None,
            labels: Default::default(),
            annotations: [("id".into(), Arc::from(format!("team/{identity}")))].into(),
            pod_ips: Box::new([]),
            mirror: false,
            terminating: false,
            finished: false,
        }
    }

    fn list(&mut self) {
        let nodes = (0..20).map(|n| {
            Object::Node(NodeSnapshot {
                name: format!("node-{n}").into(),
                uid: Uid::new(format!("node-uid-{n}")),
                annotations: Default::default(),
            })
        });
        let nodes = nodes.collect();
        let pods = (0..PODS).map(|n| Object::Pod(self.pod(n))).collect();
        for (kind, objects) in [(Kind::Node, nodes), (Kind::Pod, pods)] {
            let objects: Vec<Object> = objects;
            let events = std::iter::once(Event::RelistBegan(kind))
                .chain(objects.into_iter().map(Event::Listed))
                .chain([Event::RelistDone(kind)]);
            self.step(events.collect());
        }
    }

    /// One minute, in which pods come, go and change.
    fn minute(&mut self, minute: usize) {
        self.failing = minute % 60 == 17;
        for n in 0..REPLACED {
            let place = (minute * 37 + n * 101) % PODS;
            let old = self.pod(place);
            self.pods[place].0 += 1;
            let new = self.pod(place);
            let key = Object::Pod(old.clone()).key();
            self.step(vec![Event::Deleted(key, old.uid)]);
            self.step(vec![Event::Applied(Object::Pod(new))]);
        }
        for n in 0..CHANGED {
            let place = (minute * 53 + n * 211) % PODS;
            self.pods[place].1 = (self.pods[place].1 + 1) % 7;
            let pod = self.pod(place);
            self.step(vec![Event::Applied(Object::Pod(pod))]);
        }
        if minute.is_multiple_of(45) {
            self.list();
        }
        if minute.is_multiple_of(20) {
            // Somebody else's hand.
            let keys: Vec<EntryId> = self.entries.keys().cloned().collect();
            let one = &keys[minute * 7 % keys.len()];
            self.entries.remove(one);
        }
        for _ in 0..60 {
            self.now += SECOND;
            self.step(Vec::new());
        }
    }

    fn step(&mut self, events: Vec<Event>) {
        let mut events = events;
        loop {
            let step = self.machine.step(self.now, events);
            if step.calls.is_empty() {
                return;
            }
            self.now += Duration::from_millis(1);
            events = step
                .calls
                .into_iter()
                .map(|(id, call)| Event::Replied(id, self.reply(id, call)))
                .collect();
        }
    }

    fn reply(&mut self, _: CallId, call: SpireCall) -> SpireReply {
        self.calls += 1;
        if self.failing && self.calls.is_multiple_of(3) {
            let class = match (call.is_write(), self.calls.is_multiple_of(2)) {
                (true, true) => FailureClass::Unknown,
                _ => FailureClass::Retry,
            };
            if class == FailureClass::Unknown {
                // Done, and the answer lost.
                self.perform(call);
            }
            return Err(Failure::new(class, "lost"));
        }
        Ok(self.perform(call))
    }

    fn perform(&mut self, call: SpireCall) -> SpireAnswer {
        match call {
            SpireCall::Create { entries } => {
                for (id, entry) in &entries {
                    let stored = RegisteredEntry::created(id.clone(), entry);
                    self.entries.insert(id.clone(), stored);
                }
                SpireAnswer::Written(vec![Outcome::Ok; entries.len()])
            }
            SpireCall::Update { entries, mask } => {
                let update = |(id, entry): &(EntryId, Arc<_>)| match self.entries.get_mut(id) {
                    Some(stored) => {
                        stored.update(entry, mask);
                        Outcome::Ok
                    }
                    None => Outcome::NotFound,
                };
                SpireAnswer::Written(entries.iter().map(update).collect())
            }
            SpireCall::Delete { ids } => {
                let gone = |id| match self.entries.remove(id) {
                    Some(_) => Outcome::Ok,
                    None => Outcome::NotFound,
                };
                SpireAnswer::Written(ids.iter().map(gone).collect())
            }
            SpireCall::Read { ids } => {
                let read = |id| Ok(self.entries.get(id).cloned());
                SpireAnswer::Read(ids.iter().map(read).collect())
            }
            SpireCall::List { .. } => SpireAnswer::Page {
                entries: self.entries.values().cloned().collect(),
                unreadable: 0,
                next: None,
            },
            SpireCall::Find { .. } => panic!("nothing is searched for"),
            SpireCall::ListBundles => SpireAnswer::Bundles(Default::default()),
        }
    }

    /// What is wrong at rest.
    fn at_rest(&mut self) {
        self.failing = false;
        for _ in 0..1_200 {
            self.now += SECOND;
            self.step(Vec::new());
        }
        let status = self.machine.status(self.now);
        assert_eq!(
            (status.busy, status.queued, status.in_flight),
            (0, 0, 0),
            "{status:?}"
        );
        assert_eq!(status.entries, (20, PODS));
        assert_eq!(self.entries.len(), PODS + 20);
        assert!(status.held.is_empty() && status.refused == 0 && status.tripped.is_none());
    }
}

// One test: the allocator counts for the whole process.
#[test]
fn after_a_day_nothing_is_left_to_do_and_memory_is_what_it_was() {
    let hours = std::env::var("HOURS").map_or(24, |h| h.parse().expect("a number of hours"));
    let mut world = World::new();
    // Trees that are filled in order have fuller nodes than those of a cluster that lives.
    (0..120).for_each(|minute| world.minute(minute));
    world.at_rest();
    let region = Region::new(ALLOCATOR);
    let calls = world.calls;
    (120..120 + hours * 60).for_each(|minute| world.minute(minute));
    world.at_rest();
    let change = region.change();
    let grown = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    println!(
        "{hours} hours, {} calls: {grown} bytes more than before",
        world.calls - calls
    );
    // Less than one thing that was not forgotten for every replaced pod would leave.
    assert!(grown < (PODS * 16) as i64, "{grown} bytes");
}
