//! From pods to SpiffeIDs: what is left alone, what is taken over, and what is applied again.

use std::sync::Arc;

use registrar_core::{
    cluster::{Object, PodSnapshot, SpiffeIdSnapshot, SpiffeIdSpec, Uid},
    entry::DnsName,
    policy::{DnsPolicy, Policy},
    ports::{KubeCall, ResourceName},
    rules::template::{Context, Template},
    sync::{Event, Fact},
};

use crate::sleeper::{Sleeper, crd, pod, seconds};

fn of_pod(n: usize) -> ResourceName {
    ResourceName::new("apps", format!("pod-{n}"))
}

fn at_rest_under(policy: Policy) -> Sleeper {
    let mut sleeper = Sleeper::started(policy, 2);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.not_ready(), []);
    sleeper.kube_writes.clear();
    sleeper.facts.clear();
    sleeper
}

fn at_rest() -> Sleeper {
    at_rest_under(crd())
}

/// The watch shows all that there is, and time passes.
fn shown(sleeper: &mut Sleeper) {
    sleeper.show_all();
    sleeper.sleep(seconds(60));
}

/// Somebody changes what was made for a pod.
fn change(sleeper: &mut Sleeper, n: usize, change: impl FnOnce(&mut SpiffeIdSnapshot)) {
    let object = sleeper.api.objects.get_mut(&of_pod(n)).expect("there");
    change(object);
    object.resource_version = "1000".into();
    shown(sleeper);
}

fn spec(object: &mut SpiffeIdSnapshot) -> &mut SpiffeIdSpec {
    Arc::make_mut(object.spec.as_mut().expect("readable"))
}

/// The words of what was written for a pod, but for statuses.
fn written(sleeper: &Sleeper, n: usize) -> Vec<&'static str> {
    let of = of_pod(n);
    let about = |call: &&KubeCall| match call {
        KubeCall::Apply(wanted) => wanted.name == of,
        KubeCall::TakeOver(name, _) | KubeCall::Delete(name, _) => *name == of,
        KubeCall::SetFinalizers { name, .. } | KubeCall::ApplyNames { name, .. } => *name == of,
        KubeCall::WriteStatus { .. } | KubeCall::ReadDefinition => false,
    };
    let calls = sleeper.kube_writes.iter().filter(about);
    calls.map(KubeCall::word).collect()
}

fn refusals(sleeper: &Sleeper) -> usize {
    let refused = |f: &&Fact| matches!(f, Fact::WriteRefused { .. });
    sleeper.facts.iter().filter(refused).count()
}

#[test]
fn what_is_applied_and_kept_is_told_as_written_and_never_as_refused() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    assert_eq!(refusals(&sleeper), 0, "{:#?}", sleeper.facts);
    for (word, times) in [("apply", 3), ("write_status", 3)] {
        let told = sleeper
            .facts
            .iter()
            .filter(|f| matches!(f, Fact::ResourceWritten { operation, .. } if *operation == word));
        assert_eq!(told.count(), times, "{word}: {:#?}", sleeper.facts);
    }
    assert_eq!(sleeper.machine.status(sleeper.now).refused, 0);
}

#[test]
fn a_spiffe_id_that_another_webhook_changes_is_told_and_applied_again_ever_more_seldom() {
    let mut sleeper = at_rest();
    sleeper.spoil = |_, object| {
        if *object.name == *"pod-7" {
            spec(object).selector.pod_uid = Some("by-a-webhook".into());
        }
    };
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(120));
    let told = sleeper.facts.iter().filter(|f| {
        matches!(f, Fact::WriteRefused { failure, .. }
            if failure.message.contains("keeps other values"))
    });
    let told = told.count();
    assert!((2..20).contains(&told), "{told}: {:#?}", sleeper.facts);
    assert_eq!(sleeper.machine.status(sleeper.now).refused, 1);
    sleeper.spoil = |_, _| ();
    sleeper.sleep(seconds(400));
    assert_eq!(sleeper.machine.status(sleeper.now).refused, 0);
    assert!(sleeper.registered(7));
}

#[test]
fn a_status_that_the_api_server_does_not_keep_is_written_once() {
    let mut sleeper = at_rest();
    sleeper.spoil = |call, object| {
        if matches!(call, KubeCall::WriteStatus { .. }) {
            object.status.conditions = Default::default();
        }
    };
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(3600));
    let statuses = |sleeper: &Sleeper| {
        let of =
            |c: &&KubeCall| matches!(c, KubeCall::WriteStatus { name, .. } if *name == of_pod(7));
        sleeper.kube_writes.iter().filter(of).count()
    };
    assert_eq!(statuses(&sleeper), 1, "{:#?}", sleeper.kube_writes);
    // What it would not keep of one object it may keep of the next one of that name.
    sleeper.api.delete(&of_pod(7));
    sleeper.show_all();
    shown(&mut sleeper);
    assert_eq!(statuses(&sleeper), 2, "{:#?}", sleeper.kube_writes);
}

