//! A create that the server answers with a similar entry: whose it is, and what becomes of it.

use std::{sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    entry::{DnsName, EntryId, Field, FieldMask, RegisteredEntry, Selector, Selectors},
    policy::{IdentitySource, NodePolicy, ParentForm, Policy},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
    sync::{Event, Fact},
};

use crate::rig::{Rig, entry_of, node, pod, policy};

fn annotated() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn named(uid: &str, value: &str) -> PodSnapshot {
    let mut pod = pod(1);
    pod.uid = Uid::new(uid);
    pod.annotations.insert("id".into(), value.into());
    pod
}

fn applied(pod: &PodSnapshot) -> Event {
    Event::Applied(Object::Pod(pod.clone()))
}

fn deleted(pod: &PodSnapshot) -> Event {
    let key = ObjectKey::new(Kind::Pod, pod.namespace.clone(), pod.name.clone());
    Event::Deleted(key, pod.uid.clone())
}

/// The entry of the pod, as it was stored behind the machine's back.
fn stored(policy: &Policy, pod: &PodSnapshot) -> RegisteredEntry {
    RegisteredEntry::created(EntryId::stored("there-already"), &entry_of(policy, pod))
}

/// A machine that knows of nothing but a node, while the server has an entry like the one that this pod will want.
fn unseen(policy: Policy, there: RegisteredEntry) -> Rig {
    let mut rig = Rig::new(policy);
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.writes.clear();
    rig.facts.clear();
    rig.server.put(there);
    rig
}

fn pods_entries(rig: &Rig) -> Vec<RegisteredEntry> {
    let of_pods = |e: &&RegisteredEntry| e.selectors.iter().next().expect("one").kind == "k8s";
    rig.server.entries().filter(of_pods).cloned().collect()
}

/// What was written, in words.
fn written(rig: &Rig) -> Vec<String> {
    rig.writes
        .iter()
        .map(|(_, call)| match call {
            SpireCall::Create { entries } => format!("create {}", entries.len()),
            SpireCall::Update { mask, entries } => format!("update {mask} of {}", entries[0].0),
            SpireCall::Delete { ids } => format!("delete {ids:?}"),
            other => panic!("{other:?} is no write"),
        })
        .collect()
}

#[test]
fn a_similar_entry_is_taken_over_and_only_what_differs_is_written() {
    struct Case {
        what: &'static str,
        change: fn(&mut RegisteredEntry),
        writes: &'static [&'static str],
    }
    let cases = [
        Case {
            what: "it is right",
            change: |_| (),
            writes: &["create 1"],
        },
        Case {
            what: "fields that are not ours differ",
            change: |e| {
                e.x509_svid_ttl = 77;
                e.hint = "by hand".into();
                e.admin = true;
                e.store_svid = true;
            },
            writes: &["create 1"],
        },
        Case {
            what: "its selectors are in another order",
            change: |e| {
                let given: Vec<Selector> = e.selectors.iter().map(Selector::from).collect();
                e.selectors = Selectors::new(given.into_iter().rev());
            },
            writes: &["create 1"],
        },
        Case {
            what: "it has a DNS name",
            change: |e| e.dns_names = Arc::new([DnsName::stored("a.test")]),
            writes: &["create 1", "update dns_names of there-already"],
        },
    ];
    for Case {
        what,
        change,
        writes,
    } in cases
    {
        let policy = annotated();
        let pod = named("uid-1", "team/a");
        let mut there = stored(&policy, &pod);
        change(&mut there);
        let mut rig = unseen(policy.clone(), there.clone());
        rig.tell([applied(&pod)]);
        rig.wait(Duration::from_secs(40));
        assert_eq!(written(&rig), writes, "{what}");
        let left = pods_entries(&rig);
        assert_eq!(left.len(), 1, "{what}: {left:?}");
        assert_eq!(left[0].id, there.id, "{what}");
        assert!(
            entry_of(&policy, &pod).changed_fields(&left[0]).is_empty(),
            "{what}: {left:?}"
        );
        assert_eq!(left[0].x509_svid_ttl, there.x509_svid_ttl, "{what}");
        let adopted = |f: &Fact| matches!(f, Fact::Adopted { id, .. } if *id == there.id);
        assert!(rig.facts.iter().any(adopted), "{what}: {:?}", rig.facts);
    }
}

