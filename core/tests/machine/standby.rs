//! A replica that stands by, beside one that writes.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
    entry::{EntryId, RegisteredEntry},
    ports::SpireCall,
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

#[test]
fn one_that_takes_over_creates_what_is_new_at_once_and_changes_nothing_before_it_has_read_the_server()
 {
    let mut rig = Rig::new(policy());
    rig.start([pod(1), pod(2), pod(3)]);
    rig.tell([Event::Leading(false)]);
    rig.wait(Duration::from_secs(1));
    rig.writes.clear();
    // While it stands by, a pod comes, one changes, and one goes.
    let key = ObjectKey::new(Kind::Pod, pod(1).namespace, pod(1).name);
    let changed = PodSnapshot {
        service_account: Some("another".into()),
        ..pod(2)
    };
    rig.tell([
        Event::Applied(Object::Pod(pod(4))),
        Event::Applied(Object::Pod(changed.clone())),
        Event::Deleted(key, pod(1).uid),
    ]);
    rig.wait(Duration::from_secs(5));
    assert!(rig.writes.is_empty(), "{:?}", rig.writes);
    let begins = rig.now;
    rig.tell([Event::Leading(true)]);
    // Answered is what writes, and the reading of all entries is not yet.
    let is_list = |call: &SpireCall| matches!(call, SpireCall::List { .. });
    let reading: Vec<_> = rig.waiting.extract_if(.., |_, c| is_list(c)).collect();
    assert!(!reading.is_empty(), "it reads the server anew");
    rig.answer_all();
    assert_eq!(rig.created(), [pod(4).name.to_string()]);
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    assert_eq!(rig.writes[0].0, begins);
    rig.waiting.extend(reading);
    rig.wait(Duration::from_secs(30));
    let wanted = [pod(3), pod(4), changed].map(|p| entry_of(&policy(), &p));
    for entry in &wanted {
        assert!(
            rig.server.entries().any(|e| entry.is_similar(e)),
            "{entry:?}"
        );
    }
    assert_eq!(rig.server.entries().count(), wanted.len() + 1);
}
