//! Which writes to the Kubernetes API go first: those that someone is without an identity for want of.

use registrar_core::{
    cluster::{Object, SPIFFE_ID_FINALIZER},
    entry::RegisteredEntry,
    ports::{KubeCall, ResourceName},
    sync::{Event, NotReady},
};

use crate::{
    by_hand::spec,
    sleeper::{Sleeper, crd, pod, seconds},
};

fn sleeper(unanswered: fn(&KubeCall) -> bool) -> Sleeper {
    let policy = crd();
    let mut sleeper = Sleeper::new(policy);
    sleeper.unanswered = unanswered;
    sleeper
}

fn by_hand(n: usize) -> ResourceName {
    ResourceName::new("apps", format!("by-hand-{n}"))
}

fn has(sleeper: &Sleeper, path: &str) -> bool {
    let is = |e: &RegisteredEntry| e.spiffe_id.path() == path;
    sleeper.server.entries().any(is)
}

#[test]
fn pods_get_their_spiffe_ids_and_entries_while_no_status_is_written() {
    let mut sleeper = sleeper(|call| matches!(call, KubeCall::WriteStatus { .. }));
    sleeper.start(300);
    let without: Vec<usize> = (0..300).filter(|n| !sleeper.registered(*n)).collect();
    assert_eq!(without, [0; 0]);
    assert_eq!(sleeper.machine.not_ready(), [NotReady::FirstSync]);
}

#[test]
fn statuses_are_written_while_there_is_no_end_of_new_pods() {
    let applies_to_pod =
        |call: &KubeCall| matches!(call, KubeCall::Apply(a) if &*a.name.namespace == "apps");
    let mut sleeper = sleeper(applies_to_pod);
    sleeper.api.put(&by_hand(0), spec("by-hand"));
    let object = sleeper.api.objects.get_mut(&by_hand(0)).expect("there");
    object.finalizers = [SPIFFE_ID_FINALIZER.into()].into();
    sleeper.start(300);
    let status = &sleeper.api.objects[&by_hand(0)].status;
    assert!(status.entry_id.is_some(), "{status:?}");
}

#[test]
fn one_whose_status_is_yet_to_be_written_is_looked_at_when_it_changes() {
    let mut sleeper = sleeper(|call| matches!(call, KubeCall::WriteStatus { .. }));
    sleeper.start(1);
    for n in 0..100 {
        sleeper.api.put(&by_hand(n), spec(&format!("first/{n}")));
    }
    sleeper.show_changes();
    assert!(has(&sleeper, "/first/99"));
    sleeper.api.put(&by_hand(99), spec("second"));
    sleeper.show_changes();
    assert!(has(&sleeper, "/second") && !has(&sleeper, "/first/99"));
}

#[test]
fn when_statuses_are_written_again_none_is_missing() {
    let mut sleeper = sleeper(|call| matches!(call, KubeCall::WriteStatus { .. }));
    sleeper.start(300);
    sleeper.unanswered = |_| false;
    sleeper.restart(300);
    sleeper.sleep(seconds(60));
    let missing = sleeper
        .api
        .objects
        .values()
        .filter(|o| o.status.entry_id.is_none());
    assert_eq!((missing.count(), sleeper.machine.not_ready()), (0, vec![]));
    assert_eq!(sleeper.machine.status(sleeper.now).busy, 0);
}

#[test]
fn a_write_to_the_kubernetes_api_that_is_under_way_counts_as_such() {
    let mut sleeper = Sleeper::started(crd(), 1);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.status(sleeper.now).in_flight, 0);
    sleeper.unanswered = |call| matches!(call, KubeCall::Apply(_));
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    assert_eq!(sleeper.machine.status(sleeper.now).in_flight, 1);
}

/// SpiffeIDs of which nothing is missing but that their statuses say so.
fn with_statuses_to_write(sleeper: &mut Sleeper) {
    for n in 0..100 {
        sleeper.api.put(&by_hand(n), spec(&format!("hand/{n}")));
        let object = sleeper.api.objects.get_mut(&by_hand(n)).expect("there");
        object.finalizers = [SPIFFE_ID_FINALIZER.into()].into();
    }
}

fn under_way(sleeper: &Sleeper) -> (usize, usize) {
    let status = |call: &&KubeCall| matches!(call, KubeCall::WriteStatus { .. });
    let statuses = sleeper.kube_writes.iter().filter(status).count();
    (sleeper.kube_writes.len() - statuses, statuses)
}

#[test]
fn of_sixteen_writes_two_are_kept_for_statuses_and_no_more_than_eight_are_theirs() {
    let nothing_answered = || {
        let mut sleeper = Sleeper::started(crd(), 0);
        sleeper.sleep(seconds(60));
        sleeper.kube_writes.clear();
        sleeper.unanswered = KubeCall::is_write;
        sleeper
    };
    let pods = |sleeper: &mut Sleeper| {
        let pods = (0..100).map(|n| Event::Applied(Object::Pod(pod(n))));
        sleeper.tell(pods.collect());
    };
    let statuses = |sleeper: &mut Sleeper| {
        with_statuses_to_write(sleeper);
        sleeper.show_all();
    };
    let mut sleeper = nothing_answered();
    pods(&mut sleeper);
    assert_eq!(under_way(&sleeper), (14, 0));
    statuses(&mut sleeper);
    assert_eq!(under_way(&sleeper), (14, 2));

    let mut sleeper = nothing_answered();
    statuses(&mut sleeper);
    assert_eq!(under_way(&sleeper), (0, 8));
    pods(&mut sleeper);
    assert_eq!(under_way(&sleeper), (8, 8));
}
