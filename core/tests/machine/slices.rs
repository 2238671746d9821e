//! Steps that look at little each, so that none lasts.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, Uid},
    ports::SpireCall,
    sync::{Event, Fact, Reconciler},
};

use crate::rig::{Rig, node, pod, policy};

/// What a process finds that begins where `pods` pods have their entries.
fn restarted(pods: usize, looks_a_step: usize) -> Rig {
    let mut former = Rig::new(policy());
    former.start((0..pods).map(pod));
    let mut rig = Rig::new(policy());
    rig.machine = Reconciler::new(policy(), 2).in_slices(looks_a_step);
    rig.server = former.server;
    rig.tell([Event::Leading(true)]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.answer_all();
    rig
}

/// Slice after slice, and answers, until nothing is left to do at once.
fn run(rig: &mut Rig) {
    loop {
        match rig.wake_at == Some(rig.now) {
            true => rig.tell([]),
            false if rig.waiting.is_empty() => return,
            false => rig.answer_all(),
        }
    }
}

fn synced(rig: &Rig) -> bool {
    rig.facts.iter().any(|f| matches!(f, Fact::FirstSyncDone))
}

#[test]
fn what_one_step_leaves_the_next_ones_look_at_at_once() {
    let mut rig = restarted(35, 10);
    rig.listed(Kind::Pod, (0..35).map(|n| Object::Pod(pod(n))));
    let mut steps = 1;
    while rig.wake_at == Some(rig.now) {
        assert!(!synced(&rig), "not before all were looked at");
        rig.tell([]);
        steps += 1;
    }
    assert!(steps >= 4, "{steps} steps for 35 pods, ten in each");
    assert!(synced(&rig), "{:?}", rig.facts);
    assert!(rig.wake_at.is_some_and(|at| at > rig.now), "at rest");
    assert_eq!(rig.writes, [], "nothing differs");
}

#[test]
fn a_new_pod_does_not_wait_until_all_others_were_looked_at() {
    let mut rig = restarted(35, 10);
    rig.listed(Kind::Pod, (0..35).map(|n| Object::Pod(pod(n))));
    assert_eq!(rig.wake_at, Some(rig.now), "there is more to look at");
    rig.tell([Event::Applied(Object::Pod(pod(100)))]);
    assert_eq!(rig.created(), ["pod-0100"]);
}

#[test]
fn too_many_deletes_are_judged_together_however_few_a_step_looks_at() {
    let mut rig = restarted(40, 3);
    // Of forty entries thirty have no pod any more.
    rig.listed(Kind::Pod, (0..10).map(|n| Object::Pod(pod(n))));
    run(&mut rig);
    rig.wait(Duration::from_secs(30));
    let tripped = rig.facts.iter().find_map(|fact| match fact {
        Fact::BreakerTripped { condemned, .. } => Some(*condemned),
        _ => None,
    });
    assert_eq!(tripped, Some(30), "{:?}", rig.facts);
    assert!(
        !rig.writes
            .iter()
            .any(|(_, call)| matches!(call, SpireCall::Delete { .. })),
        "{:?}",
        rig.writes
    );
}

#[test]
fn a_watched_end_is_acted_on_though_a_step_looks_at_one_object_only() {
    let mut rig = restarted(3, 1);
    rig.listed(Kind::Pod, (0..3).map(|n| Object::Pod(pod(n))));
    run(&mut rig);
    let gone = (0..3).map(|n| {
        let key = ObjectKey::new(Kind::Pod, "ns", format!("pod-{n:04}"));
        Event::Deleted(key, Uid::new(format!("uid-{n}")))
    });
    rig.tell(gone.collect::<Vec<_>>());
    run(&mut rig);
    assert_eq!(rig.server.entries().count(), 1, "the node's alone");
}
