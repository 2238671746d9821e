//! Looking before leaping where SpiffeIDs stand between objects and entries: the machine itself acts, on models of the two
//! servers, and what has changed on them in the end is the plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    DeleteReason, Event, Fact, Now, Reconciler,
    preview::{Conflict, Plan, Planned, Preview, Removal, Update, Verdict},
    resources::{resource_of, subject_of},
};
use crate::{
    cluster::{Kind, NODE_UID_LABEL, ObjectKey, SpiffeIdSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry},
    model::{ModelApi, ModelServer},
    policy::MaxDeletes,
    ports::ResourceName,
    rules::{Problem, Subject, Tuple},
};

/// After this long without a write there is nothing more to do: longer than anything waits on purpose.
const QUIET: Duration = Duration::from_secs(90);
/// No rehearsal lasts longer, in its own time.
const LONGEST: Duration = Duration::from_secs(1800);
/// How often all entries are compared meanwhile.
const COMPARED: Duration = Duration::from_secs(30);

/// What becomes of a SpiffeID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceChange {
    /// It is made for a pod or a node.
    Create,
    /// What the registrar applies to it changes, or it gets its finalizer.
    Update,
    /// It goes.
    Delete,
}

impl ResourceChange {
    /// A short stable word.
    pub fn word(self) -> &'static str {
        match self {
            ResourceChange::Create => "create",
            ResourceChange::Update => "update",
            ResourceChange::Delete => "delete",
        }
    }
}

/// The SpiffeID of a pod or a node, and what would be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePreview {
    /// Which it is, or would be.
    pub name: ResourceName,
    /// As it is.
    pub there: Option<SpiffeIdSnapshot>,
    /// The next write to it ([`crate::ports::KubeCall::word`]); `None` if it is as it should be.
    pub next: Option<&'static str>,
    /// Why none is written although one is wanted.
    pub problem: Option<Problem>,
    /// What it asks for and has on the server.
    pub entry: Option<Preview>,
}

impl Reconciler {
    /// In crd mode: the SpiffeID of a pod or a node, by what the machine knows now. `None` in other modes.
    ///
    /// The machine is of no further use than to be asked: what it staged is dropped.
    pub fn preview_resource(&mut self, subject: &Subject) -> Option<ResourcePreview> {
        let name = self.resource_for(subject)?;
        let there = self.observed.resources.get(&name).cloned();
        self.converge_object(subject, &name, Now::ZERO);
        let next = self.kube.take_staged().pop();
        let problem = self.held.get(subject).cloned();
        let entry = there.as_ref().map(|resource| {
            let subject = subject_of(&name);
            self.claim(&subject, &name, resource);
            self.preview(&subject)
        });
        Some(ResourcePreview {
            name,
            there,
            next,
            problem,
            entry,
        })
    }

    /// What the machine would do in crd mode, by all that it was fed with. `entries` are all entries of the server.
    ///
    /// Every kind must have been listed. The machine leads from now on, and its calls are performed on models: so the plan
    /// is what it does, not what somebody thinks that it does.
    pub fn rehearse(mut self, entries: Vec<RegisteredEntry>) -> Plan {
        let limit = self.policy.max_deletes.limit(self.mirror.len());
        self.policy.max_deletes = MaxDeletes::Percent(100);
        self.policy.dry_run = false;
        self.policy.drift_interval = COMPARED;
        let mut server = ModelServer::default();
        server.any_bundle = self.bundles.known.is_none();
        server.bundles = self.bundles.known.clone().unwrap_or_default();
        for entry in &entries {
            server.put(entry.clone());
        }
        let resources: Vec<SpiffeIdSnapshot> = self.observed.resources.iter().cloned().collect();
        let mut api = ModelApi::serving(resources.iter().cloned());
        let facts = self.act_out(&mut server, &mut api);

        let before: BTreeMap<&EntryId, &RegisteredEntry> =
            entries.iter().map(|e| (&e.id, e)).collect();
        let mut plan = self.outcome(&server);
        self.find_changes(&mut plan, &before, &server, &facts);
        plan.resources = changes_of_resources(&resources, &api);
        let unproven = plan.delete.iter().filter(|(_, r)| !r.reason.is_proven());
        let unproven = unproven.count();
        plan.breaker = (unproven > limit).then_some((unproven, limit));
        plan.sort();
        plan
    }

