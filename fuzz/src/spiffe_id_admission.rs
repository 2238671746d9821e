//! SpiffeIDs as tenants write them, through the checks that the webhook and the controller share.

use std::collections::BTreeSet;

use registrar_adapters::objects::spiffe_id::snapshot;
use registrar_core::{
    admission::{permitted, review_spiffe_id},
    cluster::SpiffeIdSnapshot,
    policy::Policy,
    rules::{Bundles, Decision, MAX_DNS_NAMES, Tuple, decide_spiffe_id, tuple_of},
};

const ROOT: &str = "/k8s-workload-registrar/demo/node/";

fn first_segment(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// What must hold of an entry that a SpiffeID of namespace `namespace` got, said a second time.
fn check_entry(namespace: &str, entry: &registrar_core::entry::Entry) {
    assert_eq!(entry.spiffe_id.trust_domain().as_str(), "example.org");
    assert_eq!(entry.parent_id.trust_domain().as_str(), "example.org");
    let selectors: Vec<String> = entry.selectors.iter().map(|s| s.to_string()).collect();
    assert!(!selectors.is_empty());
    let ours = ["spire", "k8s-workload-registrar"];
    if namespace == "spire" {
        if ours.contains(&first_segment(entry.spiffe_id.path())) {
            assert!(entry.spiffe_id.path().starts_with(ROOT), "{entry:?}");
            assert_eq!(entry.parent_id.path(), "/spire/server");
        }
        return;
    }
    assert!(
        !ours.contains(&first_segment(entry.spiffe_id.path())),
        "{entry:?}"
    );
    assert!(
        selectors.contains(&format!("k8s:ns:{namespace}")),
        "{entry:?}"
    );
    assert!(selectors.iter().all(|s| s.starts_with("k8s:")), "{entry:?}");
    assert_ne!(entry.downstream, Some(true), "{entry:?}");
    if ours.contains(&first_segment(entry.parent_id.path())) {
        let one_pod = |s: &String| s.starts_with("k8s:pod-uid:") || s.starts_with("k8s:pod-name:");
        assert!(entry.parent_id.path().starts_with(ROOT), "{entry:?}");
        assert!(selectors.iter().any(one_pod), "{entry:?}");
    }
}

fn check(policy: &Policy, resource: &SpiffeIdSnapshot) {
    let decision = decide_spiffe_id(policy, resource, &Bundles::default());
    let entry = match &decision {
        Decision::Register { entries, .. } => &entries[0],
        Decision::Invalid(problem) => {
            let told = problem.to_string();
            assert!(!told.is_empty() && !problem.word().is_empty());
            assert!(told.len() < 4096, "{} bytes", told.len());
            assert_eq!(tuple_of(policy, resource), None);
            return;
        }
        other => panic!("{other:?}"),
    };
    check_entry(&resource.namespace, entry);
    assert_eq!(tuple_of(policy, resource), Some(Tuple::wanted(entry)));
    let spec = resource.spec.as_ref().expect("it was read");
    let ids = permitted(policy, &resource.namespace, spec).expect("it has an entry");
    assert_eq!(
        (&ids.parent_id, &ids.spiffe_id),
        (&entry.parent_id, &entry.spiffe_id)
    );
    // What the webhook lets pass loses none of its names in the controller.
    if review_spiffe_id(policy, &resource.namespace, spec).is_ok() {
        let names: BTreeSet<_> = spec.dns_names.iter().collect();
        assert_eq!(
            entry.dns_names.len(),
            names.len().min(MAX_DNS_NAMES),
            "{entry:?}"
        );
    }
}

/// Any text: it is no object, or refused with a reason, or gets an entry within the rules of its namespace.
pub fn spiffe_id_admission(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(mut resource) = snapshot(text) else {
        return;
    };
    let policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    for namespace in ["apps", "spire"] {
        resource.namespace = namespace.into();
        check(&policy, &resource);
    }
}
