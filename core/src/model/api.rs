//! A model of the Kubernetes API as far as SpiffeIDs go: server-side apply, finalizers, status, the garbage collector and the
//! life of their definition. Small enough to be obviously right.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    cluster::Kind,
    cluster::{
        AppliedFields, Controller, Metadata, Object, ObjectKey, SPIFFE_ID_FINALIZER,
        SpiffeIdSnapshot, SpiffeIdSpec, SpiffeIdStatus, Uid,
    },
    ports::{
        AppliedResource, Definition, Failure, FailureClass, KubeAnswer, KubeCall, KubeReply,
        ResourceName, Schema,
    },
    sync::Event,
};

/// The API server's memory.
#[derive(Debug, Default)]
pub struct ModelApi {
    /// All SpiffeIDs.
    pub objects: BTreeMap<ResourceName, SpiffeIdSnapshot>,
    /// Their definition.
    pub definition: Option<Definition>,
    /// What the watch has yet to show.
    pub changes: Vec<Event>,
    /// How many writes changed something.
    pub writes: usize,
    version: u64,
    uids: u64,
    /// What the times of what is made here begin with.
    era: &'static str,
}

impl ModelApi {
    /// With these SpiffeIDs, and their definition in force.
    pub fn serving(objects: impl IntoIterator<Item = SpiffeIdSnapshot>) -> Self {
        let mut api = Self {
            definition: Some(Self::definition()),
            // Later than any time that the API writes.
            era: "9999-",
            ..Self::default()
        };
        for object in objects {
            // Versions count changes of all objects: ours must be later than those that were seen.
            let version = object.resource_version.parse().unwrap_or(0);
            api.version = api.version.max(version);
            let name = ResourceName::new(object.namespace.clone(), object.name.clone());
            api.objects.insert(name, object);
        }
        api
    }

    /// A definition that has been in force for longer than any SpiffeID.
    pub fn definition() -> Definition {
        Definition {
            uid: Uid::new("definition"),
            created: "".into(),
            terminating: false,
            schema: Schema::WHOLE,
        }
    }

    fn uid(&mut self) -> Uid {
        self.uids += 1;
        Uid::new(format!("resource-{}", self.uids))
    }

    fn time(&self) -> Arc<str> {
        format!("{}{:08}", self.era, self.version).into()
    }

    fn serves(&self) -> bool {
        self.definition.as_ref().is_some_and(|d| !d.terminating)
    }

    /// Installs the definition, if it is not there.
    pub fn install(&mut self) -> bool {
        if self.definition.is_some() {
            return false;
        }
        let uid = self.uid();
        self.version += 1;
        self.definition = Some(Definition {
            uid,
            created: self.time(),
            terminating: false,
            schema: Schema::WHOLE,
        });
        true
    }

    /// Deletes the definition, and every SpiffeID with it.
    pub fn uninstall(&mut self) {
        if let Some(definition) = &mut self.definition {
            definition.terminating = true;
        }
        for name in self.objects.keys().cloned().collect::<Vec<_>>() {
            self.delete(&name);
        }
        self.end_definition();
    }

    fn end_definition(&mut self) {
        if self.objects.is_empty() && !self.serves() {
            self.definition = None;
        }
    }

    /// Writes a spec as a person would.
    pub fn put(&mut self, name: &ResourceName, spec: SpiffeIdSpec) {
        if !self.serves() {
            return;
        }
        match self.objects.get(name).cloned() {
            Some(old) if old.deleting => {}
            Some(mut old) => {
                old.spec = Ok(Arc::new(spec));
                self.store(name, old);
            }
            None => {
                let new = self.fresh(name, spec);
                self.store(name, new);
            }
        }
    }

    fn fresh(&mut self, name: &ResourceName, spec: SpiffeIdSpec) -> SpiffeIdSnapshot {
        SpiffeIdSnapshot {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            uid: self.uid(),
            resource_version: "0".into(),
            generation: 0,
            created: self.time(),
            deleting: false,
            finalizers: Arc::new([]),
            controller: None,
            labels: Metadata::new(),
            applied: None,
            service_names: Default::default(),
            spec: Ok(Arc::new(spec)),
            status: SpiffeIdStatus::default(),
        }
    }

    /// Stores an object and tells the watch, if anything changed.
    fn store(&mut self, name: &ResourceName, mut new: SpiffeIdSnapshot) {
        let old = self.objects.get(name);
        if old == Some(&new) {
            return;
        }
        if old.is_none_or(|o| o.spec != new.spec) {
            new.generation += 1;
        }
        self.version += 1;
        self.writes += 1;
        new.resource_version = self.version.to_string().into();
        if new.deleting && new.finalizers.is_empty() {
            self.objects.remove(name);
            let key = ObjectKey::new(Kind::SpiffeId, name.namespace.clone(), name.name.clone());
            self.changes.push(Event::Deleted(key, new.uid));
            self.end_definition();
        } else {
            self.objects.insert(name.clone(), new.clone());
            self.changes
                .push(Event::Applied(Object::SpiffeId(Box::new(new))));
        }
    }

    /// Asks for an object to be deleted.
    pub fn delete(&mut self, name: &ResourceName) {
        if let Some(mut object) = self.objects.get(name).cloned() {
            object.deleting = true;
            self.store(name, object);
        }
    }

    /// Writes into a status as a tenant might.
    pub fn forge_status(&mut self, name: &ResourceName, entry: Option<Arc<str>>) {
        if let Some(mut object) = self.objects.get(name).cloned() {
            object.status.entry_id = entry;
            self.store(name, object);
        }
    }

