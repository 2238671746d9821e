//! A world for the step machine in crd mode: pods and people write SpiffeIDs, a garbage collector and the end of the definition
//! delete them, calls to both servers get lost, and the process is killed between any two writes.

mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Fault, Identity, ModelServer, Seen, api::ModelApi};
use crate::{
    cluster::{
        Kind, Metadata, NODE_UID_LABEL, NodeSnapshot, Object, ObjectKey, PodSnapshot,
        SPIFFE_ID_FINALIZER, SpiffeIdSelector, SpiffeIdSnapshot, SpiffeIdSpec, Uid,
    },
    entry::{EntryId, RegisteredEntry},
    policy::{IdentitySource, Policy},
    ports::{
        Failure, FailureClass, KubeCall, KubeReply, Outcome, ResourceName, SpireAnswer, SpireCall,
    },
    rules::{
        Bundles, Decision, PodLookups, Tuple, decide_node, decide_pod, decide_spiffe_id, spec_of,
    },
    sync::{CallId, Event, Fact, Reconciler},
};

/// One thing that happens in crd mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrdAction {
    /// A pod is made or changed; `again` makes it a new object of the same name.
    Pod {
        /// Which of a few names.
        name: u8,
        /// What it says of its identity.
        identity: Identity,
        /// Whether it is deleted and made again.
        again: bool,
    },
    /// A pod is deleted.
    DeletePod(u8),
    /// The one node is made, or deleted.
    Node(bool),
    /// A person writes a SpiffeID: which of a few names, asking for which of a few things.
    Hand(u8, u8),
    /// A person deletes a SpiffeID: one of their own, or whichever there is.
    Delete(u8),
    /// A tenant writes into a status: the ID of whichever entry.
    Forge(u8, u8),
    /// The garbage collector runs.
    Collect,
    /// The definition is deleted, or installed.
    Definition(bool),
    /// The machine sees this many of the changes that wait.
    See(u8),
    /// The watch of SpiffeIDs begins anew.
    Relist,
    /// One of the calls under way that write to the Kubernetes API is done; its answer comes later than the watch shows it.
    Perform(u8),
    /// One of the calls under way is answered.
    Answer(u8, Fault),
    /// The process is killed and started again; what is under way arrives, or not.
    Kill(bool),
    /// Someone deletes one of our entries on the server.
    Vandal(u8),
    /// The operator makes the entry of their own, or deletes it.
    Operator(bool),
    /// The server refuses for good, or takes again, the second of the things that people ask for.
    Refuse(bool),
    /// Time passes, in tenths of seconds.
    Wait(u8),
}

#[derive(Debug, Clone)]
enum Call {
    Spire(SpireCall),
    Kube(KubeCall),
    /// Done, and on its way back.
    Done(KubeReply),
}

/// The whole of it.
#[derive(Debug)]
pub struct CrdWorld {
    policy: Policy,
    server: ModelServer,
    api: ModelApi,
    machine: Reconciler,
    pods: BTreeMap<u8, PodSnapshot>,
    node: Option<NodeSnapshot>,
    unseen: Vec<Event>,
    under_way: BTreeMap<CallId, Call>,
    now: Duration,
    uids: u64,
    processes: u64,
    /// Entries whose SpiffeID went with the definition.
    spared: Vec<EntryId>,
    /// What people's SpiffeIDs ever asked for: such an entry may be inherited by one that asks for another since.
    asked: BTreeSet<(Uid, Tuple)>,
    /// What occurred.
    pub seen: Seen,
    violations: Vec<String>,
    foreign: RegisteredEntry,
    /// Whether the operator's entry is there.
    kept: bool,
    /// Whether the server refuses [`REFUSED`].
    refusing: bool,
}

const NAMESPACE: &str = "apps";
const OWN: &str = "spire";
/// The path that the server may refuse.
const REFUSED: &str = "/hand/b";

