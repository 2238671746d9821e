//! Objects that cannot be read, and objects that change each other.

use std::time::Duration;

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, Kind, Object, ObjectKey, PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::{DnsPolicy, PodSelector},
    sync::{Event, Fact},
};

use crate::rig::{Rig, entry_of, node, pod, policy};

#[test]
fn objects_that_cannot_be_read_at_all_are_told_once_a_list() {
    let mut rig = Rig::new(policy());
    rig.start((0..3).map(pod));
    let blind = || Event::Undecodable {
        kind: Kind::Pod,
        key: None,
        uid: None,
        why: "no metadata".into(),
    };
    rig.tell((0..100).map(|_| blind()));
    let told = |rig: &Rig| {
        rig.facts
            .iter()
            .filter(|f| matches!(f, Fact::Blind { .. }))
            .count()
    };
    assert_eq!(told(&rig), 1);
    let list = std::iter::once(Event::RelistBegan(Kind::Pod)).chain((0..100).map(|_| blind()));
    rig.tell(list.chain([Event::RelistDone(Kind::Pod)]));
    assert_eq!(told(&rig), 2);
    // Nothing goes for being absent, until a list without such an object was read.
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.server.entries().count(), 4);
    rig.listed(Kind::Pod, [Object::Pod(pod(0))]);
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn a_slice_reaches_its_pod_also_where_the_entry_is_selected_by_uid() {
    let mut policy = policy();
    policy.pods.selectors = [PodSelector::PodUid].into();
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let mut rig = Rig::new(policy);
    rig.listed(Kind::EndpointSlice, []);
    let named = |uid: &str| PodSnapshot {
        uid: Uid::new(uid),
        pod_ips: Box::new(["10.0.0.1".into()]),
        ..pod(1)
    };
    rig.start([named("uid-1")]);
    // The pod is made again under its name before the former one's end is seen.
    rig.tell([Event::Applied(Object::Pod(named("uid-2")))]);
    rig.tell([Event::Deleted(
        ObjectKey::new(Kind::Pod, "ns", "pod-0001"),
        Uid::new("uid-1"),
    )]);
    rig.answer_all();
    rig.tell([Event::Applied(Object::EndpointSlice(EndpointsSnapshot {
        namespace: "ns".into(),
        name: "db-x".into(),
        service: Some("db".into()),
        endpoints: Box::new([EndpointSnapshot {
            address: "10.0.0.1".into(),
            hostname: None,
            pod_name: "pod-0001".into(),
            pod_namespace: "ns".into(),
            pod_uid: None,
            ready: true,
        }]),
    }))]);
    rig.answer_all();
    let pods: Vec<&RegisteredEntry> = rig
        .server
        .entries()
        .filter(|e| e.selectors.iter().any(|s| s.value.starts_with("pod-uid:")))
        .collect();
    assert_eq!(pods.len(), 1, "{pods:#?}");
    assert_eq!(pods[0].dns_names.len(), 2 + 3 * 4, "{pods:#?}");
}

/// A list of nodes says nothing of pods: a pod that cannot be read stays held, and keeps its entry, whatever else is listed.
#[test]
fn a_list_of_another_kind_does_not_forget_who_cannot_be_read() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    let before: Vec<RegisteredEntry> = rig.server.entries().cloned().collect();
    rig.tell([Event::Undecodable {
        kind: Kind::Pod,
        key: Some(ObjectKey::new(Kind::Pod, "ns", "pod-0001")),
        uid: Some(Uid::new("uid-1")),
        why: "garbled".into(),
    }]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.wait(Duration::from_secs(30));
    let status = rig.machine.status(rig.now);
    assert!(status.held.contains_key("Undecodable"), "{status:#?}");
    assert_eq!(rig.server.entries().cloned().collect::<Vec<_>>(), before);

    // The same where the pod was never read: only its entry is there.
    let mut rig = Rig::new(policy());
    let entry = entry_of(&policy(), &pod(1));
    rig.server
        .put(RegisteredEntry::created(EntryId::stored("kept"), &entry));
    rig.tell([Event::Leading(true), Event::RelistBegan(Kind::Pod)]);
    rig.tell([
        Event::Undecodable {
            kind: Kind::Pod,
            key: Some(ObjectKey::new(Kind::Pod, "ns", "pod-0001")),
            uid: Some(Uid::new("uid-1")),
            why: "garbled".into(),
        },
        Event::RelistDone(Kind::Pod),
    ]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.answer_all();
    rig.wait(Duration::from_secs(30));
    assert!(
        rig.server.get(&EntryId::stored("kept")).is_some(),
        "{:#?}",
        rig.facts
    );
}