/// The entry is the object's that asked for it: that one may become invalid and keeps it, another of its name does not.
#[test]
fn a_similar_entry_is_owned_by_the_object_that_asked_for_it() {
    let pod = named("uid-1", "team/a");
    let invalid = named("uid-1", "a//b");
    let successor = named("uid-2", "a//b");
    let cases: [(&str, Vec<Event>, usize); 4] = [
        ("it became invalid", vec![applied(&invalid)], 1),
        (
            "it became invalid, then another came",
            vec![applied(&invalid), applied(&successor)],
            0,
        ),
        ("another came, unseen", vec![applied(&successor)], 0),
        (
            "it went, and another came",
            vec![deleted(&pod), applied(&successor)],
            0,
        ),
    ];
    for (what, events, left) in cases {
        let policy = annotated();
        let mut rig = unseen(policy.clone(), stored(&policy, &pod));
        rig.tell([applied(&pod)]);
        rig.answer_all();
        assert_eq!(written(&rig), ["create 1"], "{what}");
        for event in events {
            rig.tell([event]);
            rig.answer_all();
        }
        rig.wait(Duration::from_secs(40));
        let found = pods_entries(&rig);
        assert_eq!(found.len(), left, "{what}: {found:?}");
    }
}

/// The same where the object changes while the answer is on its way.
#[test]
fn a_similar_entry_is_owned_by_whom_it_was_asked_for_even_if_that_one_is_gone() {
    let pod = named("uid-1", "team/a");
    for (what, event, left) in [
        ("it became invalid", applied(&named("uid-1", "a//b")), 1),
        ("another came", applied(&named("uid-2", "a//b")), 0),
        (
            "another came, that wants it",
            applied(&named("uid-2", "team/a")),
            1,
        ),
        ("it went", deleted(&pod), 0),
    ] {
        let policy = annotated();
        let mut rig = unseen(policy.clone(), stored(&policy, &pod));
        rig.tell([applied(&pod)]);
        assert_eq!(written(&rig), ["create 1"], "{what}");
        rig.tell([event]);
        rig.answer_all();
        rig.wait(Duration::from_secs(40));
        let found = pods_entries(&rig);
        assert_eq!(found.len(), left, "{what}: {found:?}");
    }
}

#[test]
fn a_create_that_arrives_late_is_found_by_the_next_and_is_this_objects() {
    let pod = named("uid-1", "team/a");
    let mut rig = Rig::new(annotated());
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.tell([applied(&pod)]);
    let (id, lost) = rig.waiting.pop_first().expect("a create");
    let unknown = Failure::new(FailureClass::Unknown, "deadline exceeded");
    rig.tell([Event::Replied(id, Err(unknown))]);
    let is_create = |call: &SpireCall| matches!(call, SpireCall::Create { .. });
    // The entry is read, and is not there; then the create is sent again, and the first one arrives before it.
    for _ in 0..100 {
        if rig.waiting.values().any(is_create) {
            break;
        }
        rig.now += Duration::from_millis(500);
        rig.tell([]);
        if let Some((id, call)) = rig.waiting.pop_first() {
            if is_create(&call) {
                rig.waiting.insert(id, call);
                break;
            }
            let answer = rig.server.perform(&call, usize::MAX);
            rig.tell([Event::Replied(id, Ok(answer))]);
        }
    }
    rig.server.perform(&lost, usize::MAX);
    let arrived = pods_entries(&rig).remove(0);
    let (id, again) = rig.waiting.pop_first().expect("a second create");
    let answer = rig.server.perform(&again, usize::MAX);
    let similar = |o: &Outcome| matches!(o, Outcome::AlreadyExists(Some(e)) if e.id == arrived.id);
    assert!(
        matches!(&answer, SpireAnswer::Written(outcomes) if outcomes.iter().all(similar)),
        "{answer:?}"
    );
    rig.tell([Event::Replied(id, Ok(answer))]);
    rig.wait(Duration::from_secs(40));
    assert_eq!(pods_entries(&rig), [arrived]);
    rig.tell([applied(&named("uid-1", "a//b"))]);
    rig.wait(Duration::from_secs(40));
    assert_eq!(
        pods_entries(&rig).len(),
        1,
        "held, it keeps what it asked for"
    );
}

