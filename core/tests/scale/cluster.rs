//! A cluster of many pods on a hundred nodes, and servers that take everything.

use std::{sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::EntryId,
    policy::{IdentitySource, Policy},
    ports::{KubeCall, Outcome, ResourceName, SpireAnswer, SpireCall},
    sync::{CallId, Event, Reconciler},
    testing::{ModelApi, bound_pod},
};

/// Every node's pods are all of one namespace.
pub const NODES: usize = 100;

/// Identities are what an annotation says.
pub fn by_annotation(mut policy: Policy) -> Policy {
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

pub fn reconcile() -> Policy {
    by_annotation(Policy::reconcile("example.org", "demo", "registrar").expect("legal names"))
}

pub fn crd() -> Policy {
    by_annotation(Policy::crd("example.org", "demo", "spire").expect("legal names"))
}

pub fn node(n: usize) -> NodeSnapshot {
    NodeSnapshot {
        name: format!("node-{n}").into(),
        uid: Uid::new(format!("node-uid-{n}")),
        annotations: Default::default(),
    }
}

pub fn pod(n: usize, identity: &Arc<str>) -> PodSnapshot {
    let (namespace, node) = (format!("ns-{}", n % NODES), format!("node-{}", n % NODES));
    let (name, uid) = (format!("pod-{n:06}"), format!("uid-{n}"));
    let mut pod = bound_pod(&namespace, &name, &uid, &node, "sa");
    pod.annotations.insert("id".into(), identity.clone());
    pod
}

/// A machine, its clock, and the Kubernetes API, which only crd mode writes to.
pub struct Cluster {
    pub machine: Reconciler,
    pub now: Duration,
    api: ModelApi,
}

impl Cluster {
    pub fn new(policy: Policy, nonce: u64) -> Self {
        Self {
            machine: Reconciler::new(policy, nonce),
            now: Duration::ZERO,
            api: ModelApi::serving([]),
        }
    }

    /// At rest with `pods` pods.
    pub fn at_rest(policy: Policy, pods: usize) -> Self {
        let identity: Arc<str> = "team/a".into();
        let kinds = Reconciler::kinds(&policy);
        let mut cluster = Self::new(policy, 1);
        cluster.drive(vec![Event::Leading(true)]);
        if kinds.contains(&Kind::SpiffeId) {
            let listed = cluster.api.list();
            cluster.drive(listed);
        }
        let nodes = (0..NODES).map(|n| Object::Node(node(n)));
        cluster.drive(list(Kind::Node, nodes));
        let listed = (0..pods).map(|n| Object::Pod(pod(n, &identity)));
        cluster.drive(list(Kind::Pod, listed));
        let status = cluster.machine.status(cluster.now);
        assert_eq!((status.busy, status.entries.1), (0, pods), "{status:?}");
        cluster
    }

    /// Pods go, and the Kubernetes API answers no write.
    pub fn delete_unanswered(&mut self, pods: impl Iterator<Item = PodSnapshot>) {
        let mut events = Vec::new();
        for pod in pods {
            let key = Object::Pod(pod.clone()).key();
            let name = ResourceName::new(key.namespace.clone(), key.name.clone());
            self.api.delete(&name);
            events.push(Event::Deleted(key, pod.uid));
        }
        events.append(&mut self.api.changes);
        let mut quiet = 0;
        // A step may be due without an event: the definition is read before a deletion counts.
        while quiet < 2 {
            events = self.step(events, |call| !call.is_write());
            quiet = if events.is_empty() { quiet + 1 } else { 0 };
        }
    }

    /// Steps, and answers every call as servers do that take everything. Returns how many calls there were.
    pub fn drive(&mut self, mut events: Vec<Event>) -> usize {
        let mut calls = 0;
        for event in &events {
            // As the garbage collector does, later.
            if let Event::Deleted(key, _) = event {
                let name = ResourceName::new(key.namespace.clone(), key.name.clone());
                self.api.delete(&name);
            }
        }
        while !events.is_empty() {
            events = self.step(events, |_| true);
            calls += events.len();
            events.append(&mut self.api.changes);
        }
        calls
    }

    /// One step. Returns the answers to its calls; of those to the Kubernetes API only to these.
    fn step(&mut self, events: Vec<Event>, answered: fn(&KubeCall) -> bool) -> Vec<Event> {
        let step = self.machine.step(self.now, events);
        self.now += Duration::from_millis(1);
        let mut replies: Vec<Event> = step.calls.into_iter().map(|(id, c)| reply(id, c)).collect();
        let answered = |(_, call): &(CallId, KubeCall)| answered(call);
        for (id, call) in step.kube_calls.into_iter().filter(answered) {
            replies.push(Event::KubeReplied(id, self.api.perform(&call)));
        }
        replies
    }
}

fn list(kind: Kind, objects: impl Iterator<Item = Object>) -> Vec<Event> {
    std::iter::once(Event::RelistBegan(kind))
        .chain(objects.map(Event::Listed))
        .chain([Event::RelistDone(kind)])
        .collect()
}

pub fn reply(id: CallId, call: SpireCall) -> Event {
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
