//! An object that changes again and again is written ever less often, and what is written in the end is what it asks for.

use std::sync::Arc;

use proptest::prelude::*;
use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    policy::{IdentitySource, Policy},
    rules::Subject,
    sync::{Event, Fact, Review, ReviewId},
};

use crate::sleeper::{Sleeper, pod, reconcile, seconds};

const KEY: &str = "id";

fn policy() -> Policy {
    let mut policy = reconcile();
    policy.pods.identity = IdentitySource::Annotation(KEY.into());
    policy
}

/// Pod number `n`, which asks for this identity.
fn asking(n: usize, identity: &str) -> PodSnapshot {
    let mut pod = pod(n);
    pod.annotations = [(Arc::from(KEY), Arc::from(identity))].into();
    pod
}

fn apply(sleeper: &mut Sleeper, pod: PodSnapshot) {
    sleeper.tell(vec![Event::Applied(Object::Pod(pod))]);
}

/// Whether an entry has this identity.
fn has(sleeper: &Sleeper, identity: &str) -> bool {
    let end = format!("/{identity}");
    sleeper
        .server
        .entries()
        .any(|e| e.spiffe_id.path().ends_with(&end))
}

fn writes(sleeper: &Sleeper, n: usize) -> usize {
    let of = |subject: &Subject| subject.to_string().contains(&*pod(n).name);
    let facts = sleeper.facts.iter();
    facts
        .filter(|fact| match fact {
            Fact::Created { subject, .. }
            | Fact::Updated { subject, .. }
            | Fact::Deleted { subject, .. } => of(subject),
            _ => false,
        })
        .count()
}

/// A pod that has changed so often that its next change waits.
fn flapping() -> Sleeper {
    let mut sleeper = Sleeper::started(policy(), 0);
    apply(&mut sleeper, asking(1, "t/0"));
    for turn in 1..20 {
        sleeper.sleep(seconds(1) / 5);
        apply(&mut sleeper, asking(1, &format!("t/{turn}")));
    }
    sleeper
}

#[test]
fn a_few_changes_are_written_at_once() {
    let mut sleeper = Sleeper::started(policy(), 0);
    apply(&mut sleeper, asking(1, "t/0"));
    for turn in 1..=3 {
        apply(&mut sleeper, asking(1, &format!("t/{turn}")));
        assert!(has(&sleeper, &format!("t/{turn}")), "change {turn}");
    }
    sleeper.sleep(seconds(60));
    apply(&mut sleeper, asking(1, "t/9"));
    assert!(has(&sleeper, "t/9"), "a minute later it begins anew");
}

#[test]
fn an_object_that_does_not_come_to_rest_is_written_ever_less_often_and_in_the_end_as_it_is() {
    let mut sleeper = Sleeper::started(policy(), 0);
    apply(&mut sleeper, asking(1, "t/0"));
    let before = writes(&sleeper, 1);
    // Five changes a second for ten minutes.
    for turn in 1..=3000 {
        sleeper.sleep(seconds(1) / 5);
        apply(&mut sleeper, asking(1, &format!("t/{turn}")));
    }
    let during = writes(&sleeper, 1) - before;
    assert!((30..60).contains(&during), "{during} writes in ten minutes");
    sleeper.sleep(seconds(16));
    assert!(has(&sleeper, "t/3000"));
    assert_eq!(sleeper.machine.status(sleeper.now).busy, 0);
}

#[test]
fn while_a_change_waits_the_machine_is_not_woken_in_vain() {
    let mut sleeper = flapping();
    sleeper.steps = 0;
    sleeper.sleep(seconds(16));
    assert!(sleeper.steps < 10, "{} steps", sleeper.steps);
    assert!(has(&sleeper, "t/19"));
}

#[test]
fn a_change_that_was_taken_back_is_nothing_to_write() {
    let mut sleeper = flapping();
    let written = (0..20).find(|n| has(&sleeper, &format!("t/{n}")));
    let before = writes(&sleeper, 1);
    apply(
        &mut sleeper,
        asking(1, &format!("t/{}", written.expect("one"))),
    );
    sleeper.sleep(seconds(60));
    assert_eq!(writes(&sleeper, 1), before);
    assert_eq!(sleeper.machine.status(sleeper.now).busy, 0);
}

