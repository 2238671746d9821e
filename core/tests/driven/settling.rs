//! What was written is taken for seen only when the watch shows it.

use registrar_core::{
    cluster::{Object, SPIFFE_ID_FINALIZER},
    ports::{KubeCall, ResourceName},
    sync::{Event, NotReady},
};

use crate::{
    by_hand::{by_hand, spec},
    sleeper::{Sleeper, crd, pod, seconds},
};

#[test]
fn a_start_is_not_ready_before_the_watch_shows_what_was_written() {
    let mut sleeper = Sleeper::new(crd());
    sleeper.shows = false;
    sleeper.start(1);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.not_ready(), [NotReady::FirstSync]);
    sleeper.shows = true;
    while !sleeper.api.changes.is_empty() {
        sleeper.show_changes();
        sleeper.sleep(seconds(10));
    }
    assert_eq!(sleeper.machine.not_ready(), []);
}

#[test]
fn what_was_written_and_is_not_in_the_next_list_is_made_again() {
    let mut sleeper = Sleeper::started(crd(), 1);
    sleeper.sleep(seconds(60));
    let name = ResourceName::new("apps", "pod-7");
    sleeper.shows = false;
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    assert!(sleeper.api.objects.remove(&name).is_some(), "it was made");
    sleeper.shows = true;
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    assert!(sleeper.api.objects.contains_key(&name), "and is again");
    assert!(sleeper.registered(7));
}

#[test]
fn a_status_that_the_api_server_did_not_keep_is_no_reason_not_to_write_another() {
    let mut sleeper = Sleeper::started(crd(), 0);
    sleeper.sleep(seconds(60));
    sleeper.spoil = |call, object| {
        if matches!(call, KubeCall::WriteStatus { .. }) {
            object.status.conditions = Default::default();
        }
    };
    sleeper.api.put(&by_hand(), spec("one"));
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let statuses = |sleeper: &Sleeper| {
        let is =
            |c: &&KubeCall| matches!(c, KubeCall::WriteStatus { name, .. } if *name == by_hand());
        sleeper.kube_writes.iter().filter(is).count()
    };
    assert_eq!(statuses(&sleeper), 1);
    sleeper.api.put(&by_hand(), spec("two"));
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    assert_eq!(statuses(&sleeper), 2, "{:#?}", sleeper.kube_writes);
}

/// It keeps the definition from going, and nothing is lost by it: the server is not asked for anything.
#[test]
fn finalizers_leave_with_the_definition_at_once_while_the_server_does_not_answer() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    let living = ResourceName::new("apps", "pod-1");
    sleeper.away = true;
    sleeper.api.put(&by_hand(), spec("by-hand"));
    sleeper.show_all();
    sleeper.sleep(seconds(600));
    sleeper.kube_writes.clear();
    let definition = sleeper.api.definition.as_mut().expect("installed");
    definition.terminating = true;
    sleeper.api.delete(&by_hand());
    sleeper.show_all();
    assert!(!sleeper.api.objects.contains_key(&by_hand()));
    // This one is still to be deleted.
    let of_living =
        |c: &KubeCall| matches!(c, KubeCall::SetFinalizers { name, .. } if *name == living);
    assert!(!sleeper.kube_writes.iter().any(of_living));
    let finalizers = &sleeper.api.objects[&living].finalizers;
    assert_eq!(**finalizers, [SPIFFE_ID_FINALIZER.into()]);
}

#[test]
fn while_all_writing_is_paused_no_finalizer_leaves_with_the_definition() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    sleeper.tell(vec![Event::Paused(true)]);
    sleeper.kube_writes.clear();
    sleeper.api.uninstall();
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.kube_writes, []);
    sleeper.tell(vec![Event::Paused(false)]);
    sleeper.sleep(seconds(60));
    assert!(sleeper.api.objects.is_empty(), "{:?}", sleeper.api.objects);
}
