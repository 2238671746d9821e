//! EndpointSlices: which pods each has endpoints of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Name, Observed, Touched};
use crate::{
    cluster::{EndpointsSnapshot, Uid},
    rules::Subject,
    sync::resources::subject_of,
};

impl Observed {
    pub(super) fn replace_slice(
        &mut self,
        name: &Name,
        new: Option<EndpointsSnapshot>,
        touched: &mut Touched,
    ) {
        let old = match new.clone() {
            Some(slice) => self.slices.insert(name.clone(), slice),
            None => self.slices.remove(name),
        };
        if old == new {
            return;
        }
        self.relink_uids(name, old.as_ref(), new.as_ref(), touched);
        let same_service = old.as_ref().map(|s| &s.service) == new.as_ref().map(|s| &s.service);
        let pods =
            |slice: &Option<EndpointsSnapshot>| -> BTreeMap<Name, BTreeSet<(String, String, bool)>> {
                let mut pods: BTreeMap<Name, BTreeSet<_>> = BTreeMap::new();
                for e in slice.iter().flat_map(|s| s.endpoints.iter()) {
                    let hostname = e.hostname.as_deref().unwrap_or_default();
                    pods.entry((e.pod_namespace.clone(), e.pod_name.clone()))
                        .or_default()
                        .insert((e.address.to_string(), hostname.to_owned(), e.ready));
                }
                pods
            };
        let (before, after) = (pods(&old), pods(&new));
        for (pod, was) in &before {
            if !after.contains_key(pod)
                && let Some(slices) = self.slices_of_pod.get_mut(pod)
            {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices_of_pod.remove(pod);
                }
            }
            if !same_service || after.get(pod) != Some(was) {
                touched.subjects.extend(self.subject_named(pod));
            }
        }
        for pod in after.into_keys().filter(|p| !before.contains_key(p)) {
            touched.subjects.extend(self.subject_named(&pod));
            self.slices_of_pod
                .entry(pod)
                .or_default()
                .insert(name.clone());
        }
    }

    /// Keeps the way from the UIDs of pods to slices; the SpiffeIDs that are about those pods may have other names now.
    fn relink_uids(
        &mut self,
        name: &Name,
        old: Option<&EndpointsSnapshot>,
        new: Option<&EndpointsSnapshot>,
        touched: &mut Touched,
    ) {
        let uids = |slice: Option<&EndpointsSnapshot>| -> BTreeSet<Uid> {
            let endpoints = slice.iter().flat_map(|s| s.endpoints.iter());
            endpoints.filter_map(|e| e.pod_uid.clone()).collect()
        };
        let (before, after) = (uids(old), uids(new));
        for uid in before.difference(&after) {
            if let Some(slices) = self.slices_of_uid.get_mut(uid) {
                slices.remove(name);
                if slices.is_empty() {
                    self.slices_of_uid.remove(uid);
                }
            }
        }
        for uid in after.difference(&before) {
            let slices = self.slices_of_uid.entry(uid.clone()).or_default();
            slices.insert(name.clone());
        }
        for uid in before.union(&after) {
            let about = self.resources.of_pod(uid);
            let here = about.filter(|r| r.namespace == name.0);
            touched.subjects.extend(here.map(subject_of));
        }
    }

    /// The slices of a namespace that have endpoints of the pod with this UID.
    pub(in crate::sync) fn slices_of_uid(
        &self,
        uid: &Uid,
        namespace: &str,
    ) -> Vec<&EndpointsSnapshot> {
        let names = self.slices_of_uid.get(uid).into_iter().flatten();
        names
            .filter(|n| *n.0 == *namespace)
            .filter_map(|n| self.slices.get(n))
            .collect()
    }

    /// The subject of the pod with this name.
    fn subject_named(&self, name: &Name) -> Option<Subject> {
        if let Some(uid) = self.uids.get(name) {
            return Some(Subject::PodUid(uid.clone()));
        }
        let by_name = Subject::Pod(name.0.clone(), name.1.clone());
        self.pods.contains_key(&by_name).then_some(by_name)
    }
}
