//! SpiffeIDs between objects and entries: made, kept right, taken away, and told of.

use std::sync::Arc;

use registrar_core::{
    cluster::{
        Controller, Kind, Object, ObjectKey, SPIFFE_ID_FINALIZER, SpiffeIdSnapshot, SpiffeIdSpec,
        Uid,
    },
    entry::{EntryId, RegisteredEntry},
    ports::{Failure, FailureClass, KubeCall, ResourceName},
    rules::{Bundles, Decision, decide_spiffe_id},
    sync::{Event, Fact, NotReady},
};

use crate::{
    by_hand::{by_hand, spec},
    sleeper::{Sleeper, crd, pod, seconds},
};

fn at_rest() -> Sleeper {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.not_ready(), []);
    sleeper.kube_writes.clear();
    sleeper.facts.clear();
    sleeper
}

fn of_pod(n: usize) -> ResourceName {
    ResourceName::new("apps", format!("pod-{n}"))
}

#[test]
fn pods_and_nodes_get_spiffe_ids_and_these_their_entries_and_at_rest_nothing_is_written() {
    let mut sleeper = at_rest();
    let names: Vec<String> = sleeper
        .api
        .objects
        .keys()
        .map(|n| n.name.to_string())
        .collect();
    assert_eq!(names, ["pod-0", "pod-1", "n1"]);
    assert_eq!(sleeper.server.entries().count(), 3);
    let ids = crd().entry_ids;
    for (name, object) in &sleeper.api.objects {
        let entry = object.status.entry_id.as_deref().expect("in the status");
        let entry = sleeper.server.entries().find(|e| e.id.as_str() == entry);
        let entry = entry.expect("it is there");
        assert_eq!(
            ids.owner_part(&entry.id),
            Some(&*ids.of_owner(&object.uid)),
            "{name:?}"
        );
        assert!(object.has_finalizer() && object.status.conditions.len() == 1);
    }
    let status = sleeper.machine.status(sleeper.now);
    assert_eq!((status.spiffe_ids, status.definition), (3, Some(true)));
    assert_eq!((status.objects, status.entries), ((1, 2), (1, 2)));
    assert_eq!((status.busy, status.in_flight), (0, 0));
    let writes = (sleeper.server.writes, sleeper.api.writes);
    sleeper.show_all();
    sleeper.list(Kind::Pod, (0..2).map(|n| Object::Pod(pod(n))));
    sleeper.sleep(seconds(3600));
    assert_eq!((sleeper.server.writes, sleeper.api.writes), writes);
    assert_eq!(sleeper.kube_writes, []);
}

#[test]
fn whatever_someone_changes_of_what_we_applied_is_applied_again() {
    type Change = fn(&mut SpiffeIdSnapshot);
    fn spec(object: &mut SpiffeIdSnapshot, change: fn(&mut SpiffeIdSpec)) {
        let spec = object.spec.as_mut().expect("readable");
        change(Arc::make_mut(spec));
    }
    let changes: [Change; 9] = [
        |o| spec(o, |s| s.parent_id = "spiffe://example.org/x".into()),
        |o| spec(o, |s| s.spiffe_id = "spiffe://example.org/x".into()),
        |o| spec(o, |s| s.selector.pod_uid = Some("another".into())),
        |o| spec(o, |s| s.selector.namespace = None),
        |o| spec(o, |s| s.selector.node_name = Some("n2".into())),
        |o| {
            o.labels.insert("podUid".into(), "another".into());
        },
        |o| o.finalizers = Arc::new([]),
        |o| {
            let applied = o.applied.as_mut().expect("by us");
            applied.dns_names.insert("left.test".into());
        },
        |o| {
            let applied = o.applied.as_mut().expect("by us");
            applied.federates_with.insert("left.test".into());
        },
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut sleeper = at_rest();
        let before = sleeper.api.objects[&of_pod(1)].spec.clone();
        let object = sleeper.api.objects.get_mut(&of_pod(1)).expect("there");
        change(object);
        object.resource_version = "1000".into();
        sleeper.show_all();
        sleeper.sleep(seconds(60));
        let applied = |c: &KubeCall| matches!(c, KubeCall::Apply(a) if a.name == of_pod(1));
        assert!(
            sleeper.kube_writes.iter().any(applied),
            "change {n}: {:?}",
            sleeper.kube_writes
        );
        assert_eq!(sleeper.api.objects[&of_pod(1)].spec, before, "change {n}");
    }
}