impl CrdWorld {
    /// A world under a policy of crd mode whose own namespace is `spire`, with an operator's entry on the server.
    pub fn new(policy: Policy) -> Self {
        let mut server = ModelServer::default();
        let operators = Self::hand_spec(&policy, 0);
        let resource = bare_resource(operators);
        let Decision::Register { entries, .. } =
            decide_spiffe_id(&policy, &resource, &Bundles::default())
        else {
            unreachable!("the first thing that people ask for is legal")
        };
        let mut entry = (*entries[0]).clone();
        entry.spiffe_id = crate::spiffe::SpiffeId::new(policy.trust_domain.clone(), "/operator")
            .expect("a legal path");
        let foreign = RegisteredEntry::created(EntryId::stored("operator"), &entry);
        server.put(foreign.clone());
        let mut world = Self {
            machine: Reconciler::new(policy.clone(), 1),
            policy,
            server,
            api: ModelApi::default(),
            pods: BTreeMap::new(),
            node: None,
            unseen: Vec::new(),
            under_way: BTreeMap::new(),
            now: Duration::ZERO,
            uids: 0,
            processes: 1,
            spared: Vec::new(),
            asked: BTreeSet::new(),
            seen: Seen::default(),
            violations: Vec::new(),
            foreign,
            kept: true,
            refusing: false,
        };
        world.api.install();
        world.start();
        world
    }

    /// What a person asks for: three legal things, one that is not, and one of another namespace.
    fn hand_spec(policy: &Policy, n: u8) -> SpiffeIdSpec {
        let td = &policy.trust_domain;
        let own = ["a", "b", "c", "d", "e"][usize::from(n) % 5];
        let path = match n % 5 {
            3 => policy.root.path().to_owned(),
            _ => format!("/hand/{own}"),
        };
        SpiffeIdSpec {
            parent_id: format!("spiffe://{td}/parent").into(),
            spiffe_id: format!("spiffe://{td}{path}").into(),
            selector: SpiffeIdSelector {
                namespace: Some(if n % 5 == 4 { "other" } else { NAMESPACE }.into()),
                ..SpiffeIdSelector::default()
            },
            ..SpiffeIdSpec::default()
        }
    }

    fn start(&mut self) {
        self.step([Event::Leading(true)]);
        for kind in [Kind::Pod, Kind::Node] {
            let objects: Vec<Object> = match kind {
                Kind::Pod => self.pods.values().cloned().map(Object::Pod).collect(),
                _ => self.node.iter().cloned().map(Object::Node).collect(),
            };
            let events = std::iter::once(Event::RelistBegan(kind))
                .chain(objects.into_iter().map(Event::Listed))
                .chain([Event::RelistDone(kind)]);
            self.step(events.collect::<Vec<_>>());
        }
        let events = self.api.list();
        self.step(events);
    }

