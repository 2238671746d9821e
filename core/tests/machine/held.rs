//! An object that cannot be read is held: counted once, whatever form its entry has, until it can be read or is gone.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
    entry::EntryId,
    policy::{PodSelector, Policy},
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
