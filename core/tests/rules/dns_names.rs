//! All names that reach a pod.

use std::sync::Arc;

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, PodSnapshot},
    policy::DnsPolicy,
};

use crate::{decide_with, entry, pod, policy};

fn slice(
    service: Option<&str>,
    address: &str,
    hostname: Option<&str>,
    pod: &str,
) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: "bar".into(),
        name: format!("{}-x", service.unwrap_or("none")).into(),
        service: service.map(Arc::from),
        endpoints: Box::new([EndpointSnapshot {
            address: address.into(),
            hostname: hostname.map(Box::from),
            pod_name: pod.into(),
            pod_namespace: "bar".into(),
            pod_uid: None,
            ready: true,
        }]),
    }
}

fn names_of(pod: &PodSnapshot, slices: &[EndpointsSnapshot]) -> Vec<String> {
    let mut policy = policy();
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let entry = entry(decide_with(&policy, pod, slices));
    entry.dns_names.iter().map(ToString::to_string).collect()
}

fn with_ip(name: &str, ips: &[&str]) -> PodSnapshot {
    PodSnapshot {
        name: name.into(),
        pod_ips: ips.iter().map(|ip| Box::from(*ip)).collect(),
        ..pod()
    }
}

const OWN: [&str; 2] = [
    "123-123-123-124.bar.pod.cluster.local",
    "123-123-123-124.bar.pod",
];

#[test]
fn a_pod_without_services_has_its_own_two_names_and_without_an_address_none() {
    assert_eq!(names_of(&with_ip("foo", &["123.123.123.124"]), &[]), OWN);
    assert!(names_of(&pod(), &[slice(Some("foo-svc"), "1.2.3.4", None, "foo")]).is_empty());
}

#[test]
fn a_service_adds_three_prefixes_in_four_forms_after_the_pods_own_names() {
    let slices = [slice(Some("foo-svc"), "123.123.123.123", None, "foo")];
    let found = names_of(&with_ip("foo", &["123.123.123.124"]), &slices);
    let mut through: Vec<String> = Vec::new();
    for prefix in ["foo-svc", "foo.foo-svc", "123-123-123-123.foo-svc"] {
        for form in [".bar.svc.cluster.local", ".bar.svc", ".bar", ""] {
            through.push(format!("{prefix}{form}"));
        }
    }
    through.sort();
    assert_eq!(found[..2], OWN);
    assert_eq!(found[2..], through);
}

#[test]
fn a_dotted_pod_name_makes_no_names_and_a_dotted_service_name_none_at_all() {
    let dotted = with_ip("foo.3.0.0.woo", &["123.123.123.124"]);
    let slices = [slice(
        Some("foo-svc"),
        "123.123.123.123",
        None,
        "foo.3.0.0.woo",
    )];
    assert_eq!(names_of(&dotted, &slices).len(), 10);
    let pod = with_ip("foo", &["123.123.123.124"]);
    let slices = [
        slice(Some("foo-svc.3.0.0"), "123.123.123.123", None, "foo"),
        slice(None, "123.123.123.123", None, "foo"),
        slice(Some("other"), "123.123.123.123", None, "another-pod"),
    ];
    assert_eq!(names_of(&pod, &slices), OWN);
}

#[test]
fn a_host_name_replaces_the_address_and_the_pods_name() {
    let slices = [slice(Some("db"), "123.123.123.124", Some("db-0"), "foo")];
    let found = names_of(&with_ip("foo", &["123.123.123.124"]), &slices);
    assert_eq!(found.len(), 2 + 8);
    assert!(found.contains(&"db-0.db.bar.svc".to_owned()), "{found:?}");
    assert!(!found.iter().any(|n| n.starts_with("foo.db")), "{found:?}");
}

#[test]
fn a_host_name_that_is_empty_or_dotted_is_none() {
    for hostname in ["", "db.0"] {
        let slices = [slice(Some("db"), "1.2.3.4", Some(hostname), "foo")];
        let found = names_of(&with_ip("foo", &["1.2.3.4"]), &slices);
        assert_eq!(found.len(), 2 + 12, "{hostname:?}: {found:?}");
        assert!(found.contains(&"foo.db.bar.svc".to_owned()), "{found:?}");
        assert!(
            found.contains(&"1-2-3-4.db.bar.svc".to_owned()),
            "{found:?}"
        );
    }
}

#[test]
fn every_address_counts_and_a_name_that_no_server_takes_is_left_out() {
    let found = names_of(&with_ip("foo", &["1.2.3.4", "fd00::5", "::1"]), &[]);
    assert_eq!(
        found,
        [
            "1-2-3-4.bar.pod.cluster.local",
            "1-2-3-4.bar.pod",
            "fd00--5.bar.pod.cluster.local",
            "fd00--5.bar.pod",
        ]
    );
}
