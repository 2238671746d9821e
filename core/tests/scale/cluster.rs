//! A cluster of many pods on a hundred nodes, and servers that take everything.

use std::{sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::EntryId,
    policy::{IdentitySource, Policy},
    ports::{Outcome, ResourceName, SpireAnswer, SpireCall},
    sync::{CallId, Event, Reconciler},
    testing::ModelApi,
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
    PodSnapshot {
        namespace: format!("ns-{}", n % NODES).into(),
        name: format!("pod-{n:06}").into(),
        uid: Uid::new(format!("uid-{n}")),
        node_name: Some(format!("node-{}", n % NODES).into()),
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
        loop {
            let step = self.machine.step(self.now, events);
            self.now += Duration::from_millis(1);
            calls += step.calls.len() + step.kube_calls.len();
            events = step.calls.into_iter().map(|(id, c)| reply(id, c)).collect();
            for (id, call) in step.kube_calls {
                events.push(Event::KubeReplied(id, self.api.perform(&call)));
            }
            events.append(&mut self.api.changes);
            if events.is_empty() {
                return calls;
            }
        }
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