#[test]
fn what_others_add_to_a_spiffe_id_stays() {
    let mut sleeper = at_rest();
    let object = sleeper.api.objects.get_mut(&of_pod(1)).expect("there");
    let spec = object.spec.as_mut().expect("readable");
    Arc::make_mut(spec).dns_names.push("theirs.test".into());
    object.resource_version = "1000".into();
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let applied = |c: &&KubeCall| matches!(c, KubeCall::Apply(_));
    assert_eq!(sleeper.kube_writes.iter().filter(applied).count(), 0);
    let theirs = |e: &RegisteredEntry| e.dns_names.iter().any(|n| n.as_str() == "theirs.test");
    assert_eq!(sleeper.server.entries().filter(|e| theirs(e)).count(), 1);
}

#[test]
fn a_spiffe_id_of_another_controller_in_a_pods_place_is_left_alone_and_told() {
    let mut sleeper = at_rest();
    let object = sleeper.api.objects.get_mut(&of_pod(1)).expect("there");
    object.controller = Some(Controller {
        kind: "Deployment".into(),
        name: "pod-1".into(),
        uid: Uid::new("d"),
    });
    object.resource_version = "1000".into();
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let held = sleeper.machine.status(sleeper.now).held;
    assert_eq!(held, [("NameTaken", 1)].into());
}

#[test]
fn a_kubernetes_api_that_is_away_is_told_and_found_again() {
    let mut sleeper = at_rest();
    sleeper.kube_failure = Some(Failure::new(FailureClass::Retry, "connection refused"));
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.not_ready(), [NotReady::KubernetesAway]);
    let failed = |f: &&Fact| {
        matches!(
            f,
            Fact::KubernetesFailed {
                operation: "apply",
                ..
            }
        )
    };
    let told = sleeper.facts.iter().filter(failed).count();
    assert!((5..100).contains(&told), "{told} attempts a minute");
    sleeper.kube_failure = None;
    sleeper.sleep(seconds(10));
    assert!(sleeper.registered(7));
    assert_eq!(sleeper.machine.not_ready(), []);
}

#[test]
fn a_write_that_the_kubernetes_api_will_not_have_is_told_once_and_tried_again() {
    let mut sleeper = at_rest();
    sleeper.kube_failure = Some(Failure::new(FailureClass::Permanent, "denied by a webhook"));
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(5));
    assert_eq!(sleeper.machine.not_ready(), [], "others go on");
    let refused = |f: &&Fact| matches!(f, Fact::WriteRefused { .. });
    assert!(
        sleeper.facts.iter().any(|f| refused(&f)),
        "{:?}",
        sleeper.facts
    );
    sleeper.kube_failure = None;
    sleeper.sleep(seconds(400));
    assert!(sleeper.registered(7));
}

#[test]
fn the_end_of_the_definition_is_told_once_and_entries_outlive_it() {
    let mut sleeper = at_rest();
    let entries = sleeper.server.entries().count();
    let told = |sleeper: &Sleeper, fact: &Fact| sleeper.facts.iter().filter(|f| *f == fact).count();
    let objects: Vec<(ResourceName, Uid)> = sleeper
        .api
        .objects
        .iter()
        .map(|(name, object)| (name.clone(), object.uid.clone()))
        .collect();
    sleeper.api.uninstall();
    let gone: Vec<Event> = sleeper
        .api
        .objects
        .values()
        .map(|o| Event::Applied(Object::SpiffeId(Box::new(o.clone()))))
        .collect();
    sleeper.tell(gone);
    sleeper.sleep(seconds(120));
    let gone: Vec<Event> = objects
        .into_iter()
        .map(|(name, uid)| {
            Event::Deleted(
                ObjectKey::new(Kind::SpiffeId, name.namespace, name.name),
                uid,
            )
        })
        .collect();
    sleeper.tell(gone);
    sleeper.sleep(seconds(120));
    assert_eq!(
        told(&sleeper, &Fact::DefinitionTerminating),
        1,
        "{:#?}",
        sleeper.facts
    );
    assert_eq!(
        told(&sleeper, &Fact::DefinitionMissing),
        1,
        "{:#?}",
        sleeper.facts
    );
    assert_eq!(sleeper.server.entries().count(), entries, "they stay");
    sleeper.api.install();
    sleeper.show_all();
    sleeper.sleep(seconds(120));
    assert_eq!(
        told(&sleeper, &Fact::DefinitionServing),
        1,
        "{:#?}",
        sleeper.facts
    );
    assert_eq!(sleeper.machine.not_ready(), []);
    assert!(sleeper.registered(0) && sleeper.registered(1));
}

