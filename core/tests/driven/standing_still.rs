//! What goes first of all that waited while everything stood still, and what is not asked for again without a reason.

use registrar_core::{
    cluster::{Kind, Object},
    ports::{Failure, FailureClass, KubeCall, ResourceName},
    sync::{Event, Fact, NotReady, Reconciler},
};

use crate::{
    by_hand::{spec, spec_in},
    sleeper::{Sleeper, crd, pod, seconds},
};

#[test]
fn spiffe_ids_in_our_own_namespace_go_first_whichever_came_first() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    sleeper.tell(vec![Event::Paused(true)]);
    for n in 0..30 {
        let name = ResourceName::new("apps", format!("by-hand-{n:02}"));
        sleeper.api.put(&name, spec(&format!("hand/{n}")));
    }
    let own = ResourceName::new("spire", "by-hand");
    sleeper.api.put(&own, spec_in("spire", "own"));
    sleeper.show_all();
    let step = sleeper.machine.step(sleeper.now, [Event::Paused(false)]);
    let first: Vec<&ResourceName> = step
        .kube_calls
        .iter()
        .filter_map(|(_, call)| match call {
            KubeCall::SetFinalizers { name, .. } => Some(name),
            _ => None,
        })
        .collect();
    assert_eq!(first.first(), Some(&&own), "{first:?}");
    assert!(first.len() > 1, "{first:?}");
}

#[test]
fn a_list_of_spiffe_ids_asks_for_the_definition_once_and_no_other_list_does() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    sleeper.definition_read.clear();
    sleeper.list(Kind::Pod, (0..2).map(|n| Object::Pod(pod(n))));
    assert_eq!(sleeper.definition_read, []);
    sleeper.show_all();
    assert_eq!(sleeper.definition_read, [sleeper.now]);
    sleeper.sleep(seconds(600));
    assert_eq!(sleeper.definition_read.len(), 1);
}

#[test]
fn what_is_known_of_the_definition_is_said_until_it_is_in_force() {
    let mut fresh = Reconciler::new(crd(), 1);
    fresh.step(seconds(1), [Event::Leading(true)]);
    let unread = NotReady::DefinitionNotRead;
    assert!(
        fresh.not_ready().contains(&unread),
        "{:?}",
        fresh.not_ready()
    );

    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    // Somebody's finalizer keeps a SpiffeID, and so the definition.
    let kept = ResourceName::new("apps", "pod-1");
    let object = sleeper.api.objects.get_mut(&kept).expect("there");
    let finalizers = object.finalizers.iter().cloned();
    object.finalizers = finalizers.chain(["somebodys".into()]).collect();
    sleeper.api.uninstall();
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let not_ready = sleeper.machine.not_ready();
    assert_eq!(not_ready, [NotReady::DefinitionTerminating]);
    let told = |fact: &Fact| sleeper.facts.iter().filter(|f| *f == fact).count();
    assert_eq!(told(&Fact::DefinitionTerminating), 1);
    assert_eq!(told(&Fact::DefinitionMissing), 0);
}

#[test]
fn a_definition_that_cannot_be_read_is_asked_for_again_and_each_failure_is_told_once() {
    for class in [
        FailureClass::Retry,
        FailureClass::Permanent,
        FailureClass::Denied,
    ] {
        let mut sleeper = Sleeper::new(crd());
        sleeper.definition_failure = Some(Failure::new(class, "it failed"));
        sleeper.start(2);
        sleeper.sleep(seconds(60));
        let told = |f: &&Fact| {
            matches!(f, Fact::KubernetesFailed { operation, failure, .. }
                if *operation == "read_definition" && failure.class == FailureClass::Retry)
        };
        let told = sleeper.facts.iter().filter(told).count();
        assert!((5..100).contains(&told), "{told} a minute");
        assert_eq!(told, sleeper.definition_read.len(), "{class:?}");
        assert!(!sleeper.registered(1));
        sleeper.definition_failure = None;
        sleeper.sleep(seconds(10));
        assert!(sleeper.registered(1));
        assert_eq!(sleeper.machine.not_ready(), []);
    }
}
