//! What a pod asks for in crd mode, and takes back: what becomes of its SpiffeID, or of that which is in its place.

use std::sync::Arc;

use registrar_core::{
    cluster::{
        EndpointSnapshot, EndpointsSnapshot, Kind, Object, ObjectKey, PodSnapshot,
        SPIFFE_ID_FINALIZER,
    },
    policy::{DnsPolicy, IdentitySource, MaxDeletes, Policy},
    ports::{Failure, FailureClass, KubeCall, ResourceName},
    sync::{Event, Fact},
};

use crate::{
    by_hand::spec,
    sleeper::{Sleeper, crd, pod, seconds},
};

fn policy() -> Policy {
    let mut policy = crd();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn of_pod(n: usize) -> ResourceName {
    ResourceName::new("apps", format!("pod-{n}"))
}

/// Pod number `n`, which asks for this identity.
fn asking(n: usize, identity: &str) -> PodSnapshot {
    let mut pod = pod(n);
    pod.annotations = [(Arc::from("id"), Arc::from(identity))].into();
    pod
}

fn apply(sleeper: &mut Sleeper, pod: PodSnapshot) {
    sleeper.tell(vec![Event::Applied(Object::Pod(pod))]);
}

fn end(sleeper: &mut Sleeper, n: usize) {
    let pod = pod(n);
    let key = ObjectKey::new(Kind::Pod, pod.namespace, pod.name);
    sleeper.tell(vec![Event::Deleted(key, pod.uid)]);
    sleeper.sleep(seconds(60));
}

/// One pod that has what it asks for.
fn at_rest(policy: Policy) -> Sleeper {
    let mut sleeper = Sleeper::started(policy, 0);
    apply(&mut sleeper, asking(1, "team/a"));
    sleeper.sleep(seconds(60));
    assert!(sleeper.registered(1));
    sleeper.kube_writes.clear();
    sleeper.facts.clear();
    sleeper
}

fn deletes(sleeper: &Sleeper) -> usize {
    let is = |c: &&KubeCall| matches!(c, KubeCall::Delete(..));
    sleeper.kube_writes.iter().filter(is).count()
}

/// The identities that were applied, in order.
fn applied(sleeper: &Sleeper) -> Vec<String> {
    let spiffe_id = |c: &KubeCall| match c {
        KubeCall::Apply(wanted) => Some(wanted.spec.spiffe_id.to_string()),
        _ => None,
    };
    sleeper.kube_writes.iter().filter_map(spiffe_id).collect()
}

#[test]
fn a_persons_spiffe_id_stays_although_the_pod_of_its_name_asks_for_none() {
    let mut sleeper = Sleeper::started(policy(), 0);
    sleeper.api.put(&of_pod(1), spec("theirs"));
    sleeper.show_all();
    sleeper.sleep(seconds(10));
    apply(&mut sleeper, pod(1));
    sleeper.sleep(seconds(120));
    assert_eq!(deletes(&sleeper), 0, "{:?}", sleeper.kube_writes);
    assert!(!sleeper.api.objects[&of_pod(1)].deleting);
}

#[test]
fn a_pod_that_asks_for_nothing_is_counted_as_skipped_until_it_is_gone() {
    let mut sleeper = at_rest(policy());
    apply(&mut sleeper, pod(7));
    sleeper.sleep(seconds(10));
    let skipped = |sleeper: &Sleeper| {
        let skipped = sleeper.machine.status(sleeper.now).skipped;
        skipped.values().sum::<usize>()
    };
    assert_eq!(skipped(&sleeper), 1);
    end(&mut sleeper, 7);
    assert_eq!(skipped(&sleeper), 0);
}

#[test]
fn the_spiffe_id_of_a_pod_that_is_gone_is_left_to_the_garbage_collector() {
    let mut sleeper = at_rest(policy());
    end(&mut sleeper, 1);
    assert_eq!(sleeper.kube_writes, []);
    assert!(sleeper.registered(1), "until then it has its entry");
}

#[test]
fn a_spiffe_id_that_is_already_being_deleted_is_not_deleted_once_more() {
    let mut sleeper = at_rest(policy());
    let object = sleeper.api.objects.get_mut(&of_pod(1)).expect("there");
    object.finalizers = [SPIFFE_ID_FINALIZER.into(), "somebodys".into()].into();
    sleeper.api.delete(&of_pod(1));
    sleeper.show_all();
    apply(&mut sleeper, pod(1));
    sleeper.sleep(seconds(120));
    assert_eq!(deletes(&sleeper), 0, "{:?}", sleeper.kube_writes);
}

/// The breaker holds back what a pod gives up; what it asks for again is not to go when an operator lets the rest go.
#[test]
fn what_a_pod_asks_for_again_does_not_go_when_deletes_are_confirmed() {
    let mut cautious = policy();
    cautious.max_deletes = MaxDeletes::Count(0);
    let mut sleeper = at_rest(cautious);
    apply(&mut sleeper, asking(2, "team/b"));
    sleeper.sleep(seconds(60));
    for n in [1, 2] {
        apply(&mut sleeper, pod(n));
    }
    sleeper.sleep(seconds(60));
    let held_back = |sleeper: &Sleeper| {
        let tripped = sleeper.machine.status(sleeper.now).tripped;
        tripped.map(|(_, deletes)| deletes)
    };
    assert_eq!(held_back(&sleeper), Some(2));
    apply(&mut sleeper, asking(1, "team/a"));
    sleeper.sleep(seconds(60));
    assert_eq!(held_back(&sleeper), Some(1));
    sleeper.tell(vec![Event::ConfirmDeletes(None)]);
    sleeper.sleep(seconds(60));
    assert!(sleeper.registered(1));
    assert!(!sleeper.registered(2) && !sleeper.api.objects.contains_key(&of_pod(2)));
}

#[test]
fn in_crd_mode_too_a_pod_that_does_not_come_to_rest_is_written_ever_less_often() {
    let mut sleeper = at_rest(policy());
    // Five changes a second for ten minutes.
    for turn in 1..=3000 {
        sleeper.sleep(seconds(1) / 5);
        apply(&mut sleeper, asking(1, &format!("team/{turn}")));
    }
    let during = applied(&sleeper).len();
    assert!((30..60).contains(&during), "{during} writes in ten minutes");
    sleeper.sleep(seconds(16));
    let last = applied(&sleeper).pop();
    assert_eq!(last.as_deref(), Some("spiffe://example.org/team/3000"));
}

#[test]
fn a_write_that_waits_for_the_api_is_not_made_when_the_pod_has_changed_meanwhile() {
    let mut sleeper = at_rest(policy());
    sleeper.kube_failure = Some(Failure::new(FailureClass::Retry, "connection refused"));
    apply(&mut sleeper, asking(1, "team/b"));
    sleeper.sleep(seconds(60));
    sleeper.kube_writes.clear();
    sleeper.kube_failure = None;
    apply(&mut sleeper, asking(1, "team/c"));
    sleeper.sleep(seconds(60));
    assert_eq!(applied(&sleeper), ["spiffe://example.org/team/c"]);
}

/// An API server may take it all the same, and would keep the definition from going.
#[test]
fn a_spiffe_id_that_waits_for_the_api_is_not_made_when_the_definition_is_going_by_then() {
    let mut sleeper = at_rest(policy());
    let object = sleeper.api.objects.get_mut(&of_pod(1)).expect("there");
    object.finalizers = [SPIFFE_ID_FINALIZER.into(), "somebodys".into()].into();
    sleeper.kube_failure = Some(Failure::new(FailureClass::Retry, "connection refused"));
    apply(&mut sleeper, asking(7, "team/b"));
    sleeper.sleep(seconds(60));
    sleeper.kube_writes.clear();
    sleeper.api.uninstall();
    sleeper.show_all();
    sleeper.kube_failure = None;
    sleeper.sleep(seconds(60));
    assert_eq!(applied(&sleeper), [""; 0]);
    assert!(sleeper.facts.contains(&Fact::DefinitionTerminating));
}

#[test]
fn a_pod_that_is_not_ready_for_a_while_keeps_the_names_of_its_services() {
    let mut named = policy();
    named.pods.dns = DnsPolicy::Templates {
        templates: [].into(),
        services: true,
    };
    let mut sleeper = Sleeper::started(named, 0);
    sleeper.list(Kind::EndpointSlice, []);
    apply(&mut sleeper, asking(1, "team/a"));
    let slice = |ready| EndpointsSnapshot {
        namespace: "apps".into(),
        name: "slice-1".into(),
        service: Some("web".into()),
        endpoints: [EndpointSnapshot {
            address: "10.0.0.1".into(),
            hostname: None,
            pod_name: "pod-1".into(),
            pod_namespace: "apps".into(),
            pod_uid: Some(pod(1).uid),
            ready,
        }]
        .into(),
    };
    let names = |sleeper: &Sleeper| {
        let spec = sleeper.api.objects[&of_pod(1)].spec.clone();
        spec.expect("readable").dns_names.clone()
    };
    let before = names(&sleeper);
    sleeper.tell(vec![Event::Applied(Object::EndpointSlice(slice(true)))]);
    sleeper.sleep(seconds(30));
    let given = names(&sleeper);
    assert!(given.len() > before.len(), "{given:?}");
    sleeper.tell(vec![Event::Applied(Object::EndpointSlice(slice(false)))]);
    sleeper.sleep(seconds(30));
    assert_eq!(names(&sleeper), given);
}