    /// Lets one thing happen.
    pub fn act(&mut self, action: CrdAction) {
        match action {
            CrdAction::Pod {
                name,
                identity,
                again,
            } => self.pod(name, identity, again),
            CrdAction::DeletePod(name) => self.delete_pod(name),
            CrdAction::Node(true) if self.node.is_none() => {
                self.uids += 1;
                let node = NodeSnapshot {
                    name: "node-0".into(),
                    uid: Uid::new(format!("uid-{}", self.uids)),
                    annotations: Metadata::new(),
                };
                self.node = Some(node.clone());
                self.unseen.push(Event::Applied(Object::Node(node)));
            }
            CrdAction::Node(true) => {}
            CrdAction::Node(false) => {
                if let Some(node) = self.node.take() {
                    let key = ObjectKey::new(Kind::Node, "", node.name);
                    self.unseen.push(Event::Deleted(key, node.uid));
                }
            }
            CrdAction::Hand(name, spec) => {
                let name = ResourceName::new(NAMESPACE, format!("hand-{name}"));
                self.api.put(&name, Self::hand_spec(&self.policy, spec));
                if let Some(object) = self.api.objects.get(&name) {
                    let tuple = crate::rules::tuple_of(&self.policy, object);
                    self.asked.extend(tuple.map(|t| (object.uid.clone(), t)));
                }
            }
            CrdAction::Delete(n) => {
                let names: Vec<_> = self.api.objects.keys().cloned().collect();
                if let Some(name) = names.get(usize::from(n) % names.len().max(1)) {
                    self.api.delete(name);
                }
            }
            CrdAction::Forge(which, entry) => self.forge(which, entry),
            CrdAction::Collect => self.collect(),
            CrdAction::Definition(there) => self.define(there),
            CrdAction::See(n) => self.see(usize::from(n)),
            CrdAction::Relist => {
                // What the former watch has not shown is lost.
                self.unseen.retain(|event| match event {
                    Event::Applied(object) | Event::Listed(object) => {
                        object.key().kind != Kind::SpiffeId
                    }
                    Event::Deleted(key, _) => key.kind != Kind::SpiffeId,
                    Event::RelistBegan(kind) | Event::RelistDone(kind) => *kind != Kind::SpiffeId,
                    _ => true,
                });
                let events = self.api.list();
                self.step(events);
            }
            CrdAction::Perform(which) => self.perform(usize::from(which)),
            CrdAction::Answer(which, fault) => self.answer(usize::from(which), fault),
            CrdAction::Kill(arrives) => self.kill(arrives),
            CrdAction::Vandal(n) => {
                let all: Vec<EntryId> = self.server.entries().map(|e| e.id.clone()).collect();
                let id = all.get(usize::from(n) % all.len().max(1));
                if let Some(id) = id.filter(|id| **id != self.foreign.id) {
                    self.server.remove(id);
                }
            }
            CrdAction::Operator(there) => {
                if there && !self.kept {
                    self.server.put(self.foreign.clone());
                } else if !there {
                    self.server.remove(&self.foreign.id);
                }
                self.kept = there;
            }
            CrdAction::Refuse(refusing) => self.refusing = refusing,
            CrdAction::Wait(tenths) => {
                self.now += Duration::from_millis(100) * u32::from(tenths);
                self.step([]);
            }
        }
    }

    fn pod(&mut self, name: u8, identity: Identity, again: bool) {
        if again {
            self.delete_pod(name);
        }
        self.uids += 1;
        let uid = Uid::new(format!("uid-{}", self.uids));
        let pod = self.pods.entry(name).or_insert(PodSnapshot {
            namespace: NAMESPACE.into(),
            name: format!("pod-{name}").into(),
            uid,
            node_name: Some("node-0".into()),
            hostname: None,
            service_account: Some("sa".into()),
            labels: Metadata::new(),
            annotations: Metadata::new(),
            pod_ips: Box::new([]),
            mirror: false,
            terminating: false,
            finished: false,
        });
        let value = match identity {
            Identity::None => None,
            Identity::Legal(n) => Some(format!("team/{n}")),
            Identity::Illegal => Some("a//b".to_owned()),
            Identity::Reserved => Some("spire/x".to_owned()),
        };
        if let IdentitySource::Annotation(key) = &self.policy.pods.identity {
            pod.annotations.remove(key);
            if let Some(value) = value {
                pod.annotations.insert(key.clone(), value.into());
            }
        }
        let pod = pod.clone();
        self.unseen.push(Event::Applied(Object::Pod(pod)));
    }

    fn delete_pod(&mut self, name: u8) {
        if let Some(pod) = self.pods.remove(&name) {
            let key = ObjectKey::new(Kind::Pod, NAMESPACE, pod.name.clone());
            self.unseen.push(Event::Deleted(key, pod.uid));
        }
    }

    fn forge(&mut self, which: u8, entry: u8) {
        let hands: Vec<_> = self
            .api
            .objects
            .keys()
            .filter(|n| n.name.starts_with("hand-"))
            .cloned()
            .collect();
        let ids: Vec<EntryId> = self.server.entries().map(|e| e.id.clone()).collect();
        let name = hands.get(usize::from(which) % hands.len().max(1));
        let id = ids.get(usize::from(entry) % ids.len().max(1));
        if let (Some(name), Some(id)) = (name, id) {
            self.seen.count("status forged");
            self.api.forge_status(name, Some(id.as_str().into()));
        }
    }