    /// Acts until nothing is left to do. Returns what happened.
    fn act_out(&mut self, server: &mut ModelServer, api: &mut ModelApi) -> Vec<Fact> {
        let living: BTreeSet<Uid> = self.living_objects();
        let mut facts = Vec::new();
        let mut events = vec![Event::Leading(true)];
        let mut now = Now::ZERO;
        let mut last_write = now;
        loop {
            let step = self.step(now, std::mem::take(&mut events));
            facts.extend(step.facts);
            let writes = server.writes + api.writes;
            for (id, call) in step.calls {
                let reply = Ok(server.perform(&call, usize::MAX));
                events.push(Event::Replied(id, reply));
            }
            for (id, call) in step.kube_calls {
                events.push(Event::KubeReplied(id, api.perform(&call)));
            }
            api.collect_garbage(|uid| living.contains(uid));
            events.append(&mut api.changes);
            if server.writes + api.writes > writes {
                last_write = now;
            }
            if !events.is_empty() {
                continue;
            }
            if now > last_write + QUIET || now > LONGEST {
                return facts;
            }
            let soon = now + Duration::from_millis(1);
            now = step.wake_at.unwrap_or(now + COMPARED).max(soon);
        }
    }

    /// The owners of SpiffeIDs that live, by all that is known: of other kinds nothing tells of an end.
    fn living_objects(&self) -> BTreeSet<Uid> {
        let pods = self.observed.pods().map(|(_, pod)| pod.uid.clone());
        let nodes = self.observed.nodes().map(|node| node.uid.clone());
        let owners = self.observed.resources.iter();
        let owners = owners.filter_map(|r| r.controller.as_ref());
        let others = owners.filter(|c| !matches!(&*c.kind, "Pod" | "Node"));
        let others = others.map(|c| c.uid.clone());
        pods.chain(nodes).chain(others).collect()
    }

    /// What every object and SpiffeID has in the end.
    fn outcome(&mut self, server: &ModelServer) -> Plan {
        let mut plan = Plan::default();
        let mut subjects: BTreeSet<Subject> = self.observed.subjects().collect();
        subjects.extend(self.observed.resources.names().map(subject_of));
        for subject in subjects {
            let Some(object) = self.object_behind(&subject) else {
                continue;
            };
            let problem = self.held.get(&subject).cloned();
            if self.gets_resource(&subject) {
                match (problem, self.preview(&subject).verdict) {
                    (Some(problem), _) | (None, Verdict::Held(problem)) => {
                        plan.held.push((object, problem));
                    }
                    (None, Verdict::Skipped(reason)) => plan.skipped.push((object, reason)),
                    // Its SpiffeID tells.
                    _ => {}
                }
                continue;
            }
            if let Some(problem) = problem.or_else(|| self.standing_problem(&subject)) {
                plan.held.push((object, problem));
                continue;
            }
            if let Verdict::Registered(entries, notes) = self.preview(&subject).verdict {
                let named = |entry: Arc<Entry>| Planned {
                    object: object.clone(),
                    entry,
                };
                for wanted in entries.into_iter().map(named) {
                    let similar = server.similar(&wanted.entry);
                    let ours = similar.is_some_and(|e| self.mirror.get(&e.id).is_some());
                    if let Some(taken_by) = similar.filter(|_| !ours).map(|e| e.id.clone()) {
                        let wanted = wanted.clone();
                        plan.conflicts.push(Conflict { wanted, taken_by });
                    }
                    plan.entries.push(wanted);
                }
                let notes = notes.into_iter().map(|note| (object.clone(), note));
                plan.left_out.extend(notes);
            }
        }
        plan
    }

