//! The DNS names of pods: how many, which stay, and those through Services.

use std::{collections::BTreeSet, sync::Arc};

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, PodSnapshot, Uid},
    policy::DnsPolicy,
    rules::{DroppedName, MAX_DNS_NAMES, kept_service_names, pod_dns_names, service_names_of},
};

fn pod(ips: usize) -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: "db".into(),
        uid: Uid::new("u"),
        node_name: Some("n1".into()),
        service_account: Some("blog".into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: (0..ips).map(|n| format!("10.0.0.{n}").into()).collect(),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn endpoint(pod: &str, uid: &str, ready: bool) -> EndpointSnapshot {
    EndpointSnapshot {
        address: "10.0.0.1".into(),
        hostname: None,
        pod_name: pod.into(),
        pod_namespace: "apps".into(),
        pod_uid: Some(Uid::new(uid)),
        ready,
    }
}

fn slice(
    namespace: &str,
    service: Option<&str>,
    endpoints: &[EndpointSnapshot],
) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: namespace.into(),
        name: "slice".into(),
        service: service.map(Arc::from),
        endpoints: endpoints.to_vec().into(),
    }
}

fn through_services() -> DnsPolicy {
    DnsPolicy::Templates {
        templates: [].into(),
        services: true,
    }
}

fn names(
    policy: &DnsPolicy,
    pod: &PodSnapshot,
    slices: &[EndpointsSnapshot],
) -> (Vec<String>, Vec<DroppedName>) {
    let slices: Vec<_> = slices.iter().collect();
    let (names, dropped) = pod_dns_names(policy, pod, &slices);
    (names.iter().map(ToString::to_string).collect(), dropped)
}

#[test]
fn a_pod_has_the_names_of_the_services_that_it_is_a_ready_endpoint_of_in_its_own_namespace() {
    let ready = endpoint("db", "u", true);
    let slices = [
        slice("apps", Some("b"), std::slice::from_ref(&ready)),
        slice(
            "apps",
            Some("a"),
            &[endpoint("other", "v", true), ready.clone()],
        ),
        slice("apps", Some("b"), std::slice::from_ref(&ready)),
        slice("apps", Some("unready"), &[endpoint("db", "u", false)]),
        slice("apps", None, std::slice::from_ref(&ready)),
        slice("elsewhere", Some("c"), std::slice::from_ref(&ready)),
        slice(
            "apps",
            Some("d"),
            &[EndpointSnapshot {
                pod_namespace: "elsewhere".into(),
                ..ready
            }],
        ),
    ];
    let (found, dropped) = names(&through_services(), &pod(1), &slices);
    assert_eq!(found, ["a.apps.svc", "b.apps.svc"]);
    assert_eq!(dropped, []);
    assert_eq!(names(&DnsPolicy::None, &pod(1), &slices).0, [""; 0]);
}

#[test]
fn an_entry_gets_a_hundred_names_and_the_number_of_the_rest_is_told() {
    let policy = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let (found, dropped) = names(&policy, &pod(50), &[]);
    assert_eq!((found.len(), dropped.len()), (MAX_DNS_NAMES, 0));
    let (found, dropped) = names(&policy, &pod(52), &[]);
    assert_eq!(found.len(), MAX_DNS_NAMES);
    assert_eq!(dropped, [DroppedName::TooMany(4)]);
}

#[test]
fn a_service_name_that_was_given_stays_while_the_pods_address_is_in_the_service() {
    let unready = endpoint("db", "u", false);
    let slices = [
        slice("apps", Some("given"), std::slice::from_ref(&unready)),
        slice("apps", Some("never-given"), std::slice::from_ref(&unready)),
        slice("apps", Some("left"), &[endpoint("other", "v", true)]),
        slice("elsewhere", Some("far"), std::slice::from_ref(&unready)),
        slice("apps", None, &[unready]),
    ];
    let slices: Vec<_> = slices.iter().collect();
    let given: BTreeSet<Arc<str>> = ["given.apps.svc", "left.apps.svc", "far.apps.svc"]
        .map(Arc::from)
        .into();
    let kept = |policy: &DnsPolicy| -> Vec<String> {
        let names = kept_service_names(policy, &pod(1), &slices, &given);
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(kept(&through_services()), ["given.apps.svc"]);
    for policy in [
        DnsPolicy::None,
        DnsPolicy::Templates {
            templates: [].into(),
            services: false,
        },
    ] {
        assert_eq!(kept(&policy), [""; 0], "{policy:?}");
    }
}

#[test]
fn by_a_pods_uid_its_services_are_found_and_whether_it_is_ready_for_one_of_each_name() {
    let here = |ready| endpoint("db", "u", ready);
    let slices = [
        slice("apps", Some("both"), &[here(false)]),
        slice("apps", Some("both"), &[here(true)]),
        slice("apps", Some("both"), &[here(false)]),
        slice("apps", Some("unready"), &[here(false)]),
        slice("apps", Some("others"), &[endpoint("db", "v", true)]),
        slice("apps", Some("no_name"), &[here(true)]),
        slice("apps", None, &[here(true)]),
        slice("elsewhere", Some("far"), &[here(true)]),
    ];
    let slices: Vec<_> = slices.iter().collect();
    let found: Vec<(String, bool)> = service_names_of(&Uid::new("u"), &slices)
        .into_iter()
        .map(|(name, ready)| (name.to_string(), ready))
        .collect();
    let expected = [("both.apps.svc", true), ("unready.apps.svc", false)];
    assert_eq!(
        found,
        expected.map(|(name, ready)| (name.to_owned(), ready))
    );
}
