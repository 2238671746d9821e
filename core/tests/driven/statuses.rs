//! What the status of a SpiffeID says of its entry, and what in it is left to others.

use std::sync::Arc;

use registrar_core::{
    cluster::{Condition, SpiffeIdSnapshot, SpiffeIdSpec},
    ports::KubeCall,
    sync::Fact,
};

use crate::{
    by_hand::{self, by_hand},
    sleeper::{Sleeper, crd, seconds},
};

fn spec(path: &str) -> SpiffeIdSpec {
    let mut spec = by_hand::spec(path);
    spec.selector.arbitrary = vec![format!("x:{path}").into()];
    spec
}

/// One SpiffeID that somebody wrote, with its entry.
fn at_rest() -> Sleeper {
    let policy = crd();
    let mut sleeper = Sleeper::started(policy, 0);
    sleeper.api.put(&by_hand(), spec("one"));
    shown(&mut sleeper);
    assert_eq!(says(&sleeper).status, "True".into());
    sleeper.kube_writes.clear();
    sleeper
}

fn object(sleeper: &mut Sleeper) -> &mut SpiffeIdSnapshot {
    sleeper.api.objects.get_mut(&by_hand()).expect("there")
}

fn shown(sleeper: &mut Sleeper) {
    sleeper.show_all();
    sleeper.sleep(seconds(60));
}

/// Our condition.
fn says(sleeper: &Sleeper) -> Condition {
    let conditions = &sleeper.api.objects[&by_hand()].status.conditions;
    let ours: Vec<_> = conditions
        .iter()
        .filter(|c| &*c.kind == "Registered")
        .collect();
    let [ours] = ours[..] else {
        panic!("{conditions:?}");
    };
    ours.clone()
}

fn change(sleeper: &mut Sleeper, change: impl FnOnce(&mut SpiffeIdSnapshot)) {
    let object = object(sleeper);
    change(object);
    let version: u64 = object.resource_version.parse().expect("a number");
    object.resource_version = (version + 1000).to_string().into();
    shown(sleeper);
}

fn theirs() -> Condition {
    Condition {
        kind: "Approved".into(),
        status: "True".into(),
        observed_generation: None,
        last_transition: Some("2026-01-01T00:00:00Z".into()),
        reason: "Checked".into(),
        message: "by somebody".into(),
    }
}

fn statuses_written(sleeper: &Sleeper) -> usize {
    let is = |call: &&KubeCall| matches!(call, KubeCall::WriteStatus { .. });
    sleeper.kube_writes.iter().filter(is).count()
}

#[test]
fn a_condition_of_others_is_no_reason_to_write_and_stays_when_something_is_written() {
    let mut sleeper = at_rest();
    change(&mut sleeper, |o| o.status.conditions.insert(0, theirs()));
    assert_eq!(statuses_written(&sleeper), 0);
    change(&mut sleeper, |o| o.status.entry_id = Some("forged".into()));
    assert_eq!(statuses_written(&sleeper), 1);
    let status = object(&mut sleeper).status.clone();
    assert_ne!(status.entry_id, Some("forged".into()));
    assert_eq!(
        (status.conditions.len(), &status.conditions[0]),
        (2, &theirs())
    );
}

#[test]
fn whatever_of_our_condition_somebody_changes_is_written_again() {
    type Change = fn(&mut Condition);
    let changes: [Change; 4] = [
        |c| c.status = "False".into(),
        |c| c.reason = "Why".into(),
        |c| c.message = "words".into(),
        |c| c.observed_generation = Some(99),
    ];
    for (n, forge) in changes.into_iter().enumerate() {
        let mut sleeper = at_rest();
        let before = says(&sleeper);
        change(&mut sleeper, |o| forge(&mut o.status.conditions[0]));
        assert_eq!(statuses_written(&sleeper), 1, "change {n}");
        assert_eq!(says(&sleeper), before, "change {n}");
        change(&mut sleeper, |o| o.status.observed_generation = Some(99));
        assert_eq!(statuses_written(&sleeper), 2, "change {n}");
    }
}

#[test]
fn a_condition_keeps_the_time_of_its_last_transition_until_it_is_another() {
    let time = Some("2026-01-01T00:00:00Z".into());
    let mut sleeper = at_rest();
    let since: Option<Arc<str>> = time.clone();
    change(&mut sleeper, move |o| {
        o.status.conditions[0].last_transition = since;
        o.status.observed_generation = None;
    });
    assert_eq!(statuses_written(&sleeper), 1);
    assert_eq!(says(&sleeper).last_transition, time, "it is as before");
    // What it asks for cannot be read: that is another status.
    sleeper.api.put(&by_hand(), spec("no path//"));
    shown(&mut sleeper);
    let now = says(&sleeper);
    assert_eq!((&*now.status, now.last_transition), ("False", None));
}

#[test]
fn a_status_tells_the_generation_that_it_is_about() {
    let mut sleeper = at_rest();
    for (path, generation) in [("two", 2), ("three", 3)] {
        sleeper.api.put(&by_hand(), spec(path));
        shown(&mut sleeper);
        let status = object(&mut sleeper).status.clone();
        assert_eq!(status.observed_generation, Some(generation));
        assert_eq!(says(&sleeper).observed_generation, Some(generation));
    }
}

#[test]
fn a_long_message_is_cut_between_two_characters() {
    let mut sleeper = at_rest();
    let mut long = spec("one");
    long.federates_with = (0..200).map(|n| format!("ü-{n}").into()).collect();
    sleeper.api.put(&by_hand(), long);
    shown(&mut sleeper);
    let said = says(&sleeper);
    assert_eq!(&*said.status, "True", "{said:?}");
    assert!(said.message.starts_with("without what was left out: "));
    assert!(
        (1000..=1024).contains(&said.message.len()),
        "{}",
        said.message.len()
    );
}

#[test]
fn one_that_is_refused_says_so_at_once_and_what_it_still_has() {
    let mut sleeper = Sleeper::started(crd(), 0);
    sleeper.refused = Some("x:one");
    sleeper.api.put(&by_hand(), spec("one"));
    sleeper.show_all();
    let said = says(&sleeper);
    assert_eq!((&*said.status, &*said.reason), ("False", "EntryRefused"));
    assert!(said.message.contains("database is locked"), "{said:?}");
    assert_eq!(object(&mut sleeper).status.entry_id, None);
    let its_own = object(&mut sleeper).uid.clone();
    let told = |f: &Fact| matches!(f, Fact::Refused { uid, .. } if uid.as_ref() == Some(&its_own));
    assert!(sleeper.facts.iter().any(told), "{:#?}", sleeper.facts);
    sleeper.refused = None;
    sleeper.sleep(seconds(60));
    assert_eq!(&*says(&sleeper).status, "True");
}
