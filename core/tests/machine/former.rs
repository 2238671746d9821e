//! Entries that a former pod of the same name had: an invalid pod keeps what it had itself, and nothing of the former one's.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, PodSnapshot, Uid},
    entry::RegisteredEntry,
    policy::{IdentitySource, Policy},
    ports::{Failure, FailureClass, SpireCall},
    sync::{CallId, Event},
};

use crate::rig::{self, Rig};

const INVALID: &str = "a//b";

fn policy() -> Policy {
    let mut policy = rig::policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn named(uid: &str, id: &str) -> PodSnapshot {
    let mut pod = rig::named(1, id);
    pod.uid = Uid::new(uid);
    pod
}

fn applied(rig: &mut Rig, uid: &str, id: &str) {
    rig.tell([Event::Applied(Object::Pod(named(uid, id)))]);
}

fn pods_entries(rig: &Rig) -> Vec<&RegisteredEntry> {
    let of_pods = |e: &&RegisteredEntry| e.selectors.iter().next().expect("one").kind == "k8s";
    rig.server.entries().filter(of_pods).collect()
}

/// A machine that leads, and these pods.
fn started(pods: impl IntoIterator<Item = PodSnapshot>) -> Rig {
    let mut rig = Rig::new(policy());
    rig.start(pods);
    rig.wait(Duration::from_secs(20));
    rig
}

/// Whether a call was done of which no answer came.
fn lost(rig: &mut Rig, call: (CallId, SpireCall), done: bool) {
    if done {
        rig.server.perform(&call.1, usize::MAX);
    }
    let unknown = Failure::new(FailureClass::Unknown, "deadline exceeded");
    rig.tell([Event::Replied(call.0, Err(unknown))]);
}

/// The next pod of the name was there while nobody looked.
fn succeeded_by(rig: &mut Rig, uid: &str, id: &str) -> usize {
    applied(rig, uid, id);
    rig.answer_all();
    rig.wait(Duration::from_secs(40));
    pods_entries(rig).len()
}

#[test]
fn what_a_process_found_right_for_a_pod_is_that_pods_and_not_the_next_ones() {
    for (uid, left) in [("uid-1", 1), ("uid-2", 0)] {
        let mut before = started([named("uid-1", "team/a")]);
        let mut rig = Rig::new(policy());
        rig.server = std::mem::take(&mut before.server);
        rig.start([named("uid-1", "team/a")]);
        rig.wait(Duration::from_secs(20));
        assert_eq!(rig.writes, [], "everything is right");
        assert_eq!(succeeded_by(&mut rig, uid, INVALID), left, "{uid}");
    }
}

#[test]
fn what_a_lost_create_made_is_that_pods_for_which_it_was_sent() {
    for (uid, left) in [("uid-1", 1), ("uid-2", 0)] {
        let mut rig = started([]);
        applied(&mut rig, "uid-1", "team/a");
        let create = rig.take(|call| matches!(call, SpireCall::Create { .. }));
        lost(&mut rig, create, true);
        assert_eq!(succeeded_by(&mut rig, uid, INVALID), left, "{uid}");
    }
}

#[test]
fn what_a_lost_update_did_not_change_is_still_the_pods_that_had_it() {
    for (uid, left) in [("uid-1", 1), ("uid-2", 0)] {
        for done in [false, true] {
            let mut rig = started([named("uid-1", "team/a")]);
            applied(&mut rig, "uid-1", "team/b");
            let update = rig.take(|call| matches!(call, SpireCall::Update { .. }));
            lost(&mut rig, update, done);
            let found = succeeded_by(&mut rig, uid, INVALID);
            assert_eq!(found, left, "{uid}, done: {done}");
        }
    }
}

#[test]
fn the_end_of_a_pod_that_was_not_seen_is_found_by_the_next_list() {
    let mut rig = started([named("uid-1", "team/a")]);
    rig.listed(Kind::Pod, [Object::Pod(named("uid-2", INVALID))]);
    rig.answer_all();
    rig.wait(Duration::from_secs(40));
    assert_eq!(pods_entries(&rig).len(), 0);
}
