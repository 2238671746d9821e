//! The definition of SpiffeIDs comes and goes.

use registrar_core::{cluster::Object, ports::KubeCall, sync::Event};

use crate::sleeper::{Sleeper, crd, pod, seconds};

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