#[test]
fn a_pod_on_its_way_out_gets_no_spiffe_id_any_more_and_keeps_the_one_it_has() {
    let mut sleeper = at_rest();
    let ending = |n| PodSnapshot {
        terminating: true,
        ..pod(n)
    };
    sleeper.tell(
        [7, 1]
            .map(|n| Event::Applied(Object::Pod(ending(n))))
            .into(),
    );
    sleeper.sleep(seconds(60));
    assert!(!sleeper.api.objects.contains_key(&of_pod(7)));
    assert_eq!(written(&sleeper, 7), [""; 0]);
    assert_eq!(written(&sleeper, 1), [""; 0]);
    assert!(sleeper.registered(1));
}

#[test]
fn a_spiffe_id_that_somebody_deletes_is_let_go_and_made_again() {
    let mut sleeper = at_rest();
    let former = sleeper.api.objects[&of_pod(1)].uid.clone();
    sleeper.api.delete(&of_pod(1));
    sleeper.show_all();
    assert_eq!(written(&sleeper, 1), ["set_finalizers"]);
    shown(&mut sleeper);
    assert_eq!(written(&sleeper, 1), ["set_finalizers", "apply"]);
    assert_ne!(sleeper.api.objects[&of_pod(1)].uid, former);
    assert!(sleeper.registered(1));
}

#[test]
fn what_the_original_applied_is_taken_over_before_it_is_changed() {
    let mut sleeper = at_rest();
    let before = sleeper.api.objects[&of_pod(1)].spec.clone();
    change(&mut sleeper, 1, |o| {
        o.applied.as_mut().expect("applied").by_us = false;
        spec(o).spiffe_id = "spiffe://example.org/x".into();
    });
    assert_eq!(written(&sleeper, 1), ["take_over", "apply"]);
    assert_eq!(sleeper.api.objects[&of_pod(1)].spec, before);
}

#[test]
fn a_former_pods_spiffe_id_that_we_did_not_apply_is_left_to_the_garbage_collector() {
    let former = |o: &mut SpiffeIdSnapshot| {
        let controller = o.controller.as_mut().expect("the pod's");
        controller.uid = Uid::new("of-a-former-pod");
    };
    let mut sleeper = at_rest();
    change(&mut sleeper, 1, |o| {
        former(o);
        o.applied = None;
    });
    assert_eq!(written(&sleeper, 1), [""; 0]);
    assert!(sleeper.registered(1), "it serves meanwhile");

    // What we applied becomes this pod's.
    let mut sleeper = at_rest();
    change(&mut sleeper, 1, former);
    assert_eq!(written(&sleeper, 1), ["apply"]);

    // And what is this pod's is put right whoever applied it.
    let mut sleeper = at_rest();
    change(&mut sleeper, 1, |o| {
        o.applied = None;
        spec(o).spiffe_id = "spiffe://example.org/x".into();
    });
    assert_eq!(written(&sleeper, 1), ["apply"]);
}

/// The certificate's common name is the first DNS name.
#[test]
fn names_come_in_the_order_of_the_templates_and_those_of_others_after_them_sorted() {
    let template = |text: &str| Template::parse("t", text, &Context::default()).expect("parses");
    let mut policy = crd();
    policy.pods.dns = DnsPolicy::Templates {
        templates: ["z-{{.Pod.Name}}.test", "a-{{.Pod.Name}}.test"]
            .map(template)
            .into(),
        services: false,
    };
    let mut sleeper = at_rest_under(policy);
    let names = |sleeper: &Sleeper| -> Vec<String> {
        let of_pod = |name: &DnsName| name.as_str().contains("pod-1");
        let mut entries = sleeper.server.entries();
        let entry = entries.find(|e| e.dns_names.iter().any(of_pod));
        let entry = entry.expect("registered");
        entry
            .dns_names
            .iter()
            .map(|n| n.as_str().to_owned())
            .collect()
    };
    let ours = ["z-pod-1.test", "a-pod-1.test"];
    assert_eq!(names(&sleeper), ours);
    change(&mut sleeper, 1, |o| {
        let names = &mut spec(o).dns_names;
        names.reverse();
        names.insert(0, "y.test".into());
        names.push("b.test".into());
    });
    let with_theirs = ["z-pod-1.test", "a-pod-1.test", "b.test", "y.test"];
    assert_eq!(names(&sleeper), with_theirs);
}

#[test]
fn an_owner_that_another_webhook_writes_is_told() {
    let mut sleeper = at_rest();
    sleeper.spoil = |_, object| {
        if let Some(owner) = object.controller.as_mut().filter(|c| *c.name == *"pod-7") {
            owner.name = "another".into();
        }
    };
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    assert_eq!(refusals(&sleeper), 1, "{:#?}", sleeper.facts);
}
