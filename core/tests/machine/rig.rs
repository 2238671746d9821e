//! A machine before a model server, and a cluster of pods on one node.

use std::{collections::BTreeMap, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::Entry,
    policy::Policy,
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
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

/// The same, with the identity that its annotation asks for.
pub fn named(n: usize, id: &str) -> PodSnapshot {
    let mut pod = pod(n);
    pod.annotations.insert("id".into(), id.into());
    pod
}

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
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

/// How many items a call carries.
pub fn size(call: &SpireCall) -> usize {
    match call {
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => entries.len(),
        SpireCall::Delete { ids } | SpireCall::Read { ids } => ids.len(),
        SpireCall::List { .. } | SpireCall::Find { .. } | SpireCall::ListBundles => 0,
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

    /// How large the writes under way are, the oldest first.
    pub fn sizes(&self) -> Vec<usize> {
        let writes = self.waiting.values().filter(|call| call.is_write());
        writes.map(size).collect()
    }

    /// The oldest call of this kind that is under way, which is then no longer.
    pub fn take(&mut self, is: impl Fn(&SpireCall) -> bool) -> (CallId, SpireCall) {
        let found = self.waiting.iter().find(|(_, call)| is(call));
        let id = found.map(|(id, _)| *id);
        let id = id.unwrap_or_else(|| panic!("none such: {:?}", self.waiting));
        let call = self.waiting.remove(&id).expect("just found");
        (id, call)
    }

    /// Lets the oldest write take so long, and be done. Returns how many items it had.
    pub fn answer_after(&mut self, took: Duration) -> usize {
        let (id, call) = self.take(SpireCall::is_write);
        self.now += took;
        let answer = self.server.perform(&call, usize::MAX);
        self.tell([Event::Replied(id, Ok(answer))]);
        size(&call)
    }

    /// Lets the oldest write fail as a whole, without being done.
    pub fn fail(&mut self, class: FailureClass) {
        let (id, _) = self.take(SpireCall::is_write);
        let failure = Failure::new(class, "it failed");
        self.tell([Event::Replied(id, Err(failure))]);
    }

    /// Lets every item of the oldest write be refused.
    pub fn refuse(&mut self, class: FailureClass, why: &str) {
        let (id, call) = self.take(SpireCall::is_write);
        let refused = Outcome::Refused(Failure::new(class, why));
        let outcomes = vec![refused; size(&call)];
        self.tell([Event::Replied(id, Ok(SpireAnswer::Written(outcomes)))]);
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(500);
            self.tell([]);
            self.answer_all();
        }
    }

    /// Lets time pass; it steps only when it asked for that, and is answered at once.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            assert!(at > self.now, "it wants to be woken at once: {at:?}");
            self.now = at;
            self.tell([]);
            self.answer_all();
        }
        self.now = end;
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
