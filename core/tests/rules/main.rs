//! The rules, by table: what a pod or a node gets, and why another gets nothing.

mod dns_names;
mod federation;
mod ownership;
mod pods;

use std::sync::Arc;

use registrar_core::{
    cluster::{EndpointsSnapshot, NodeSnapshot, PodSnapshot, Uid},
    entry::Entry,
    policy::{IdentitySource, Policy},
    rules::{Bundles, Decision, PodLookups, decide_pod},
    spiffe::TrustDomain,
    testing::bound_pod,
};

const KEY: &str = "spiffe.io/spiffe-id";

fn policy() -> Policy {
    Policy::reconcile("example.test", "CLUSTER", "foo").expect("legal names")
}

fn by_annotation() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation(KEY.into());
    policy
}

fn by_label() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Label(KEY.into());
    policy
}

fn pod() -> PodSnapshot {
    bound_pod("bar", "foo", "uid-1", "baz", "sa1")
}

fn saying(value: &str) -> PodSnapshot {
    let mut pod = pod();
    pod.labels.insert(KEY.into(), value.into());
    pod.annotations.insert(KEY.into(), value.into());
    pod
}

fn bundles(known: &[&str]) -> Bundles {
    Bundles {
        known: Some(
            known
                .iter()
                .map(|td| TrustDomain::new(td).expect("legal"))
                .collect(),
        ),
        ..Bundles::default()
    }
}

fn decide_with(policy: &Policy, pod: &PodSnapshot, slices: &[EndpointsSnapshot]) -> Decision {
    let slices: Vec<&EndpointsSnapshot> = slices.iter().collect();
    let node = NodeSnapshot {
        name: "baz".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    let lookups = PodLookups {
        node: Some(&node),
        slices: &slices,
        bundles: &bundles(&["example.io", "example.net"]),
    };
    decide_pod(policy, pod, lookups)
}

fn decide(policy: &Policy, pod: &PodSnapshot) -> Decision {
    decide_with(policy, pod, &[])
}

fn entry(decision: Decision) -> Arc<Entry> {
    match decision {
        Decision::Register { entries, .. } if entries.len() == 1 => entries[0].clone(),
        other => panic!("one entry, not {other:?}"),
    }
}

fn selectors(entry: &Entry) -> Vec<String> {
    entry.selectors.iter().map(|s| s.to_string()).collect()
}