    /// The pod or node that a SpiffeID stands for, or the SpiffeID itself.
    fn object_behind(&self, subject: &Subject) -> Option<ObjectKey> {
        let own = self.object_of(subject).map(|(key, _)| key);
        let Some(resource) = resource_of(subject).and_then(|n| self.observed.resources.get(&n))
        else {
            return own;
        };
        let outlives_its_node = resource.labels.contains_key(NODE_UID_LABEL);
        match &resource.controller {
            Some(c) if &*c.kind == "Pod" => Some(ObjectKey::new(
                Kind::Pod,
                resource.namespace.clone(),
                c.name.clone(),
            )),
            Some(c) if &*c.kind == "Node" => Some(ObjectKey::new(Kind::Node, "", c.name.clone())),
            None if outlives_its_node && resource.applied.is_some() => {
                Some(ObjectKey::new(Kind::Node, "", resource.name.clone()))
            }
            _ => own,
        }
    }

    /// Why a SpiffeID has no entry of its own, by the status that it got.
    fn standing_problem(&self, subject: &Subject) -> Option<Problem> {
        let resource = self.observed.resources.get(&resource_of(subject)?)?;
        let told = resource.status.conditions.iter().find(|c| {
            &*c.kind == "Registered" && &*c.status == "False" && &*c.reason != "EntryRefused"
        })?;
        let word = match &*told.reason {
            "Duplicate" => "Duplicate",
            "EntryNotOurs" => "EntryNotOurs",
            _ => return None,
        };
        let text = told.message.to_string();
        Some(Problem::Spec { word, text })
    }

    fn find_changes(
        &self,
        plan: &mut Plan,
        before: &BTreeMap<&EntryId, &RegisteredEntry>,
        server: &ModelServer,
        facts: &[Fact],
    ) {
        let wanted: BTreeMap<Tuple, Planned> = plan
            .entries
            .iter()
            .map(|p| (Tuple::wanted(&p.entry), p.clone()))
            .collect();
        for entry in server.entries() {
            let found = wanted.get(&Tuple::stored(entry));
            match (before.get(&entry.id), found) {
                (None, Some(planned)) => plan.create.push(planned.clone()),
                (Some(old), Some(planned)) if *old != entry => {
                    let update = Update {
                        stored: (*old).clone(),
                        entry: planned.entry.clone(),
                        fields: planned.entry.changed_fields(old),
                    };
                    plan.update.push((planned.object.clone(), update));
                }
                _ => plan.unchanged += usize::from(self.mirror.get(&entry.id).is_some()),
            }
        }
        let mut reasons: BTreeMap<&EntryId, (&Subject, DeleteReason)> = BTreeMap::new();
        for fact in facts {
            if let Fact::Deleted {
                subject,
                id,
                reason,
            } = fact
            {
                reasons.insert(id, (subject, *reason));
            }
        }
        for (id, stored) in before.iter().filter(|(id, _)| server.get(id).is_none()) {
            let Some((subject, reason)) = reasons.get(*id) else {
                continue;
            };
            let stored = (*stored).clone();
            let removal = Removal {
                stored,
                reason: *reason,
            };
            plan.delete.push(((*subject).clone(), removal));
        }
    }
}

fn changes_of_resources(
    before: &[SpiffeIdSnapshot],
    api: &ModelApi,
) -> Vec<(ResourceName, ResourceChange)> {
    let name_of = |r: &SpiffeIdSnapshot| ResourceName::new(r.namespace.clone(), r.name.clone());
    let old: BTreeMap<ResourceName, &SpiffeIdSnapshot> =
        before.iter().map(|r| (name_of(r), r)).collect();
    let gone = old.keys().filter(|name| !api.objects.contains_key(*name));
    let mut changes: Vec<_> = gone
        .map(|name| (name.clone(), ResourceChange::Delete))
        .collect();
    for (name, now) in &api.objects {
        let change = match old.get(name) {
            None => ResourceChange::Create,
            Some(was) => {
                let same = was.spec == now.spec
                    && was.labels == now.labels
                    && was.controller == now.controller
                    && was.finalizers == now.finalizers
                    && was.uid == now.uid;
                if same {
                    continue;
                }
                ResourceChange::Update
            }
        };
        changes.push((name.clone(), change));
    }
    changes.sort();
    changes
}
