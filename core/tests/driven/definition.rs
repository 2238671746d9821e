//! The definition of SpiffeIDs comes and goes.

use registrar_core::{
    cluster::{Object, Uid},
    ports::KubeCall,
    sync::Event,
};

use crate::{
    by_hand::{by_hand, spec},
    sleeper::{Sleeper, crd, pod, seconds},
};

/// An API server may take them while the definition goes, and would keep it from going.
#[test]
fn no_spiffe_id_is_made_while_the_definition_is_not_in_force_and_all_are_when_it_is_again() {
    let policy = crd();
    let mut sleeper = Sleeper::started(policy, 2);
    sleeper.sleep(seconds(60));
    sleeper.show_changes();
    sleeper.kube_writes.clear();
    sleeper.api.uninstall();
    sleeper.show_changes();
    sleeper.sleep(seconds(1));
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(60));
    let makes = |c: &&KubeCall| matches!(c, KubeCall::Apply(a) if a.uid.is_none());
    assert!(sleeper.api.definition.is_none() && sleeper.api.objects.is_empty());
    assert_eq!(sleeper.kube_writes.iter().find(makes), None);
    sleeper.api.install();
    sleeper.sleep(seconds(10));
    let listed = sleeper.api.list();
    sleeper.tell(listed);
    sleeper.sleep(seconds(10));
    assert_eq!(sleeper.api.objects.len(), 4, "of three pods and a node");
    assert_eq!(sleeper.machine.not_ready(), []);
    assert!(sleeper.registered(7));
}

/// It went with the definition that was before this one; only the watch is late.
#[test]
fn what_is_still_shown_of_a_former_definition_takes_no_entry_with_it() {
    let mut sleeper = Sleeper::started(crd(), 0);
    sleeper.api.put(&by_hand(), spec("by-hand"));
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let mut next = sleeper.api.definition.clone().expect("installed");
    next.uid = Uid::new("the-next-one");
    next.created = "9".into();
    sleeper.api.definition = Some(next);
    sleeper.api.delete(&by_hand());
    sleeper.show_changes();
    sleeper.show_all();
    sleeper.sleep(seconds(30));
    assert!(
        !sleeper.api.objects.contains_key(&by_hand()),
        "it is let go"
    );
    let there = |s: &Sleeper| s.server.entries().any(|e| e.spiffe_id.path() == "/by-hand");
    assert!(there(&sleeper));
    // It comes back, as the others do.
    sleeper.api.put(&by_hand(), spec("by-hand"));
    sleeper.show_all();
    sleeper.sleep(seconds(120));
    assert!(there(&sleeper));
}