    fn collect(&mut self) {
        let uids: Vec<Uid> = self
            .pods
            .values()
            .map(|p| p.uid.clone())
            .chain(self.node.iter().map(|n| n.uid.clone()))
            .collect();
        self.api.collect_garbage(|uid| uids.contains(uid));
    }

    fn define(&mut self, there: bool) {
        if there {
            if self.api.install() {
                self.seen.count("definition installed");
                let events = self.api.list();
                self.unseen.extend(events);
                self.spared.clear();
            }
        } else if self.api.definition.is_some() {
            self.seen.count("definition deleted");
            let living = self.api.objects.values().filter(|o| !o.deleting);
            let prefixes: Vec<String> = living
                .map(|o| self.policy.entry_ids.of_owner(&o.uid))
                .collect();
            let of_living =
                |e: &&RegisteredEntry| prefixes.iter().any(|p| e.id.as_str().starts_with(p));
            let under_way = self.deletes_under_way();
            self.spared = self
                .server
                .entries()
                .filter(of_living)
                .map(|e| e.id.clone())
                .filter(|id| !under_way.contains(id))
                .collect();
            self.api.uninstall();
        }
    }

    fn deletes_under_way(&self) -> Vec<EntryId> {
        self.under_way
            .values()
            .filter_map(|call| match call {
                Call::Spire(SpireCall::Delete { ids }) => Some(ids.clone()),
                _ => None,
            })
            .flatten()
            .collect()
    }

    fn see(&mut self, n: usize) {
        let mut events: Vec<Event> = std::mem::take(&mut self.unseen);
        events.append(&mut self.api.changes);
        self.unseen = events.split_off(n.min(events.len()));
        self.step(events);
    }

    fn kill(&mut self, arrives: bool) {
        self.seen.count("kill");
        for (_, call) in std::mem::take(&mut self.under_way) {
            match call {
                Call::Spire(call) if arrives && call.is_write() => {
                    self.serve(&call);
                }
                Call::Kube(call) if arrives => drop(self.api.perform(&call)),
                _ => {}
            }
        }
        self.processes += 1;
        self.unseen.clear();
        self.machine = Reconciler::new(self.policy.clone(), self.processes);
        self.start();
    }

    fn perform(&mut self, which: usize) {
        let writes = |(id, call): (&CallId, &Call)| match call {
            Call::Kube(call) if call.is_write() => Some((*id, call.clone())),
            _ => None,
        };
        let all: Vec<_> = self.under_way.iter().filter_map(writes).collect();
        if let Some((id, call)) = all.get(which % all.len().max(1)) {
            self.seen.count("done before it is answered");
            let reply = self.api.perform(call);
            self.under_way.insert(*id, Call::Done(reply));
        }
    }

    fn answer(&mut self, which: usize, fault: Fault) {
        let ids: Vec<CallId> = self.under_way.keys().copied().collect();
        let Some(id) = ids.get(which % ids.len().max(1)) else {
            return;
        };
        let Some(call) = self.under_way.remove(id) else {
            return;
        };
        if fault != Fault::None {
            self.seen.count(format!("{fault:?}"));
        }
        let done = matches!(fault, Fault::None | Fault::ReplyLost);
        let lost = match fault {
            Fault::Refused => Failure::new(FailureClass::Retry, "connection refused"),
            _ => Failure::new(FailureClass::Unknown, "deadline exceeded"),
        };
        let event = match call {
            Call::Spire(call) => {
                let reply = done.then(|| self.serve(&call));
                let failed = match call.is_write() {
                    true => lost,
                    false => Failure::new(FailureClass::Retry, "connection lost"),
                };
                let reply = reply.filter(|_| fault == Fault::None).ok_or(failed);
                Event::Replied(*id, reply)
            }
            Call::Kube(call) => {
                let reply = done.then(|| self.api.perform(&call));
                let reply = reply.filter(|_| fault == Fault::None).unwrap_or(Err(lost));
                Event::KubeReplied(*id, reply)
            }
            Call::Done(reply) if fault == Fault::None => Event::KubeReplied(*id, reply),
            Call::Done(_) => {
                let lost = Failure::new(FailureClass::Unknown, "deadline exceeded");
                Event::KubeReplied(*id, Err(lost))
            }
        };
        self.step([event]);
    }

