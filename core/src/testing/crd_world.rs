//! A world for the step machine in crd mode: pods and people write SpiffeIDs, a garbage collector and the end of the definition
//! delete them, calls to both servers get lost, and the process is killed between any two writes.

mod calls;
mod changes;
mod history;
mod plan;
mod properties;
mod rest;
mod servers;

pub use history::{CrdAction, CrdDefect};
pub use properties::{CrdProperty, CrdViolation};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Fault, ModelApi, ModelServer, Seen, process, search::in_lines};
use crate::{
    cluster::{
        Kind, Metadata, NodeSnapshot, Object, ObjectKey, PodSnapshot, SpiffeIdSelector,
        SpiffeIdSnapshot, SpiffeIdSpec, Uid,
    },
    entry::{EntryId, RegisteredEntry},
    policy::Policy,
    ports::{KubeCall, KubeReply, ResourceName, SpireCall},
    rules::{Bundles, Decision, Tuple, decide_spiffe_id},
    sync::{CallId, Event, Reconciler},
};

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
    /// What SpiffeIDs ever asked for: such an entry may be inherited by one that asks for another since.
    asked: BTreeSet<(Uid, Tuple)>,
    /// The entries that someone ever wrote into a status.
    forged: BTreeSet<(Uid, EntryId)>,
    /// SpiffeIDs as they were last shown to this process, and those of them whose end was.
    known: BTreeMap<ResourceName, (Uid, Option<Tuple>)>,
    ends: BTreeSet<Uid>,
    /// Whether this process was last told that the definition is on its way out.
    told_of_end: bool,
    /// Of which someone deleted an entry behind the machine's back: it may take another for one too many.
    robbed: BTreeSet<Tuple>,
    /// What occurred.
    pub seen: Seen,
    violations: Vec<CrdViolation>,
    foreign: RegisteredEntry,
    /// Whether the operator's entry is there.
    kept: bool,
    /// Whether the server refuses [`REFUSED`].
    refusing: bool,
    leading: bool,
    /// Whether the breaker tripped, and nobody has confirmed since.
    tripped: bool,
    /// Whether anyone ever confirmed what the breaker held back.
    confirmed: bool,
    defect: Option<CrdDefect>,
    /// Whether the last step left something to look at for the next.
    due: bool,
}

const NAMESPACE: &str = "apps";
const OWN: &str = "spire";
/// The path that the server may refuse.
const REFUSED: &str = "/hand/b";

impl CrdWorld {
    /// A world under a policy of crd mode whose own namespace is `spire`, with an operator's entry on the server.
    pub fn new(policy: Policy, defect: Option<CrdDefect>) -> Self {
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
            machine: process(&policy, 1),
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
            forged: BTreeSet::new(),
            known: BTreeMap::new(),
            ends: BTreeSet::new(),
            told_of_end: false,
            robbed: BTreeSet::new(),
            seen: Seen::default(),
            violations: Vec::new(),
            foreign,
            kept: true,
            refusing: false,
            leading: true,
            tripped: false,
            confirmed: false,
            defect,
            due: false,
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
        let leading = self.leading || self.defect == Some(CrdDefect::LeadsAlways);
        self.step([Event::Leading(leading)]);
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
                    let gone = self.server.remove(id);
                    self.robbed.extend(gone.iter().map(Tuple::stored));
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
            CrdAction::Lead(leading) => {
                self.leading = leading;
                self.seen
                    .count(if leading { "lead taken" } else { "lead lost" });
                if self.defect != Some(CrdDefect::LeadsAlways) {
                    self.step([Event::Leading(leading)]);
                }
            }
            CrdAction::Wait(tenths) => {
                self.now += Duration::from_millis(100) * u32::from(tenths);
                self.step([]);
            }
        }
        if self.due {
            self.step([]);
        }
    }

    /// The entries on the server.
    pub fn entries(&self) -> Vec<RegisteredEntry> {
        self.server.entries().cloned().collect()
    }

    /// Plays a history to its end; what occurred, and every property that did not hold, a line each.
    ///
    /// # Errors
    /// If one did not.
    pub fn play(mut self, history: &[CrdAction]) -> (Seen, Result<(), String>) {
        for action in history {
            self.act(*action);
        }
        let settled = self.settle();
        let mut violations = self.differences();
        violations.extend(settled.err());
        (self.seen, in_lines(&violations))
    }

    /// Ends all faults, lets everything be seen and answered, and waits until all is at rest.
    ///
    /// # Errors
    /// If it does not come to rest.
    pub fn settle(&mut self) -> Result<(), CrdViolation> {
        let never = |what| CrdViolation {
            property: CrdProperty::ItComesToRest,
            what,
        };
        self.act(CrdAction::Definition(true));
        if !self.leading {
            self.act(CrdAction::Lead(true));
        }
        self.spared.clear();
        let interval = self.policy.drift_interval;
        let mut quiet = Duration::ZERO;
        for _ in 0..600 {
            let before = self.server.writes + self.api.writes;
            self.act(CrdAction::Definition(true));
            self.collect();
            self.see(usize::MAX);
            if std::mem::take(&mut self.tripped) {
                self.confirmed = true;
                self.step([Event::ConfirmDeletes(None)]);
            }
            // At most so many calls follow each other without time passing.
            for calls in 0.. {
                if !self.due && self.under_way.is_empty() {
                    break;
                }
                if calls > 2_000 {
                    let storm = format!("a storm of calls: {:#?}", self.under_way);
                    return Err(never(storm));
                }
                if self.due {
                    self.step([]);
                } else {
                    self.answer(0, Fault::None);
                }
            }
            self.see(usize::MAX);
            if self.defect == Some(CrdDefect::WritesAtRest) {
                self.server.writes += 1;
            }
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
        let status = self.machine.status(self.now);
        Err(never(format!("it still writes: {status:#?}")))
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
