//! An object that cannot be read is held: counted once, whatever form its entry has, until it can be read or is gone.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
    entry::EntryId,
    policy::{FEDERATES_WITH, IdentitySource, NodePolicy, ParentForm, PodSelector, Policy},
    spiffe::TrustDomain,
    sync::{Event, Fact, Reconciler},
};

use crate::rig::{self, Rig};

/// By name, and by UID.
fn policies() -> [Policy; 2] {
    let by_name = rig::policy();
    let mut by_uid = by_name.clone();
    by_uid.pods.selectors = [PodSelector::PodUid].into();
    [by_name, by_uid]
}

fn pod() -> PodSnapshot {
    rig::pod(0)
}

fn key() -> ObjectKey {
    ObjectKey::new(Kind::Pod, "ns", "pod-0000")
}

fn garbled() -> Event {
    Event::Undecodable {
        kind: Kind::Pod,
        key: Some(key()),
        uid: Some(pod().uid),
        why: "garbled".into(),
    }
}

/// Leads, and has registered the pod.
fn started(policy: &Policy) -> Rig {
    let mut rig = Rig::new(policy.clone());
    rig.start([pod()]);
    wait(&mut rig);
    rig
}

/// Long enough for another comparison with the server.
fn wait(rig: &mut Rig) {
    rig.wait(Duration::from_secs(30));
}

fn tell(rig: &mut Rig, event: Event) {
    rig.tell([event]);
    rig.answer_all();
}

fn held(rig: &Rig) -> usize {
    rig.machine.status(rig.now).held.values().sum()
}

fn entries(rig: &Rig) -> Vec<EntryId> {
    rig.server.entries().map(|e| e.id.clone()).collect()
}

#[test]
fn it_is_counted_and_reported_once_and_keeps_its_entry() {
    for policy in policies() {
        let mut rig = started(&policy);
        let before = entries(&rig);
        assert_eq!(before.len(), 2, "the node's and the pod's");
        tell(&mut rig, garbled());
        wait(&mut rig);
        assert_eq!(held(&rig), 1, "{policy:?}");
        let reports = rig
            .facts
            .iter()
            .filter(|f| matches!(f, Fact::Held { .. }))
            .count();
        assert_eq!(reports, 1, "{policy:?}");
        assert_eq!(entries(&rig), before);
    }
}

#[test]
fn a_plan_names_it_once_and_counts_its_entry_as_one_that_stays() {
    for policy in policies() {
        let mut rig = started(&policy);
        let mut machine = Reconciler::new(policy.clone(), 2);
        let mut events = vec![
            Event::RelistBegan(Kind::Node),
            Event::RelistDone(Kind::Node),
            Event::RelistBegan(Kind::Pod),
            garbled(),
            Event::RelistDone(Kind::Pod),
        ];
        loop {
            let calls = machine
                .step(Duration::ZERO, std::mem::take(&mut events))
                .calls;
            if calls.is_empty() {
                break;
            }
            for (id, call) in calls {
                let answer = rig.server.perform(&call, usize::MAX);
                events.push(Event::Replied(id, Ok(answer)));
            }
        }
        let plan = machine.plan(&[]);
        let held: Vec<&ObjectKey> = plan.held.iter().map(|(object, _)| object).collect();
        assert_eq!(held, [&key()], "{policy:?}");
        assert_eq!((plan.unchanged, plan.unexplained), (1, 0), "{plan:#?}");
    }
}

#[test]
fn it_is_held_no_longer_when_it_can_be_read_again() {
    for policy in policies() {
        let mut rig = started(&policy);
        let before = entries(&rig);
        tell(&mut rig, garbled());
        tell(&mut rig, Event::Applied(Object::Pod(pod())));
        wait(&mut rig);
        assert_eq!(held(&rig), 0, "{policy:?}");
        assert_eq!(entries(&rig), before);
    }
}

#[test]
fn it_is_held_no_longer_when_a_list_does_not_have_it() {
    for policy in policies() {
        let mut rig = started(&policy);
        tell(&mut rig, garbled());
        wait(&mut rig);
        rig.listed(Kind::Pod, []);
        rig.answer_all();
        wait(&mut rig);
        assert_eq!(held(&rig), 0, "{policy:?}");
        assert_eq!(entries(&rig).len(), 1, "the node's alone: {policy:?}");
    }
}

/// Pods hang under the agent of their node, which is named by the node's UID.
fn under_agents() -> Policy {
    let mut policy = rig::policy();
    policy.pods.parent = ParentForm::Agent;
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.nodes = NodePolicy::None;
    // One slot, and of what can wait one batch in it.
    policy.writes_in_flight = 1;
    policy
}

fn annotated(n: usize, annotations: &[(&str, &str)]) -> PodSnapshot {
    let mut pod = rig::pod(n);
    for (key, value) in annotations {
        pod.annotations.insert((*key).into(), (*value).into());
    }
    pod
}

#[test]
fn the_pods_of_a_node_that_is_gone_are_held_at_once_where_its_agent_is_their_parent() {
    let deleted = || {
        let key = ObjectKey::new(Kind::Node, "", "node-0");
        vec![Event::Deleted(key, rig::node().uid)]
    };
    let not_listed = || {
        vec![
            Event::RelistBegan(Kind::Node),
            Event::RelistDone(Kind::Node),
        ]
    };
    for end in [deleted(), not_listed()] {
        let mut rig = Rig::new(under_agents());
        rig.start([annotated(0, &[("id", "a")])]);
        let before = entries(&rig);
        assert_eq!((before.len(), held(&rig)), (1, 0));
        rig.tell(end);
        assert_eq!(held(&rig), 1);
        wait(&mut rig);
        assert_eq!(entries(&rig), before);
    }
}

/// Found by a history: what was decided while the node was there waits for a slot, and the node goes.
#[test]
fn an_update_that_waits_for_a_slot_does_not_leave_once_the_pods_node_is_gone() {
    let mut rig = Rig::new(under_agents());
    let other = TrustDomain::new("other.org").expect("a legal name");
    rig.server.bundles.insert(other);
    rig.start([annotated(0, &[("id", "a")]), annotated(1, &[("id", "b")])]);
    let before = entries(&rig);
    // Two updates of different fields do not travel together: the second waits.
    let changed = [
        annotated(0, &[("id", "c")]),
        annotated(1, &[("id", "b"), (FEDERATES_WITH, "other.org")]),
    ];
    rig.writes.clear();
    rig.tell(changed.map(|pod| Event::Applied(Object::Pod(pod))));
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    let key = ObjectKey::new(Kind::Node, "", "node-0");
    rig.tell([Event::Deleted(key, rig::node().uid)]);
    rig.answer_all();
    wait(&mut rig);
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    assert_eq!((entries(&rig), held(&rig)), (before, 2));
}
