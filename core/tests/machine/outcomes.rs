//! What is made of the server's answers and of its entries.

use std::time::Duration;

use registrar_core::{
    cluster::Object,
    policy::IdentitySource,
    ports::{Failure, FailureClass},
    sync::{Event, Fact},
};

use crate::rig::{Rig, pod, policy};

#[test]
fn an_unknown_outcome_is_read_not_guessed() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.tell([Event::Applied(Object::Pod(pod(1)))]);
    let (id, call) = rig.waiting.pop_first().expect("a create");
    rig.server.perform(&call, usize::MAX);
    let failure = Failure::new(FailureClass::Unknown, "deadline exceeded");
    rig.tell([Event::Replied(id, Err(failure))]);
    rig.writes.clear();
    rig.wait(Duration::from_secs(5));
    assert!(rig.writes.is_empty(), "{:?}", rig.writes);
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn a_label_that_repeats_thousands_of_times_is_told_once() {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    let mut rig = Rig::new(policy);
    rig.start([]);
    for n in 0..1000 {
        let mut pod = pod(1);
        pod.annotations.insert("id".into(), "a//b".into());
        pod.pod_ips = Box::new([format!("10.0.{}.{}", n / 256, n % 256).into()]);
        rig.tell([Event::Applied(Object::Pod(pod))]);
    }
    let held = |f: &&Fact| matches!(f, Fact::Held { .. });
    assert_eq!(rig.facts.iter().filter(held).count(), 1);
}