#[test]
fn an_old_definition_is_told_and_read_again_until_it_is_whole() {
    let mut sleeper = Sleeper::new(crd());
    let mut old = sleeper.api.definition.clone().expect("installed");
    old.schema.sets = false;
    sleeper.api.definition = Some(old.clone());
    sleeper.start(2);
    sleeper.sleep(seconds(600));
    let told = Fact::DefinitionOld(old.schema);
    assert_eq!(sleeper.facts.iter().filter(|f| **f == told).count(), 1);
    assert!(sleeper.registered(0) && sleeper.registered(1));
}

#[test]
fn a_dry_run_says_what_it_would_write_and_writes_nothing() {
    let mut policy = crd();
    policy.dry_run = true;
    let mut sleeper = Sleeper::started(policy, 2);
    sleeper.sleep(seconds(60));
    assert_eq!((sleeper.server.writes, sleeper.api.writes), (0, 0));
    assert_eq!(sleeper.machine.status(sleeper.now).busy, 0);
    let would = |f: &&Fact| {
        matches!(
            f,
            Fact::WouldWrite {
                operation: "apply",
                ..
            }
        )
    };
    assert_eq!(
        sleeper.facts.iter().filter(would).count(),
        3,
        "{:#?}",
        sleeper.facts
    );
}

/// The leader before us made its entry after we read the server last.
#[test]
fn a_finalizer_waits_for_a_reading_of_the_server_when_the_lead_is_new() {
    let mut sleeper = at_rest();
    sleeper.tell(vec![Event::Leading(false)]);
    let name = by_hand();
    sleeper.api.put(&name, spec("by-hand"));
    let object = sleeper.api.objects.get_mut(&name).expect("there");
    object.finalizers = [SPIFFE_ID_FINALIZER.into()].into();
    let resource = object.clone();
    sleeper.show_all();
    let decision = decide_spiffe_id(&crd(), &resource, &Bundles::default());
    let Decision::Register { entries, .. } = decision else {
        panic!("{decision:?}");
    };
    let id = crd().entry_ids.issue_for(&resource.uid, 99, 1);
    let stored = RegisteredEntry::created(id.clone(), &entries[0]);
    sleeper.server.put(stored);
    sleeper.api.delete(&name);
    sleeper.show_all();
    sleeper.facts.clear();
    sleeper.tell(vec![Event::Leading(true)]);
    sleeper.sleep(seconds(120));
    let at = |is: &dyn Fn(&Fact) -> bool| sleeper.facts.iter().position(is);
    let gone = at(&|f| matches!(f, Fact::Deleted { id: of, .. } if *of == id));
    let left = at(&|f| matches!(f, Fact::ResourceWritten { name: of, .. } if *of == name));
    assert!(
        gone.is_some() && gone < left,
        "{gone:?} {left:?} {:#?}",
        sleeper.facts
    );
    assert!(!sleeper.api.objects.contains_key(&name));
}

/// Nobody is without an identity for want of a finalizer that leaves.
#[test]
fn a_start_is_ready_while_finalizers_of_former_pods_are_yet_to_leave() {
    let mut sleeper = Sleeper::started(crd(), 1000);
    sleeper.sleep(seconds(60));
    // The process before had come so far as to delete their entries.
    for n in 1..1000 {
        let status = &sleeper.api.objects[&of_pod(n)].status;
        let entry = EntryId::stored(status.entry_id.as_deref().expect("registered"));
        sleeper.server.remove(&entry);
        sleeper.api.delete(&of_pod(n));
    }
    sleeper.kube_writes.clear();
    sleeper.unanswered = |call| matches!(call, KubeCall::SetFinalizers { .. });
    sleeper.restart(1);
    assert!(!sleeper.kube_writes.is_empty());
    assert_eq!(sleeper.machine.not_ready(), []);
}

#[test]
fn a_start_is_not_ready_before_every_pod_has_its_spiffe_id_and_that_its_status() {
    for unanswered in [
        (|call| matches!(call, KubeCall::Apply(_))) as fn(&KubeCall) -> bool,
        |call| matches!(call, KubeCall::WriteStatus { .. }),
    ] {
        let mut sleeper = Sleeper::new(crd());
        sleeper.unanswered = unanswered;
        sleeper.start(1);
        assert_eq!(sleeper.machine.not_ready(), [NotReady::FirstSync]);
    }
}