    /// The SPIRE Server performs a call, but for what it refuses.
    fn serve(&mut self, call: &SpireCall) -> SpireAnswer {
        let (SpireCall::Create { entries } | SpireCall::Update { entries, .. }) = call else {
            return self.server.perform(call, usize::MAX);
        };
        let mut outcomes = Vec::new();
        for item in entries {
            if self.refusing && item.1.spiffe_id.path() == REFUSED {
                let failure = Failure::new(FailureClass::Permanent, "refused by the model");
                outcomes.push(Outcome::Refused(failure));
                continue;
            }
            let entries = vec![item.clone()];
            let one = match call {
                SpireCall::Update { mask, .. } => SpireCall::Update {
                    mask: *mask,
                    entries,
                },
                _ => SpireCall::Create { entries },
            };
            if let SpireAnswer::Written(done) = self.server.perform(&one, usize::MAX) {
                outcomes.extend(done);
            }
        }
        SpireAnswer::Written(outcomes)
    }

    /// The entries on the server.
    pub fn entries(&self) -> Vec<RegisteredEntry> {
        self.server.entries().cloned().collect()
    }

    fn is_refused(&self, tuple: &Tuple) -> bool {
        self.refusing && tuple.spiffe_id().path() == REFUSED
    }

    fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        let step = self.machine.step(self.now, events);
        for fact in &step.facts {
            match fact {
                Fact::Held { .. } => self.seen.count("hold"),
                Fact::Deleted { reason, .. } => self.seen.count(format!("deleted: {reason}")),
                Fact::ResourceWritten { operation, .. } => self.seen.count(*operation),
                Fact::Adopted { .. } => self.seen.count("adopted"),
                _ => {}
            }
        }
        for (id, call) in step.calls {
            self.check(&call);
            self.under_way.insert(id, Call::Spire(call));
        }
        for (id, call) in step.kube_calls {
            self.check_kube(&call);
            self.under_way.insert(id, Call::Kube(call));
        }
    }

    fn check(&mut self, call: &SpireCall) {
        let ids = match call {
            SpireCall::Delete { ids } => ids.clone(),
            SpireCall::Update { entries, .. } => entries.iter().map(|(id, _)| id.clone()).collect(),
            _ => return,
        };
        if ids.contains(&self.foreign.id) {
            self.violations
                .push(format!("the operator's entry mentioned: {call:?}"));
        }
        self.check_node(&ids, matches!(call, SpireCall::Delete { .. }));
        if let SpireCall::Delete { ids } = call
            && let Some(id) = ids.iter().find(|id| self.spared.contains(id))
        {
            self.violations.push(format!(
                "{id} deleted, whose SpiffeID went with the definition"
            ));
        }
    }

    /// The last entry of the node stays while the machine knows of pods on it.
    fn check_node(&mut self, ids: &[EntryId], deletes: bool) {
        let of_node = |e: &&RegisteredEntry| e.parent_id == self.policy.server_id();
        let (going, staying): (Vec<_>, Vec<_>) = self
            .server
            .entries()
            .filter(of_node)
            .partition(|e| ids.contains(&e.id));
        let unseen = self.unseen.iter().any(|e| match e {
            Event::Applied(object) => object.key().kind == Kind::Pod,
            Event::Deleted(key, _) => key.kind == Kind::Pod,
            _ => false,
        });
        if deletes && !self.pods.is_empty() && !unseen && !going.is_empty() && staying.is_empty() {
            let violation = format!("{going:?} deleted, and pods are on the node");
            self.violations.push(violation);
        }
    }

    /// A finalizer leaves only after its entry, but for the end of the definition.
    fn check_kube(&mut self, call: &KubeCall) {
        let KubeCall::SetFinalizers {
            name,
            uid,
            finalizers,
            ..
        } = call
        else {
            return;
        };
        // Of one that is gone already nothing leaves: it may have gone with a former definition.
        let there = self.api.objects.get(name).is_some_and(|o| o.uid == *uid);
        let serving = there && self.api.definition.as_ref().is_some_and(|d| !d.terminating);
        let releases = !finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER);
        if !serving || !releases {
            return;
        }
        let made_for = self.policy.entry_ids.of_owner(uid);
        let wanted_by_another = |e: &RegisteredEntry| {
            let tuple = Tuple::stored(e);
            self.asked.iter().any(|(by, t)| by != uid && *t == tuple)
        };
        let left = self
            .server
            .entries()
            // A node's stays while pods are on it.
            .filter(|e| e.parent_id != self.policy.server_id())
            .find(|e| e.id.as_str().starts_with(&made_for) && !wanted_by_another(e));
        if let Some(left) = left {
            self.violations.push(format!(
                "the finalizer of {name:?} leaves before entry {}",
                left.id
            ));
        }
    }

    /// Ends all faults, lets everything be seen and answered, and waits until all is at rest.
    ///
    /// # Errors
    /// If it does not come to rest.
    pub fn settle(&mut self) -> Result<(), String> {
        self.act(CrdAction::Definition(true));
        self.spared.clear();
        let interval = self.policy.drift_interval;
        let mut quiet = Duration::ZERO;
        for _ in 0..600 {
            let before = self.server.writes + self.api.writes;
            self.act(CrdAction::Definition(true));
            self.collect();
            self.see(usize::MAX);
            // At most so many calls follow each other without time passing.
            for calls in 0.. {
                if self.under_way.is_empty() {
                    break;
                }
                if calls > 2_000 {
                    return Err(format!("a storm of calls: {:#?}", self.under_way));
                }
                self.answer(0, Fault::None);
            }
            self.see(usize::MAX);
            let pause = interval / 2;
            quiet = match self.server.writes + self.api.writes == before {
                true => quiet + pause,
                false => Duration::ZERO,
            };
            if quiet > Duration::from_secs(200) {
                return Ok(());
            }
            self.now += pause;
            self.step([]);
        }
        Err(format!(
            "does not come to rest; {:#?}",
            self.machine.status(self.now)
        ))
    }

    /// How the settled world differs from what the rules want.
    pub fn differences(&self) -> Vec<String> {
        let mut differences = self.violations.clone();
        if self.server.get(&self.foreign.id) != Some(&self.foreign).filter(|_| self.kept) {
            differences.push("the operator's entry was touched".into());
        }
        self.compare_objects(&mut differences);
        let mut wanted: BTreeMap<Tuple, &SpiffeIdSnapshot> = BTreeMap::new();
        for object in self.api.objects.values() {
            if object.deleting {
                differences.push(format!("{}/{} is stuck", object.namespace, object.name));
            }
            let Some(tuple) = crate::rules::tuple_of(&self.policy, object) else {
                continue;
            };
            let age = |o: &SpiffeIdSnapshot| (o.created.clone(), o.uid.clone());
            let older = wanted.get(&tuple).is_none_or(|o| age(object) < age(o));
            if older {
                wanted.insert(tuple, object);
            }
        }
        let mut found: BTreeMap<Tuple, &RegisteredEntry> = BTreeMap::new();
        for entry in self.server.entries().filter(|e| e.id != self.foreign.id) {
            if found.insert(Tuple::stored(entry), entry).is_some() {
                differences.push(format!("two entries like {entry:?}"));
            }
        }
        for (tuple, object) in &wanted {
            let named = object.status.entry_id.as_deref();
            let named_foreign = named.is_some_and(|id| {
                let taken = self.server.get(&EntryId::stored(id));
                taken.is_some_and(|e| Tuple::stored(e) != *tuple)
            });
            match found.get(tuple) {
                Some(entry) if named == Some(entry.id.as_str()) => {}
                _ if named_foreign => {}
                _ if self.is_refused(tuple) => {}
                other => differences.push(format!("wanted {object:#?}, found {other:?}")),
            }
        }
        for (tuple, entry) in &found {
            if !wanted.contains_key(tuple) && !self.is_held(entry) && !self.serves_pods_left(entry)
            {
                differences.push(format!("{entry:?} is nobody's"));
            }
        }
        differences
    }

    /// Whether the entry is that of a SpiffeID that became invalid, or whose status was forged: nothing is done about it.
    fn is_held(&self, entry: &RegisteredEntry) -> bool {
        self.api.objects.values().any(|o| {
            let named = o.status.entry_id.as_deref();
            let made_for = self.policy.entry_ids.of_owner(&o.uid);
            // What it asks for it cannot have: it keeps what it had.
            let asks = crate::rules::tuple_of(&self.policy, o);
            let invalid = asks.is_none_or(|tuple| self.is_refused(&tuple));
            let forged = named.is_some_and(|id| id != entry.id.as_str());
            named == Some(entry.id.as_str()) && invalid
                || entry.id.as_str().starts_with(&made_for) && forged
        })
    }

    /// The entry of a node that is gone stays while pods are on it, also where nothing is left to make a SpiffeID from.
    fn serves_pods_left(&self, entry: &RegisteredEntry) -> bool {
        let of_node = entry.parent_id == self.policy.server_id()
            && entry.spiffe_id.is_under(&self.policy.root);
        of_node && self.node.is_none() && !self.pods.is_empty()
    }

    fn compare_objects(&self, differences: &mut Vec<String>) {
        let bundles = Bundles::default();
        let mut check = |name: ResourceName, uid: &Uid, decision: Decision| {
            let there = self.api.objects.get(&name);
            let ours = there.filter(|o| o.controller.as_ref().is_some_and(|c| c.uid == *uid));
            match decision {
                Decision::Register { entries, .. } => {
                    let spec = spec_of(&entries[0]);
                    let right = ours.is_some_and(|o| o.spec.as_deref() == Ok(&spec));
                    if !right {
                        differences.push(format!("{name:?}: wanted {spec:#?}, found {there:#?}"));
                    }
                }
                Decision::Skip(_) if ours.is_some() => {
                    differences.push(format!("{name:?} is there and should not be"));
                }
                _ => {}
            }
        };
        for pod in self.pods.values() {
            let lookups = PodLookups {
                node: self.node.as_ref(),
                slices: &[],
                bundles: &bundles,
            };
            let name = ResourceName::new(NAMESPACE, pod.name.clone());
            check(name, &pod.uid, decide_pod(&self.policy, pod, lookups));
        }
        if let Some(node) = &self.node {
            let name = ResourceName::new(OWN, node.name.clone());
            check(name, &node.uid, decide_node(&self.policy, node, &bundles));
        } else if self.pods.is_empty() {
            let of_node = |o: &&SpiffeIdSnapshot| o.labels.contains_key(NODE_UID_LABEL);
            if let Some(left) = self.api.objects.values().find(of_node) {
                differences.push(format!("{left:#?} is left, and nobody needs it"));
            }
        }
    }
}

fn bare_resource(spec: SpiffeIdSpec) -> SpiffeIdSnapshot {
    SpiffeIdSnapshot {
        namespace: NAMESPACE.into(),
        name: "operator".into(),
        uid: Uid::new("none"),
        resource_version: "0".into(),
        generation: 0,
        created: "".into(),
        deleting: false,
        finalizers: Arc::new([]),
        controller: None,
        labels: Metadata::new(),
        applied: None,
        service_names: Default::default(),
        spec: Ok(Arc::new(spec)),
        status: Default::default(),
    }
}
