//! Pods.

use std::sync::Arc;

use super::{
    Bundles, Decision, Note, Problem, SkipReason, Subject, federation, pod_dns_names, pod_path,
};
use crate::{
    cluster::{EndpointsSnapshot, NodeSnapshot, PodSnapshot},
    entry::{Entry, Selector, Selectors, shared_names},
    policy::{FEDERATES_WITH, ParentForm, PodSelector, Policy},
    spiffe::SpiffeId,
};

/// What the rules for a pod look up besides the pod.
#[derive(Debug, Clone, Copy)]
pub struct PodLookups<'a> {
    /// The pod's node, if its object is known.
    pub node: Option<&'a NodeSnapshot>,
    /// The slices that have an endpoint of this pod.
    pub slices: &'a [&'a EndpointsSnapshot],
    /// The server's bundles.
    pub bundles: &'a Bundles,
}

/// The entry of a pod.
pub fn decide_pod(policy: &Policy, pod: &PodSnapshot, lookups: PodLookups<'_>) -> Decision {
    if policy.disabled_namespaces.contains(&pod.namespace) {
        return Decision::Skip(SkipReason::NamespaceDisabled);
    }
    if policy.pods.parent.needs_node() && pod.node_name.is_none() {
        return Decision::Skip(SkipReason::NotScheduled);
    }
    if policy.pods.release_finished && pod.finished {
        return Decision::Skip(SkipReason::Finished);
    }
    let spiffe_id = match pod_path(policy, pod) {
        Ok(id) => id,
        Err(decision) => return decision,
    };
    let parent_id = match parent_of(policy, pod, lookups.node) {
        Ok(id) => id,
        Err(problem) => return Decision::Invalid(problem),
    };
    let mut notes = Vec::new();
    let mut entry = Entry::new(spiffe_id, parent_id, selectors_of(policy, pod));
    let annotation = pod.annotations.get(FEDERATES_WITH).map(|v| &**v);
    let federation = federation(policy, annotation, lookups.bundles);
    entry.federates_with = federation.with;
    notes.extend(federation.dropped.into_iter().map(Note::TrustDomain));
    let (names, dropped) = pod_dns_names(&policy.pods.dns, pod, lookups.slices);
    entry.dns_names = shared_names(names);
    notes.extend(dropped.into_iter().map(Note::Name));
    entry.x509_svid_ttl = policy.pods.x509_svid_ttl;
    entry.jwt_svid_ttl = policy.pods.jwt_svid_ttl;
    entry.hint = policy.pods.hint.clone();
    Decision::Register {
        entries: vec![Arc::new(entry)],
        notes,
    }
}

fn parent_of(
    policy: &Policy,
    pod: &PodSnapshot,
    node: Option<&NodeSnapshot>,
) -> Result<SpiffeId, Problem> {
    let name = pod.node_name.clone().unwrap_or_default();
    match policy.pods.parent {
        ParentForm::Root => Ok(policy.root.clone()),
        ParentForm::NodeAlias => policy
            .root
            .child(&name)
            .map_err(|error| Problem::IllegalNodeName { name, error }),
        ParentForm::Agent => {
            let node = node.ok_or_else(|| Problem::UnknownNode(name.clone()))?;
            let path = format!("/spire/agent/k8s_psat/{}/{}", policy.cluster, node.uid);
            SpiffeId::new(policy.trust_domain.clone(), path)
                .map_err(|error| Problem::IllegalNodeName { name, error })
        }
    }
}

/// The selectors of a mirror pod: its UID here is not the kubelet's, so only its name can select it.
const MIRROR_SELECTORS: [PodSelector; 2] = [PodSelector::Namespace, PodSelector::PodName];

fn selector_kinds<'a>(policy: &'a Policy, pod: &PodSnapshot) -> &'a [PodSelector] {
    if pod.mirror {
        &MIRROR_SELECTORS
    } else {
        &policy.pods.selectors
    }
}

/// The selectors of the entry of this pod.
pub fn selectors_of(policy: &Policy, pod: &PodSnapshot) -> Selectors {
    Selectors::new(selector_kinds(policy, pod).iter().filter_map(|kind| {
        let value = match kind {
            PodSelector::Namespace => &pod.namespace,
            PodSelector::PodName => &pod.name,
            PodSelector::PodUid => &pod.uid.0,
            PodSelector::NodeName => pod.node_name.as_ref()?,
            PodSelector::ServiceAccount => pod.service_account.as_ref()?,
        };
        Some(Selector::new("k8s", format!("{}:{value}", kind.word())))
    }))
}

/// Whom the entry of this pod is about. Agrees with what [`super::classify`] reads from that entry.
pub fn subject_of_pod(policy: &Policy, pod: &PodSnapshot) -> Subject {
    let kinds = selector_kinds(policy, pod);
    // A pod's SpiffeID has the pod's name, whatever its entry selects by.
    if policy.spiffe_ids.is_some() {
        return Subject::Pod(pod.namespace.clone(), pod.name.clone());
    }
    if kinds.contains(&PodSelector::Namespace) && kinds.contains(&PodSelector::PodName) {
        Subject::Pod(pod.namespace.clone(), pod.name.clone())
    } else {
        Subject::PodUid(pod.uid.clone())
    }
}
