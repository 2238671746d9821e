//! A machine before a model server, and a cluster of pods on one node.

use std::{collections::BTreeMap, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::Entry,
    policy::Policy,
    ports::SpireCall,
    rules::{Bundles, Decision, PodLookups, decide_pod},
    sync::{CallId, Event, Fact, Reconciler},
    testing::{ModelServer, bound_pod},
};

pub fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.drift_interval = Duration::from_secs(10);
    policy
}

pub fn pod(n: usize) -> PodSnapshot {
    let (name, uid) = (format!("pod-{n:04}"), format!("uid-{n}"));
    bound_pod("ns", &name, &uid, "node-0", "sa")
}

pub fn node() -> NodeSnapshot {
    NodeSnapshot {
        name: "node-0".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    }
}

pub fn entry_of(policy: &Policy, pod: &PodSnapshot) -> Entry {
    let lookups = PodLookups {
        node: None,
        slices: &[],
        bundles: &Bundles::default(),
    };
    match decide_pod(policy, pod, lookups) {
        Decision::Register { entries, .. } => (*entries[0]).clone(),
        other => panic!("{other:?}"),
    }
}

/// A machine, a model server, and a clock.
pub struct Rig {
    pub machine: Reconciler,
    pub server: ModelServer,
    pub now: Duration,
    pub waiting: BTreeMap<CallId, SpireCall>,
    pub facts: Vec<Fact>,
    /// When the machine wants to be woken.
    pub wake_at: Option<Duration>,
    /// Every write, in the order in which it was asked for, and when.
    pub writes: Vec<(Duration, SpireCall)>,
}

impl Rig {
    pub fn new(policy: Policy) -> Self {
        Self {
            machine: Reconciler::new(policy, 1),
            server: ModelServer::default(),
            now: Duration::ZERO,
            waiting: BTreeMap::new(),
            facts: Vec::new(),
            wake_at: None,
            writes: Vec::new(),
        }
    }

    pub fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let step = self.machine.step(self.now, events);
        self.facts.extend(step.facts);
        self.wake_at = step.wake_at;
        for (id, call) in step.calls {
            if call.is_write() {
                self.writes.push((self.now, call.clone()));
            }
            self.waiting.insert(id, call);
        }
    }

    pub fn listed(&mut self, kind: Kind, objects: impl IntoIterator<Item = Object>) {
        let listed = objects.into_iter().map(Event::Listed);
        let events: Vec<Event> = std::iter::once(Event::RelistBegan(kind))
            .chain(listed)
            .chain([Event::RelistDone(kind)])
            .collect();
        self.tell(events);
    }

    /// Answers all calls, as the server would, until nothing is under way.
    pub fn answer_all(&mut self) {
        while let Some((id, call)) = self.waiting.pop_first() {
            let answer = self.server.perform(&call, usize::MAX);
            self.tell([Event::Replied(id, Ok(answer))]);
        }
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(500);
            self.tell([]);
            self.answer_all();
        }
    }

    pub fn start(&mut self, pods: impl IntoIterator<Item = PodSnapshot>) {
        self.tell([Event::Leading(true)]);
        self.listed(Kind::Node, [Object::Node(node())]);
        self.listed(Kind::Pod, pods.into_iter().map(Object::Pod));
        self.answer_all();
    }

    pub fn created(&self) -> Vec<String> {
        self.writes
            .iter()
            .filter_map(|(_, call)| match call {
                SpireCall::Create { entries } => Some(entries),
                _ => None,
            })
            .flatten()
            .flat_map(|(_, e)| e.selectors.iter().map(|s| s.value.to_string()))
            .filter_map(|s| s.strip_prefix("pod-name:").map(str::to_owned))
            .collect()
    }
}