    /// Deletes what belongs to objects that are gone.
    pub fn collect_garbage(&mut self, lives: impl Fn(&Uid) -> bool) {
        let orphans: Vec<ResourceName> = self
            .objects
            .iter()
            .filter(|(_, o)| !o.deleting)
            .filter(|(_, o)| o.controller.as_ref().is_some_and(|c| !lives(&c.uid)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in orphans {
            self.delete(&name);
        }
    }

    /// A list as the watch begins anew; what it has not shown is lost.
    pub fn list(&mut self) -> Vec<Event> {
        self.changes.clear();
        if self.definition.is_none() {
            return Vec::new();
        }
        let objects = self.objects.values().cloned();
        let listed = objects.map(|o| Event::Listed(Object::SpiffeId(Box::new(o))));
        std::iter::once(Event::RelistBegan(Kind::SpiffeId))
            .chain(listed)
            .chain([Event::RelistDone(Kind::SpiffeId)])
            .collect()
    }

    /// Performs a call.
    pub fn perform(&mut self, call: &KubeCall) -> KubeReply {
        let (name, uid) = match call {
            KubeCall::ReadDefinition => {
                return Ok(KubeAnswer::Definition(self.definition.clone()));
            }
            KubeCall::Apply(wanted) => return self.apply(wanted),
            KubeCall::TakeOver(name, uid) | KubeCall::Delete(name, uid) => (name, uid),
            KubeCall::SetFinalizers { name, uid, .. }
            | KubeCall::WriteStatus { name, uid, .. }
            | KubeCall::ApplyNames { name, uid, .. } => (name, uid),
        };
        let Some(mut object) = self.objects.get(name).filter(|o| o.uid == *uid).cloned() else {
            return Ok(KubeAnswer::Gone);
        };
        match call {
            KubeCall::Delete(..) => object.deleting = true,
            KubeCall::SetFinalizers {
                resource_version,
                finalizers,
                ..
            } => {
                if object.resource_version != *resource_version {
                    return Ok(KubeAnswer::Conflict);
                }
                object.finalizers = finalizers.clone();
            }
            KubeCall::WriteStatus { status, .. } => object.status = (**status).clone(),
            KubeCall::ApplyNames { names, .. } => apply_names(&mut object, names),
            _ => {
                if let Some(applied) = &mut object.applied {
                    applied.by_us = true;
                }
            }
        }
        self.store(name, object.clone());
        let now = self.objects.get(name).cloned();
        Ok(KubeAnswer::Written(Box::new(now.unwrap_or(object))))
    }

    fn apply(&mut self, wanted: &AppliedResource) -> KubeReply {
        let refused = |why| Err(Failure::new(FailureClass::Permanent, why));
        if !self.serves() {
            return refused("create not allowed while the definition is terminating");
        }
        let name = &wanted.name;
        let old = self.objects.get(name).cloned();
        let mut object = match (old, &wanted.uid) {
            (Some(old), Some(uid)) if old.uid == *uid => old,
            (None, None) => self.fresh(name, SpiffeIdSpec::default()),
            // Without a UID, it is changed whatever it is.
            (Some(old), None) => old,
            _ => return Ok(KubeAnswer::Conflict),
        };
        let ours: Arc<str> = SPIFFE_ID_FINALIZER.into();
        if !object.finalizers.contains(&ours) {
            if object.deleting {
                return refused("no new finalizers can be added if the object is being deleted");
            }
            object.finalizers = object.finalizers.iter().cloned().chain([ours]).collect();
        }
        object
            .labels
            .insert(wanted.label.0.into(), wanted.label.1.0.clone());
        object.controller = wanted.owner.as_ref().map(|o| Controller {
            kind: o.kind.into(),
            name: o.name.clone(),
            uid: o.uid.clone(),
        });
        let before = object.applied.take().unwrap_or_default();
        let spec = object
            .spec
            .clone()
            .map(|s| (*s).clone())
            .unwrap_or_default();
        let merged =
            |there: &[Arc<str>], was: &std::collections::BTreeSet<Arc<str>>, now: &[Arc<str>]| {
                let others = there
                    .iter()
                    .filter(|n| !was.contains(*n) && !now.contains(n));
                now.iter().chain(others).cloned().collect::<Vec<_>>()
            };
        object.spec = Ok(Arc::new(SpiffeIdSpec {
            dns_names: merged(&spec.dns_names, &before.dns_names, &wanted.spec.dns_names),
            federates_with: merged(
                &spec.federates_with,
                &before.federates_with,
                &wanted.spec.federates_with,
            ),
            downstream: spec.downstream,
            ..wanted.spec.clone()
        }));
        object.applied = Some(AppliedFields {
            by_us: true,
            dns_names: wanted.spec.dns_names.iter().cloned().collect(),
            federates_with: wanted.spec.federates_with.iter().cloned().collect(),
        });
        self.store(name, object);
        match self.objects.get(name) {
            Some(now) => Ok(KubeAnswer::Written(Box::new(now.clone()))),
            None => Ok(KubeAnswer::Gone),
        }
    }
}

fn apply_names(object: &mut SpiffeIdSnapshot, names: &[Arc<str>]) {
    if let Ok(spec) = &mut object.spec {
        let spec = Arc::make_mut(spec);
        let gone = |n: &Arc<str>| object.service_names.contains(n) && !names.contains(n);
        spec.dns_names.retain(|n| !gone(n));
        let new = names.iter().filter(|n| !spec.dns_names.contains(n));
        let new: Vec<_> = new.cloned().collect();
        spec.dns_names.extend(new);
    }
    object.service_names = names.iter().cloned().collect();
}