#[test]
fn the_end_of_an_object_waits_for_nothing_and_neither_does_the_next_of_its_name() {
    let mut sleeper = flapping();
    let key = ObjectKey::new(Kind::Pod, pod(1).namespace, pod(1).name);
    sleeper.tell(vec![Event::Deleted(key, Uid::new("uid-1"))]);
    assert!(!sleeper.registered(1));
    let mut next = asking(1, "t/next");
    next.uid = Uid::new("uid-next");
    apply(&mut sleeper, next);
    assert!(has(&sleeper, "t/next"));
}

#[test]
fn the_next_object_of_its_name_waits_for_nothing_when_the_end_was_not_seen() {
    let mut sleeper = flapping();
    let mut next = asking(1, "t/next");
    next.uid = Uid::new("uid-next");
    apply(&mut sleeper, next);
    assert!(has(&sleeper, "t/next"));
}

#[test]
fn an_object_that_comes_and_goes_by_its_own_word_loses_its_entry_at_once_and_has_it_back_later() {
    let mut sleeper = Sleeper::started(policy(), 0);
    let absent = pod(1);
    for _ in 0..20 {
        apply(&mut sleeper, asking(1, "t/a"));
        apply(&mut sleeper, absent.clone());
        assert!(!sleeper.registered(1), "what it gave up is gone at once");
    }
    let so_far = writes(&sleeper, 1);
    assert!(so_far <= 8, "{so_far} writes for 40 changes");
    apply(&mut sleeper, asking(1, "t/a"));
    assert!(!sleeper.registered(1), "it waits");
    sleeper.sleep(seconds(16));
    assert!(sleeper.registered(1));
}

#[test]
fn a_review_waits_for_no_flurry() {
    let mut sleeper = flapping();
    let review = Review::Created(asking(1, "t/reviewed"));
    let event = Event::Reviewed {
        id: ReviewId(7),
        review,
        patience: seconds(10),
    };
    sleeper.tell(vec![event]);
    assert_eq!(sleeper.answers.get(&ReviewId(7)), Some(&Ok(())));
}

#[test]
fn what_a_server_refuses_again_and_again_waits_for_its_back_off_alone() {
    let mut sleeper = Sleeper::started(policy(), 0);
    sleeper.away = true;
    apply(&mut sleeper, asking(1, "t/a"));
    sleeper.sleep(seconds(120));
    sleeper.away = false;
    sleeper.sleep(seconds(7));
    assert!(has(&sleeper, "t/a"));
    sleeper.away = true;
    apply(&mut sleeper, asking(1, "t/b"));
    sleeper.sleep(seconds(120));
    sleeper.away = false;
    sleeper.sleep(seconds(7));
    assert!(has(&sleeper, "t/b"));
}

#[test]
fn a_machine_becomes_ready_while_an_object_flaps() {
    let mut sleeper = Sleeper::new(policy());
    // Its entry is there from before, and it has changed since.
    sleeper.start(0);
    apply(&mut sleeper, asking(1, "t/0"));
    let server = std::mem::take(&mut sleeper.server);
    let mut again = Sleeper::new(policy());
    again.server = server;
    again.start(0);
    for turn in 1..20 {
        apply(&mut again, asking(1, &format!("t/{turn}")));
        again.sleep(seconds(1) / 5);
    }
    assert_eq!(again.machine.not_ready(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_changes_and_pauses_the_end_is_what_was_last_asked_for(
        changes in prop::collection::vec((0usize..3, 0u64..8_000, 0u8..4), 1..60),
    ) {
        let mut sleeper = Sleeper::started(policy(), 0);
        let mut last = [const { None }; 3];
        for (n, pause, identity) in changes {
            let pod = match identity {
                0 => pod(n),
                other => asking(n, &format!("t/{other}")),
            };
            last[n] = (identity > 0).then(|| format!("t/{identity}"));
            apply(&mut sleeper, pod);
            sleeper.sleep(std::time::Duration::from_millis(pause));
        }
        sleeper.sleep(seconds(17));
        for (n, wanted) in last.iter().enumerate() {
            prop_assert_eq!(sleeper.registered(n), wanted.is_some(), "pod {}", n);
        }
        prop_assert_eq!(sleeper.machine.status(sleeper.now).busy, 0);
    }
}
