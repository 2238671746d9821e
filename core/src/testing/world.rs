//! A world for the step machine: a cluster, a model server, a network that loses requests and replies, a meddling third
//! party, restarts, and a lease that comes and goes. A history is a list of [`Action`]s; [`World::settle`] ends all faults.

mod calls;
mod history;
mod meddling;
mod plan;
mod properties;
mod reviews;

pub use history::{Action, Defect, Fault, Identity, Seen};
pub use properties::{Property, Violation};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{ModelServer, process, search::in_lines};
use crate::{
    cluster::{Kind, Metadata, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{FEDERATES_WITH, IdentitySource, NodePolicy, Policy},
    ports::SpireCall,
    rules::{Decision, Ownership, Subject, classify},
    spiffe::{SpiffeId, TrustDomain},
    sync::{CallId, Event, Reconciler, ReviewId},
};

/// The whole of it.
#[derive(Debug)]
pub struct World {
    /// The rules in force.
    pub policy: Policy,
    /// The server, as it really is.
    pub server: ModelServer,
    machine: Reconciler,
    pods: BTreeMap<u8, PodSnapshot>,
    nodes: BTreeMap<u8, NodeSnapshot>,
    /// Changes that the machine has not seen yet.
    unseen: Vec<Event>,
    under_way: BTreeMap<CallId, SpireCall>,
    late: Vec<SpireCall>,
    /// Reviews that are owed an answer.
    reviews: BTreeMap<ReviewId, PodSnapshot>,
    /// Of these, those during which someone meddled: an entry may be changed between its acknowledgement and the grant.
    meddled: BTreeSet<ReviewId>,
    /// Pods that this process was shown.
    shown: BTreeSet<Uid>,
    /// Pods that came and went.
    ended: BTreeSet<Uid>,
    now: Duration,
    uids: u64,
    processes: u64,
    leading: bool,
    defect: Option<Defect>,
    /// What occurred.
    pub seen: Seen,
    /// What must not have occurred.
    pub violations: Vec<Violation>,
    foreign: Vec<RegisteredEntry>,
    /// Whether this process was given a whole list of every kind.
    listed: bool,
    /// For which pod each entry of ours was last written, if that pod was living then.
    made_for: BTreeMap<EntryId, Uid>,
    /// Entries that were written without a word to the machine, which has not read them since.
    untold: BTreeSet<EntryId>,
    /// For which pod the last write of each was sent, if that pod was living then, and known to the machine.
    meant_for: BTreeMap<EntryId, Option<Uid>>,
    /// Whether the breaker tripped, and nobody has confirmed since.
    tripped: bool,
    /// Whether the last step left something to look at for the next.
    due: bool,
}

const NAMESPACE: &str = "ns";
const ILLEGAL: &str = "a//b";
const FEDERATED: [&str; 2] = ["one.test", "two.test"];

impl World {
    /// A world under this policy, with foreign entries on the server: an operator's own on a node alias, one under another
    /// cluster's root, one with a pod's selectors under another parent.
    pub fn new(policy: Policy, defect: Option<Defect>) -> Self {
        let mut world = Self {
            machine: process(&policy, 1),
            policy,
            server: ModelServer::default(),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            unseen: Vec::new(),
            under_way: BTreeMap::new(),
            late: Vec::new(),
            reviews: BTreeMap::new(),
            meddled: BTreeSet::new(),
            shown: BTreeSet::new(),
            ended: BTreeSet::new(),
            now: Duration::ZERO,
            uids: 0,
            processes: 1,
            leading: true,
            defect,
            seen: Seen::default(),
            violations: Vec::new(),
            foreign: Vec::new(),
            listed: false,
            made_for: BTreeMap::new(),
            untold: BTreeSet::new(),
            meant_for: BTreeMap::new(),
            tripped: false,
            due: false,
        };
        world.add_foreign();
        world.start();
        world
    }

    fn id(&self, path: &str) -> SpiffeId {
        SpiffeId::new(self.policy.trust_domain.clone(), path).expect("a legal path")
    }

    fn add_foreign(&mut self) {
        let root = self.policy.root.path().to_owned();
        let selectors =
            |list: &[&str]| Selectors::new(list.iter().map(|s| Selector::new("k8s", *s)));
        for (id, parent, list) in [
            (
                "operator",
                format!("{root}/node-0"),
                &["container-name:x"][..],
            ),
            (
                "other-root",
                format!("{root}s/node-0"),
                &["ns:ns", "pod-name:pod-0"][..],
            ),
            (
                "by-hand",
                "/somewhere".to_owned(),
                &["ns:ns", "pod-name:pod-0"][..],
            ),
        ] {
            let entry = Entry::new(self.id("/by/hand"), self.id(&parent), selectors(list));
            let stored = RegisteredEntry::created(EntryId::stored(id), &entry);
            self.server.put(stored.clone());
            self.foreign.push(stored);
        }
    }

    fn start(&mut self) {
        let leading = self.leading || self.defect == Some(Defect::LeadsAlways);
        self.step([Event::Leading(leading)]);
        if self.is_reviewed() {
            self.step([Event::Answering]);
        }
        self.listed = false;
        if self.defect == Some(Defect::BelievesEmptyLists) {
            for kind in Reconciler::kinds(&self.policy) {
                self.step([Event::RelistBegan(kind), Event::RelistDone(kind)]);
            }
            return;
        }
        self.list(true, false);
        self.list(false, false);
    }

    /// Whether pods are reviewed before they come to be.
    fn is_reviewed(&self) -> bool {
        self.policy.nodes == NodePolicy::OneForAll
    }

    fn pod_object(&mut self, name: u8, new: bool) -> PodSnapshot {
        if let Some(pod) = self.pods.get(&name).filter(|_| !new) {
            return pod.clone();
        }
        self.uids += 1;
        PodSnapshot {
            namespace: NAMESPACE.into(),
            name: format!("pod-{name}").into(),
            uid: Uid::new(format!("uid-{}", self.uids)),
            node_name: None,
            hostname: None,
            service_account: Some("sa".into()),
            labels: Metadata::new(),
            annotations: Metadata::new(),
            pod_ips: Box::new([]),
            mirror: false,
            terminating: false,
            finished: false,
        }
    }

    /// Lets one thing happen.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Pod {
                name,
                node,
                identity,
                federates,
                again,
            } => {
                let old = self.pods.get(&name).cloned();
                if let Some(old) = old.as_ref().filter(|_| again) {
                    let key = ObjectKey::new(Kind::Pod, NAMESPACE, old.name.clone());
                    self.ended.insert(old.uid.clone());
                    self.unseen.push(Event::Deleted(key, old.uid.clone()));
                    self.seen.count("pod made again");
                }
                let is_new = again || !self.pods.contains_key(&name);
                let mut pod = self.pod_object(name, again);
                // A pod is bound once.
                pod.node_name = pod
                    .node_name
                    .or_else(|| node.map(|n| Arc::from(format!("node-{n}"))));
                pod.annotations = self.annotations(identity, federates);
                if is_new && self.is_reviewed() {
                    self.pods.remove(&name);
                    self.review(pod.clone());
                }
                self.pods.insert(name, pod.clone());
                self.unseen.push(Event::Applied(Object::Pod(pod)));
            }
            Action::RefusedPod {
                name,
                identity,
                federates,
            } => {
                if self.is_reviewed() {
                    let mut pod = self.pod_object(name, true);
                    pod.annotations = self.annotations(identity, federates);
                    self.review(pod);
                }
            }
            Action::DeletePod(name) => {
                if let Some(pod) = self.pods.remove(&name) {
                    let key = ObjectKey::new(Kind::Pod, NAMESPACE, pod.name.clone());
                    self.ended.insert(pod.uid.clone());
                    self.unseen.push(Event::Deleted(key, pod.uid));
                }
            }
            Action::Node(n) => {
                self.uids += 1;
                let uid = Uid::new(format!("uid-{}", self.uids));
                let node = self.nodes.entry(n).or_insert(NodeSnapshot {
                    name: format!("node-{n}").into(),
                    uid,
                    annotations: Metadata::new(),
                });
                self.unseen.push(Event::Applied(Object::Node(node.clone())));
            }
            Action::DeleteNode(n) => {
                if let Some(node) = self.nodes.remove(&n) {
                    let key = ObjectKey::new(Kind::Node, "", node.name.clone());
                    self.unseen.push(Event::Deleted(key, node.uid));
                }
            }
            Action::See(n) => self.see(usize::from(n)),
            Action::Relist { pods, cut } => {
                self.seen.count(if cut { "list cut short" } else { "list" });
                self.list(pods, cut);
            }
            Action::Answer(which, fault) => self.answer(usize::from(which), fault),
            Action::Vandal(_) | Action::Forger(_) | Action::Copyist(_) => self.meddle(action),
            Action::Bundle(n, there) => {
                let td = federated(n);
                if there {
                    self.server.bundles.insert(td);
                } else {
                    self.server.dissociate(&td);
                }
            }
            Action::Restart => self.restart(),
            Action::Lead(leading) => {
                self.leading = leading;
                self.seen
                    .count(if leading { "lead taken" } else { "lead lost" });
                if self.defect != Some(Defect::LeadsAlways) {
                    self.step([Event::Leading(leading)]);
                }
            }
            Action::Wait(tenths) => {
                self.now += Duration::from_millis(100) * u32::from(tenths);
                self.step([]);
            }
        }
        if self.due {
            self.step([]);
        }
    }

    fn annotations(&self, identity: Identity, federates: Option<u8>) -> Metadata {
        let mut annotations = Metadata::new();
        let value = match identity {
            Identity::None => None,
            Identity::Legal(n) => Some(format!("team/{n}")),
            Identity::Illegal => Some(ILLEGAL.to_owned()),
            Identity::Reserved => Some(format!("{}/node-0", self.policy.root.path())),
        };
        if let (Some(value), IdentitySource::Annotation(key)) = (value, &self.policy.pods.identity)
        {
            annotations.insert(key.clone(), value.into());
        }
        if let Some(n) = federates {
            annotations.insert(FEDERATES_WITH.into(), federated(n).to_string().into());
        }
        annotations
    }

    /// Plays a history to its end; what occurred, and every property that did not hold, a line each.
    ///
    /// # Errors
    /// If one did not.
    pub fn play(mut self, history: &[Action]) -> (Seen, Result<(), String>) {
        for action in history {
            self.act(*action);
        }
        let settled = self.settle();
        let mut violations = self.differences();
        violations.extend(settled.err());
        (self.seen, in_lines(&violations))
    }

    /// Ends all faults, lets everything be seen and answered, and waits; fails if nothing comes to rest.
    ///
    /// # Errors
    /// If the machine still writes after a bounded number of steps.
    pub fn settle(&mut self) -> Result<(), Violation> {
        if !self.listed {
            self.list(true, false);
            self.list(false, false);
        }
        if !self.leading {
            self.act(Action::Lead(true));
        }
        let interval = self.policy.drift_interval;
        let mut quiet = Duration::ZERO;
        for _ in 0..20_000 {
            self.see(usize::MAX);
            let before = self.server.writes;
            if std::mem::take(&mut self.tripped) {
                self.step([Event::ConfirmDeletes(None)]);
            }
            while self.due || !self.under_way.is_empty() {
                if self.due {
                    self.step([]);
                } else {
                    self.answer(0, Fault::None);
                }
            }
            if self.defect == Some(Defect::WritesAtRest) {
                self.server.writes += 1;
            }
            // Long enough for back-offs to end and for two full comparisons.
            let pause = interval / 10;
            quiet = if self.server.writes == before {
                quiet + pause
            } else {
                Duration::ZERO
            };
            if quiet > 4 * interval {
                return Ok(());
            }
            self.now += pause;
            self.step([]);
        }
        let status = self.machine.status(self.now);
        Err(Violation {
            property: Property::ItComesToRest,
            what: format!("it still writes: {status:#?}"),
        })
    }

    /// The entries of a subject on the server.
    pub fn entries_of(&self, subject: &Subject) -> Vec<RegisteredEntry> {
        let ours =
            |e: &RegisteredEntry| classify(&self.policy, e) == Ownership::Ours(subject.clone());
        self.server.entries().filter(|e| ours(e)).cloned().collect()
    }

    /// Where the machine stands.
    pub fn machine(&self) -> &Reconciler {
        &self.machine
    }

    /// Tells the machine something directly.
    pub fn tell(&mut self, event: Event) {
        self.step([event]);
    }
}

fn federated(n: u8) -> TrustDomain {
    let name = FEDERATED[usize::from(n) % FEDERATED.len()];
    TrustDomain::new(name).expect("a legal name")
}

fn wanted_of(decision: Decision) -> Option<Arc<Entry>> {
    match decision {
        Decision::Register { entries, .. } => entries.into_iter().next(),
        Decision::Skip(_) | Decision::Invalid(_) => None,
    }
}

fn ids_of(call: &SpireCall) -> Vec<EntryId> {
    match call {
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => {
            entries.iter().map(|(id, _)| id.clone()).collect()
        }
        SpireCall::Delete { ids } => ids.clone(),
        _ => Vec::new(),
    }
}
