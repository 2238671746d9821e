//! Events for a machine at rest, at different numbers of pods.

use std::{sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    policy::{IdentitySource, Policy},
    ports::{Outcome, SpireAnswer, SpireCall},
    sync::{CallId, Event, Reconciler},
};

/// Nodes, and namespaces.
const NODES: usize = 100;

/// How many events of a kind are counted together: what one costs depends on where it falls in a tree.
pub const EVENTS: usize = 100;

/// Reconcile mode, where an annotation says the identity.
pub fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

/// One of the pods, and its identity.
pub fn pod(n: usize, identity: &Arc<str>) -> PodSnapshot {
    PodSnapshot {
        namespace: format!("ns-{}", n % NODES).into(),
        name: format!("workload-{}-7d9c5b8f6d-{n:07}", n % 500).into(),
        uid: Uid::new(format!("{n:08x}-0000-4000-8000-{n:012x}")),
        node_name: Some(format!("node-{}", n % NODES).into()),
        service_account: Some("account".into()),
        hostname: None,
        labels: Default::default(),
        annotations: [("id".into(), identity.clone())].into(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

/// A machine at rest, and events that it has yet to hear of.
#[derive(Debug)]
pub struct Case {
    machine: Reconciler,
    now: Duration,
    events: Vec<Event>,
    calls: usize,
}

impl Case {
    fn at_rest(pods: usize) -> Box<Self> {
        let mut case = Box::new(Self {
            machine: Reconciler::new(policy(), 1),
            now: Duration::ZERO,
            events: Vec::new(),
            calls: 0,
        });
        case.drive(vec![Event::Leading(true)]);
        let node = |n: usize| {
            Object::Node(NodeSnapshot {
                name: format!("node-{n}").into(),
                uid: Uid::new(format!("node-uid-{n}")),
                annotations: Default::default(),
            })
        };
        case.drive(list(Kind::Node, (0..NODES).map(node)));
        let identity = before();
        let pods_listed = (0..pods).map(|n| Object::Pod(pod(n, &identity)));
        case.drive(list(Kind::Pod, pods_listed));
        let status = case.machine.status(case.now);
        assert_eq!((status.busy, status.entries.1), (0, pods), "{status:?}");
        case.calls = 0;
        case
    }

    fn with(pods: usize, event: impl Fn(usize) -> Event) -> Box<Self> {
        let mut case = Self::at_rest(pods);
        case.events = (0..EVENTS).map(event).collect();
        case
    }

    /// Pods that are as they were.
    pub fn unchanged(pods: usize) -> Box<Self> {
        let identity = before();
        Self::with(pods, |n| applied(pod(n * pods / EVENTS, &identity)))
    }

    /// Pods whose annotation asks for another identity.
    pub fn changed(pods: usize) -> Box<Self> {
        let identity = "team/b".into();
        Self::with(pods, |n| applied(pod(n * pods / EVENTS, &identity)))
    }

    /// Pods that were not there.
    pub fn new(pods: usize) -> Box<Self> {
        let identity = before();
        Self::with(pods, |n| applied(pod(pods + n, &identity)))
    }

    /// Pods that are gone.
    pub fn deleted(pods: usize) -> Box<Self> {
        let identity = before();
        Self::with(pods, |n| {
            let pod = pod(n * pods / EVENTS, &identity);
            let uid = pod.uid.clone();
            Event::Deleted(Object::Pod(pod).key(), uid)
        })
    }

    /// One event after the other, each until the machine is at rest again.
    pub fn run(mut self: Box<Self>) -> Box<Self> {
        for event in std::mem::take(&mut self.events) {
            self.drive(vec![event]);
        }
        self
    }

    /// How many calls were made meanwhile.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Steps, and answers every call as a server does that takes everything.
    fn drive(&mut self, mut events: Vec<Event>) {
        while !events.is_empty() {
            let step = self.machine.step(self.now, events);
            self.now += Duration::from_millis(1);
            self.calls += step.calls.len();
            events = step.calls.into_iter().map(|(id, c)| reply(id, c)).collect();
        }
    }
}

fn before() -> Arc<str> {
    "team/a".into()
}

fn applied(pod: PodSnapshot) -> Event {
    Event::Applied(Object::Pod(pod))
}

fn list(kind: Kind, objects: impl Iterator<Item = Object>) -> Vec<Event> {
    std::iter::once(Event::RelistBegan(kind))
        .chain(objects.map(Event::Listed))
        .chain([Event::RelistDone(kind)])
        .collect()
}

fn reply(id: CallId, call: SpireCall) -> Event {
    let written = |n: usize| SpireAnswer::Written(vec![Outcome::Ok; n]);
    let answer = match call {
        SpireCall::List { .. } => SpireAnswer::Page {
            entries: Vec::new(),
            unreadable: 0,
            next: None,
        },
        SpireCall::ListBundles => SpireAnswer::Bundles(Default::default()),
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => written(entries.len()),
        SpireCall::Delete { ids } => written(ids.len()),
        other => panic!("nobody should ask {other:?}"),
    };
    Event::Replied(id, Ok(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_changes_nothing_writes_nothing_and_each_other_is_one_write() {
        let calls = |case: Box<Case>| case.run().calls();
        assert_eq!(calls(Case::unchanged(1000)), 0);
        assert_eq!(calls(Case::changed(1000)), EVENTS);
        assert_eq!(calls(Case::new(1000)), EVENTS);
        assert_eq!(calls(Case::deleted(1000)), EVENTS);
    }
}
