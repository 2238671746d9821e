//! Objects that are there and cannot be read: what is held for them, and what is not taken for gone.

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, Uid},
    entry::RegisteredEntry,
    sync::{Event, Fact},
};

use crate::{
    by_hand::{by_hand, spec},
    sleeper::{Sleeper, crd, pod, reconcile, seconds},
};

fn garbled(kind: Kind, key: Option<ObjectKey>, uid: Option<&str>) -> Event {
    Event::Undecodable {
        kind,
        key,
        uid: uid.map(Uid::new),
        why: "garbled".into(),
    }
}

fn held(sleeper: &Sleeper) -> usize {
    sleeper.machine.status(sleeper.now).held.values().sum()
}

fn blind(sleeper: &Sleeper) -> usize {
    let blind = |f: &&Fact| matches!(f, Fact::Blind { .. });
    sleeper.facts.iter().filter(blind).count()
}

/// A cluster of two pods; then an entry appears that is of none of them.
fn with_orphan(events: Vec<Event>) -> Sleeper {
    let mut before = Sleeper::started(reconcile(), 8);
    before.sleep(seconds(10));
    let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == "pod-name:pod-7");
    let orphan = before.server.entries().find(of_pod).expect("registered");
    let mut sleeper = Sleeper::started(reconcile(), 2);
    sleeper.sleep(seconds(10));
    sleeper.tell(events);
    sleeper.server.put(orphan.clone());
    sleeper.sleep(seconds(900));
    sleeper
}

/// Whatever the watch showed and could not be read may be the pod whose entry seems to be nobody's.
#[test]
fn no_entry_goes_while_a_pod_without_a_readable_uid_or_name_may_be_its() {
    let key = ObjectKey::new(Kind::Pod, "apps", "garbled");
    for event in [
        garbled(Kind::Pod, None, None),
        garbled(Kind::Pod, Some(key), None),
        garbled(Kind::Pod, None, Some("uid-x")),
    ] {
        let mut sleeper = with_orphan(vec![event]);
        assert!(sleeper.registered(7));
        assert_eq!(blind(&sleeper), 1);
        sleeper.list(Kind::Pod, (0..2).map(|n| Object::Pod(pod(n))));
        sleeper.sleep(seconds(900));
        assert!(!sleeper.registered(7), "a whole list shows that it is not");
    }
    assert!(!with_orphan(Vec::new()).registered(7));
}

#[test]
fn a_node_that_cannot_be_read_is_held_until_a_list_does_not_have_it() {
    let mut sleeper = Sleeper::started(reconcile(), 1);
    sleeper.sleep(seconds(10));
    let key = ObjectKey::new(Kind::Node, "", "n2");
    sleeper.tell(vec![garbled(Kind::Node, Some(key), Some("u2"))]);
    assert_eq!((held(&sleeper), blind(&sleeper)), (1, 0));
    let n1 = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    sleeper.list(Kind::Node, [Object::Node(n1)]);
    assert_eq!(held(&sleeper), 0);
}

#[test]
fn a_spiffe_id_that_cannot_be_read_any_more_keeps_its_entry_and_is_held() {
    let mut sleeper = Sleeper::started(crd(), 0);
    sleeper.api.put(&by_hand(), spec("one"));
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let object = sleeper.api.objects[&by_hand()].clone();
    let key = ObjectKey::new(Kind::SpiffeId, "apps", "by-hand");
    sleeper.shows = false;
    sleeper.tell(vec![garbled(
        Kind::SpiffeId,
        Some(key),
        Some(&object.uid.0),
    )]);
    sleeper.sleep(seconds(60));
    assert_eq!(held(&sleeper), 1);
    let there = |s: &Sleeper| s.server.entries().any(|e| e.spiffe_id.path() == "/one");
    assert!(there(&sleeper));
    sleeper.shows = true;
    sleeper.show_changes();
    sleeper.sleep(seconds(60));
    assert_eq!(held(&sleeper), 0);
    assert!(there(&sleeper));
}

/// It may ask for just this entry.
#[test]
fn no_entry_goes_while_there_is_a_spiffe_id_without_a_readable_name() {
    let mut before = Sleeper::started(crd(), 8);
    before.sleep(seconds(60));
    let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == "pod-uid:uid-7");
    let orphan = before.server.entries().find(of_pod).expect("registered");
    let mut sleeper = Sleeper::started(crd(), 1);
    sleeper.sleep(seconds(60));
    sleeper.tell(vec![garbled(Kind::SpiffeId, None, None)]);
    sleeper.server.put(orphan.clone());
    sleeper.sleep(seconds(900));
    assert!(sleeper.registered(7));
    assert_eq!(blind(&sleeper), 1);
    sleeper.show_all();
    sleeper.sleep(seconds(900));
    assert!(!sleeper.registered(7));
}

#[test]
fn that_a_kind_is_listed_is_told_once() {
    let mut sleeper = Sleeper::started(reconcile(), 1);
    sleeper.list(Kind::Pod, [Object::Pod(pod(0))]);
    let told = |kind| {
        let told = Fact::Synced(kind);
        sleeper.facts.iter().filter(|f| **f == told).count()
    };
    assert_eq!([Kind::Node, Kind::Pod].map(told), [1, 1]);
}

#[test]
fn a_definition_that_is_still_in_force_is_not_told_again() {
    let mut sleeper = Sleeper::started(crd(), 1);
    for _ in 0..3 {
        sleeper.show_all();
        sleeper.sleep(seconds(60));
    }
    let told = |f: &&Fact| **f == Fact::DefinitionServing;
    assert_eq!(sleeper.facts.iter().filter(told).count(), 1);
}
