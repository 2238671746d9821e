//! What tenants write into a pod, through the rules of every way to name an identity.

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, Metadata, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry},
    policy::{DnsPolicy, FEDERATES_WITH, IdentitySource, ParentForm, Policy},
    rules::{Bundles, Decision, Ownership, PodLookups, classify, decide_pod, subject_of_pod},
    spiffe::TrustDomain,
};

const KEY: &str = "example.org/identity";

fn policies() -> Vec<Policy> {
    let base = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    let mut policies = Vec::new();
    for identity in [
        IdentitySource::ServiceAccount,
        IdentitySource::Label(KEY.into()),
        IdentitySource::Annotation(KEY.into()),
    ] {
        for parent in [ParentForm::NodeAlias, ParentForm::Root] {
            let mut policy = base.clone();
            policy.pods.identity = identity.clone();
            policy.pods.parent = parent;
            policy.pods.dns = DnsPolicy::AllPodNames {
                zone: "cluster.local".into(),
            };
            policies.push(policy);
        }
    }
    policies
}

/// Fields separated by NUL: namespace, name, node, service account, identity, federation, IP, Service, host name.
pub fn pod_metadata(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut fields = text.split('\0');
    let mut field = || fields.next().unwrap_or_default();
    let (namespace, name, node, account) = (field(), field(), field(), field());
    let (identity, federation, ip, service, hostname) =
        (field(), field(), field(), field(), field());
    let metadata: Metadata = [
        (KEY.into(), identity.into()),
        (FEDERATES_WITH.into(), federation.into()),
    ]
    .into();
    let pod = PodSnapshot {
        namespace: namespace.into(),
        name: name.into(),
        uid: Uid::new("uid"),
        node_name: Some(node.into()),
        service_account: Some(account.into()),
        hostname: None,
        labels: metadata.clone(),
        annotations: metadata,
        pod_ips: Box::new([ip.into()]),
        mirror: false,
        terminating: false,
        finished: false,
    };
    let slice = EndpointsSnapshot {
        namespace: namespace.into(),
        name: "slice".into(),
        service: Some(service.into()),
        endpoints: Box::new([EndpointSnapshot {
            address: ip.into(),
            hostname: Some(hostname.into()),
            pod_name: name.into(),
            pod_namespace: namespace.into(),
            pod_uid: None,
            ready: true,
        }]),
    };
    let bundles = Bundles {
        known: Some([TrustDomain::new("other.test").expect("legal")].into()),
        ..Bundles::default()
    };
    let lookups = PodLookups {
        node: None,
        slices: &[&slice],
        bundles: &bundles,
    };
    for policy in policies() {
        match decide_pod(&policy, &pod, lookups) {
            Decision::Register { entries, .. } => {
                for entry in &entries {
                    check_entry(&policy, &pod, entry);
                }
            }
            Decision::Invalid(problem) => {
                let told = problem.to_string();
                assert!(!told.chars().any(char::is_control), "{told:?}");
                assert!(told.len() < 4096, "{} bytes", told.len());
            }
            Decision::Skip(_) => {}
        }
    }
}

fn check_entry(policy: &Policy, pod: &PodSnapshot, entry: &Entry) {
    let path = entry.spiffe_id.path();
    for reserved in ["spire", "k8s-workload-registrar", "registrar"] {
        assert_ne!(path.split('/').nth(1), Some(reserved), "{path}");
    }
    assert!(entry.spiffe_id.to_string().len() <= 255);
    assert!(
        path.bytes().all(|b| b.is_ascii_graphic()) && path.len() > 1,
        "{path:?}"
    );
    assert!(
        entry.parent_id.is_under(&policy.root),
        "{}",
        entry.parent_id
    );
    for td in entry.federates_with.iter() {
        assert_eq!(td.as_str(), "other.test");
    }
    for name in entry.dns_names.iter() {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        assert!(name.as_str().bytes().all(legal), "{name}");
    }
    // What we make we know again as ours, about this very pod; whatever its names are.
    let stored = RegisteredEntry::created(EntryId::stored("any"), entry);
    let expected = Ownership::Ours(subject_of_pod(policy, pod));
    assert_eq!(classify(policy, &stored), expected, "{entry:#?}");
}