#[test]
fn of_two_similar_entries_one_stays() {
    let policy = annotated();
    let pod = named("uid-1", "team/a");
    let there = stored(&policy, &pod);
    let mut rig = unseen(policy, there.clone());
    let copy = RegisteredEntry {
        id: EntryId::stored("a-copy"),
        ..there
    };
    rig.server.put(copy.clone());
    rig.tell([applied(&pod)]);
    rig.wait(Duration::from_secs(40));
    assert_eq!(pods_entries(&rig), [copy], "the lowest ID");
}

/// Under an agent's own ID, anybody may have made an entry; only those that we made are ours.
#[test]
fn a_similar_entry_that_is_not_ours_is_left_alone_told_and_waited_for() {
    let mut policy = annotated();
    policy.pods.parent = ParentForm::Agent;
    policy.nodes = NodePolicy::None;
    let pod = named("uid-1", "team/a");
    let node = node();
    let lookups = registrar_core::rules::PodLookups {
        node: Some(&node),
        slices: &[],
        bundles: &registrar_core::rules::Bundles::default(),
    };
    let registrar_core::rules::Decision::Register { entries, .. } =
        registrar_core::rules::decide_pod(&policy, &pod, lookups)
    else {
        panic!("the pod gets an entry")
    };
    let there = RegisteredEntry::created(EntryId::stored("there-already"), &entries[0]);
    let mut rig = unseen(policy, there.clone());
    rig.tell([applied(&pod)]);
    rig.wait(Duration::from_secs(120));
    assert_eq!(pods_entries(&rig), std::slice::from_ref(&there));
    let told = rig.facts.iter().any(|f| {
        matches!(f, Fact::Refused { failure, .. }
            if failure.class == FailureClass::Permanent && failure.message.contains("there-already"))
    });
    assert!(told, "{:?}", rig.facts);
    assert!(
        written(&rig).iter().all(|w| w == "create 1"),
        "{:?}",
        rig.writes
    );
    let attempts = rig.writes.len();
    assert!(attempts < 10, "it backs off: {attempts} in two minutes");
    rig.server.remove(&there.id);
    rig.wait(Duration::from_secs(400));
    let found = pods_entries(&rig);
    assert_eq!(found.len(), 1);
    assert_ne!(found[0].id, there.id, "made once nothing is in the way");
    assert_eq!(
        entries[0].changed_fields(&found[0]),
        FieldMask::default(),
        "{:?}",
        Field::ALL
    );
}

#[test]
fn of_two_entries_the_similar_one_is_put_right_and_the_other_goes() {
    let policy = annotated();
    let pod = named("uid-1", "team/a");
    let mut similar = stored(&policy, &pod);
    similar.dns_names = Arc::new([DnsName::stored("a.test")]);
    let mut other = stored(&policy, &named("uid-1", "team/b"));
    other.id = EntryId::stored("comes-first");
    let mut rig = Rig::new(policy);
    rig.server.put(other);
    rig.server.put(similar);
    rig.start([pod]);
    rig.wait(Duration::from_secs(40));
    let wrote = written(&rig);
    assert!(
        wrote.contains(&"update dns_names of there-already".to_owned()),
        "{wrote:?}"
    );
    let left: Vec<String> = pods_entries(&rig)
        .iter()
        .map(|e| e.id.to_string())
        .collect();
    assert_eq!(left, ["there-already"]);
}
