//! The names of Services on SpiffeIDs that others wrote: added while an endpoint of the SpiffeID's pod is ready, and taken away
//! when it has left the Service. What others wrote into the list stays.

use std::sync::Arc;

use super::{Reconciler, resources::resource_of};
use crate::{
    cluster::{POD_UID_LABEL, SpiffeIdSnapshot, Uid},
    ports::{KubeCall, ResourceName},
    rules::{MAX_DNS_NAMES, Subject, service_names_of},
};

impl Reconciler {
    /// Stages what the names of Services on this SpiffeID are to be, if they are others.
    pub(super) fn name_by_services(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
    ) -> bool {
        if self.kube.expects(name) || !self.kube.definition.merges_lists() {
            return false;
        }
        let Some(names) = self.service_names(name, resource) else {
            return false;
        };
        let call = KubeCall::ApplyNames {
            name: name.clone(),
            uid: resource.uid.clone(),
            names,
        };
        self.stage_write(subject, name, call);
        true
    }

    /// The names that it is to have, if those are not what it has.
    fn service_names(
        &self,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
    ) -> Option<Box<[Arc<str>]>> {
        let ids = self.policy.spiffe_ids.as_ref()?;
        let ours = |c: &crate::cluster::Controller| &*c.kind == "Pod" && c.name == name.name;
        if !self.policy.pods.dns.reads_slices()
            || ids.pod_controller && resource.controller.as_ref().is_some_and(ours)
            || self.policy.disabled_namespaces.contains(&name.namespace)
        {
            return None;
        }
        let spec = resource.spec.as_ref().ok()?;
        let given = &resource.service_names;
        let names = match resource.labels.get(POD_UID_LABEL) {
            Some(uid) => {
                let uid = Uid(uid.clone());
                let slices = self.observed.slices_of_uid(&uid, &name.namespace);
                service_names_of(&uid, &slices)
            }
            None => Default::default(),
        };
        let wanted: Vec<Arc<str>> = names
            .into_iter()
            .filter(|(name, ready)| *ready || given.contains(name))
            .map(|(name, _)| name)
            .take(MAX_DNS_NAMES)
            .collect();
        let there = wanted.iter().all(|w| spec.dns_names.contains(w))
            && given.iter().all(|g| wanted.contains(g));
        (!there).then(|| wanted.into())
    }

    /// Whether the names that were applied are there.
    pub(super) fn has_names(names: &[Arc<str>], resource: &SpiffeIdSnapshot) -> bool {
        let spec = resource.spec.as_ref();
        spec.is_ok_and(|spec| names.iter().all(|n| spec.dns_names.contains(n)))
    }

    /// Whether names of Services were refused before: then its entry does not wait for them.
    pub(super) fn names_failed(&self, subject: &Subject) -> bool {
        resource_of(subject).is_some()
            && self
                .queue
                .get(subject)
                .is_some_and(|work| work.failures > 0)
    }
}
