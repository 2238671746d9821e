//! A replica that stands by, beside one that writes.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey},
    entry::{EntryId, RegisteredEntry},
    sync::{Drift, Event, Fact},
};

use crate::rig::{Rig, entry_of, pod, policy};

fn drifts(rig: &Rig) -> Vec<&Fact> {
    let drifted = |f: &&Fact| matches!(f, Fact::Drifted { .. });
    rig.facts.iter().filter(drifted).collect()
}

#[test]
fn what_the_leader_writes_is_no_drift_to_a_replica_that_stands_by_or_has_just_taken_over() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1), pod(2)]);
    rig.tell([Event::Leading(false)]);
    let by_the_leader = |rig: &mut Rig, n: usize| {
        let entry = entry_of(&policy(), &pod(n));
        let id = EntryId::stored(&format!("by-the-leader-{n}"));
        rig.server.put(RegisteredEntry::created(id, &entry));
        rig.tell([Event::Applied(Object::Pod(pod(n)))]);
    };
    let ended_by_the_leader = |rig: &mut Rig, n: usize| {
        let entry = entry_of(&policy(), &pod(n));
        let found = rig.server.entries().find(|e| entry.is_similar(e));
        let id = found.expect("there").id.clone();
        rig.server.remove(&id);
        let key = ObjectKey::new(Kind::Pod, pod(n).namespace, pod(n).name);
        rig.tell([Event::Deleted(key, pod(n).uid)]);
    };
    by_the_leader(&mut rig, 3);
    ended_by_the_leader(&mut rig, 1);
    rig.wait(Duration::from_secs(60));
    assert_eq!(drifts(&rig), Vec::<&Fact>::new());
    by_the_leader(&mut rig, 4);
    ended_by_the_leader(&mut rig, 2);
    rig.tell([Event::Leading(true)]);
    rig.wait(Duration::from_secs(60));
    assert_eq!(drifts(&rig), Vec::<&Fact>::new());
    // What nobody should have done is told.
    rig.server.remove(&EntryId::stored("by-the-leader-4"));
    rig.wait(Duration::from_secs(60));
    let told = drifts(&rig);
    assert!(
        matches!(
            told[..],
            [Fact::Drifted {
                drift: Drift::Missing,
                ..
            }]
        ),
        "{told:?}"
    );
}
