//! EndpointSlices: whose names change with which change of a slice, and whose do not.

use std::time::Duration;

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, Kind, Object, ObjectKey, PodSnapshot, Uid},
    policy::DnsPolicy,
    sync::Event,
};

use crate::rig::{self, Rig};

fn pod(n: usize) -> PodSnapshot {
    PodSnapshot {
        pod_ips: Box::new([format!("10.0.0.{n}").into()]),
        ..rig::pod(n)
    }
}

fn endpoint(n: usize, hostname: Option<&str>) -> EndpointSnapshot {
    EndpointSnapshot {
        address: format!("10.0.0.{n}").into(),
        hostname: hostname.map(Into::into),
        pod_name: pod(n).name,
        pod_namespace: "ns".into(),
        pod_uid: None,
        ready: true,
    }
}

fn slice(service: &str, endpoints: Vec<EndpointSnapshot>) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: "ns".into(),
        name: "slice".into(),
        service: Some(service.into()),
        endpoints: endpoints.into(),
    }
}

/// Pods 1 and 2, with a Service of which both are.
fn served() -> Rig {
    let mut policy = rig::policy();
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let mut rig = Rig::new(policy);
    rig.listed(Kind::EndpointSlice, []);
    rig.start([pod(1), pod(2)]);
    rig.wait(Duration::from_secs(1));
    assert!(!named(&rig, 1, "db") && !named(&rig, 2, "db"));
    apply(&mut rig, slice("db", both()));
    assert!(named(&rig, 1, "db") && named(&rig, 2, "db"));
    rig.writes.clear();
    rig
}

fn both() -> Vec<EndpointSnapshot> {
    vec![endpoint(1, None), endpoint(2, None)]
}

fn apply(rig: &mut Rig, slice: EndpointsSnapshot) {
    rig.tell([Event::Applied(Object::EndpointSlice(slice))]);
    rig.answer_all();
}

/// Whether a pod's entry has a name in which this Service is.
fn named(rig: &Rig, n: usize, service: &str) -> bool {
    let own = format!("pod-name:{}", pod(n).name);
    let mut entries = rig.server.entries();
    let entry = entries.find(|e| e.selectors.iter().any(|s| *s.value == *own));
    let names = &entry.expect("registered").dns_names;
    let part = format!("{service}.ns.svc");
    names.iter().any(|n| n.as_str().ends_with(&part))
}

/// How many entries were written.
fn written(rig: &Rig) -> usize {
    rig.writes.iter().map(|(_, call)| rig::size(call)).sum()
}

#[test]
fn a_slice_that_is_as_it_was_changes_nothing() {
    let mut rig = served();
    apply(&mut rig, slice("db", both()));
    let again = Object::EndpointSlice(slice("db", both()));
    rig.listed(Kind::EndpointSlice, [again]);
    rig.answer_all();
    rig.wait(Duration::from_secs(1));
    assert_eq!(written(&rig), 0, "{:#?}", rig.writes);
    assert!(named(&rig, 1, "db") && named(&rig, 2, "db"));
}

#[test]
fn a_pod_that_leaves_a_slice_loses_its_names_and_no_other_does() {
    let mut rig = served();
    apply(&mut rig, slice("db", vec![endpoint(1, None)]));
    assert!(named(&rig, 1, "db") && !named(&rig, 2, "db"));
    assert_eq!(written(&rig), 1, "{:#?}", rig.writes);
    apply(&mut rig, slice("db", both()));
    assert!(named(&rig, 1, "db") && named(&rig, 2, "db"));
    assert_eq!(written(&rig), 2, "{:#?}", rig.writes);
}

#[test]
fn all_names_follow_the_service_of_a_slice() {
    let mut rig = served();
    apply(&mut rig, slice("cache", both()));
    for n in [1, 2] {
        assert!(named(&rig, n, "cache") && !named(&rig, n, "db"));
    }
    assert_eq!(written(&rig), 2, "{:#?}", rig.writes);
}

#[test]
fn names_come_with_the_hostname_of_an_endpoint_for_its_pod_alone() {
    let mut rig = served();
    let with = vec![endpoint(1, Some("first")), endpoint(2, None)];
    apply(&mut rig, slice("db", with));
    assert!(named(&rig, 1, "first.db") && !named(&rig, 2, "first.db"));
    assert_eq!(written(&rig), 1, "{:#?}", rig.writes);
}

#[test]
fn names_go_with_a_slice_that_is_deleted_or_that_a_list_does_not_have() {
    let mut rig = served();
    let key = ObjectKey::new(Kind::EndpointSlice, "ns", "slice");
    rig.tell([Event::Deleted(key, Uid::new(""))]);
    rig.answer_all();
    assert!(!named(&rig, 1, "db") && !named(&rig, 2, "db"));

    let mut rig = served();
    rig.listed(Kind::EndpointSlice, []);
    rig.answer_all();
    assert!(!named(&rig, 1, "db") && !named(&rig, 2, "db"));
    rig.wait(Duration::from_secs(30));
    assert_eq!(written(&rig), 2, "{:#?}", rig.writes);
}
