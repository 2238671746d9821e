//! SpiffeID resources: the entry that one asks for, and the one that a pod's or node's entry is written as.

use std::{collections::BTreeSet, sync::Arc};

use super::{Bundles, Decision, DroppedName, MAX_DNS_NAMES, Note, Problem, trust_domains};
use crate::{
    admission::permitted,
    cluster::{POD_UID_LABEL, SpiffeIdSelector, SpiffeIdSnapshot, SpiffeIdSpec},
    entry::{DnsName, Entry, RegisteredEntry, Selector, Selectors, shared_names},
    policy::Policy,
    spiffe::SpiffeId,
};

/// What makes two entries *similar* to a SPIRE Server, of which it stores only one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    spiffe_id: SpiffeId,
    parent_id: SpiffeId,
    /// In one order.
    selectors: Selectors,
}

impl Tuple {
    /// The SPIFFE ID in it.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Of an entry that is wanted.
    pub fn wanted(entry: &Entry) -> Self {
        Self::new(&entry.spiffe_id, &entry.parent_id, &entry.selectors)
    }

    /// Of an entry that is stored.
    pub fn stored(entry: &RegisteredEntry) -> Self {
        Self::new(&entry.spiffe_id, &entry.parent_id, &entry.selectors)
    }

    fn new(spiffe_id: &SpiffeId, parent_id: &SpiffeId, selectors: &Selectors) -> Self {
        Self {
            spiffe_id: spiffe_id.clone(),
            parent_id: parent_id.clone(),
            selectors: selectors.sorted(),
        }
    }
}

/// The entry that a SpiffeID asks for.
pub fn decide_spiffe_id(
    policy: &Policy,
    resource: &SpiffeIdSnapshot,
    bundles: &Bundles,
) -> Decision {
    let (mut entry, spec) = match bare_entry(policy, resource) {
        Ok(found) => found,
        Err(problem) => return Decision::Invalid(problem),
    };
    let mut notes = Vec::new();
    let (names, dropped) = names_of(spec);
    entry.dns_names = shared_names(names);
    notes.extend(dropped.into_iter().map(Note::Name));
    let parts = spec.federates_with.iter().map(|td| &**td);
    let federation = trust_domains(policy, parts, bundles);
    entry.federates_with = federation.with;
    notes.extend(federation.dropped.into_iter().map(Note::TrustDomain));
    entry.downstream = Some(spec.downstream);
    if resource.labels.contains_key(POD_UID_LABEL) {
        entry.x509_svid_ttl = policy.pods.x509_svid_ttl;
        entry.jwt_svid_ttl = policy.pods.jwt_svid_ttl;
        entry.hint = policy.pods.hint.clone();
    }
    Decision::Register {
        entries: vec![Arc::new(entry)],
        notes,
    }
}

/// The tuple of the entry that a SpiffeID asks for, if it may have one.
pub fn tuple_of(policy: &Policy, resource: &SpiffeIdSnapshot) -> Option<Tuple> {
    let (entry, _) = bare_entry(policy, resource).ok()?;
    Some(Tuple::wanted(&entry))
}

fn bare_entry<'r>(
    policy: &Policy,
    resource: &'r SpiffeIdSnapshot,
) -> Result<(Entry, &'r SpiffeIdSpec), Problem> {
    let spec = match &resource.spec {
        Ok(spec) => &**spec,
        Err(why) => return Err(Problem::Undecodable(why.clone())),
    };
    let ids = permitted(policy, &resource.namespace, spec)?;
    let selectors = selectors_of(&spec.selector);
    Ok((Entry::new(ids.spiffe_id, ids.parent_id, selectors), spec))
}

/// The selectors of an entry, in the original registrar's order.
fn selectors_of(selector: &SpiffeIdSelector) -> Selectors {
    let one = |kind: &str, word: &str, value: &Option<Arc<str>>| {
        value
            .as_ref()
            .map(|v| Selector::new(kind, format!("{word}:{v}")))
    };
    let labels = selector
        .pod_label
        .iter()
        .map(|(key, value)| Selector::new("k8s", format!("pod-label:{key}:{value}")));
    let psat = |word, value| one("k8s_psat", word, value);
    let k8s = |word, value| one("k8s", word, value);
    Selectors::new(
        psat("cluster", &selector.cluster)
            .into_iter()
            .chain(psat("agent_node_uid", &selector.agent_node_uid))
            .chain(labels)
            .chain(k8s("pod-name", &selector.pod_name))
            .chain(k8s("pod-uid", &selector.pod_uid))
            .chain(k8s("ns", &selector.namespace))
            .chain(k8s("sa", &selector.service_account))
            .chain(k8s("container-name", &selector.container_name))
            .chain(k8s("container-image", &selector.container_image))
            .chain(k8s("node-name", &selector.node_name))
            .chain(
                selector
                    .arbitrary
                    .iter()
                    .filter(|v| !v.is_empty())
                    .map(|v| Selector::new("k8s", v.clone())),
            ),
    )
}

/// The names that a server takes, without repetitions.
fn names_of(spec: &SpiffeIdSpec) -> (Vec<DnsName>, Vec<DroppedName>) {
    let mut names: Vec<DnsName> = Vec::with_capacity(spec.dns_names.len().min(MAX_DNS_NAMES));
    let mut seen = BTreeSet::new();
    let mut dropped = Vec::new();
    let mut too_many = 0;
    for name in &spec.dns_names {
        if !seen.insert(name) {
            continue;
        }
        match DnsName::written(name) {
            Ok(_) if names.len() >= MAX_DNS_NAMES => too_many += 1,
            Ok(name) => names.push(name),
            Err(error) if dropped.len() < MAX_DNS_NAMES => dropped.push(DroppedName::Illegal {
                name: name.to_string(),
                error,
            }),
            Err(_) => {}
        }
    }
    if too_many > 0 {
        dropped.push(DroppedName::TooMany(too_many));
    }
    (names, dropped)
}

/// What a SpiffeID must say so that it asks for this entry of a pod or a node.
pub fn spec_of(entry: &Entry) -> SpiffeIdSpec {
    let mut selector = SpiffeIdSelector::default();
    for s in entry.selectors.iter() {
        let (word, value) = s.value.split_once(':').unwrap_or((s.value, ""));
        let value: Arc<str> = value.into();
        match (s.kind, word) {
            ("k8s_psat", "cluster") => selector.cluster = Some(value),
            ("k8s_psat", "agent_node_uid") => selector.agent_node_uid = Some(value),
            ("k8s", "pod-name") => selector.pod_name = Some(value),
            ("k8s", "pod-uid") => selector.pod_uid = Some(value),
            ("k8s", "ns") => selector.namespace = Some(value),
            ("k8s", "sa") => selector.service_account = Some(value),
            ("k8s", "node-name") => selector.node_name = Some(value),
            _ => selector.arbitrary.push(s.value.into()),
        }
    }
    SpiffeIdSpec {
        parent_id: entry.parent_id.to_string().into(),
        spiffe_id: entry.spiffe_id.to_string().into(),
        selector,
        downstream: false,
        dns_names: entry.dns_names.iter().map(|n| n.as_str().into()).collect(),
        federates_with: entry
            .federates_with
            .iter()
            .map(|td| td.as_str().into())
            .collect(),
    }
}
