//! The limit on deletes.

use std::time::Duration;

use proptest::prelude::*;
use registrar_core::{
    cluster::Object,
    entry::{EntryId, RegisteredEntry},
    policy::{MaxDeletes, Policy},
    ports::SpireCall,
    sync::{Event, Fact, TripId},
};

use crate::rig::{Rig, entry_of, pod, policy};

/// Entries of pods that no longer exist, on the server before the machine starts.
fn with_orphans(policy: Policy, orphans: usize, living: usize) -> Rig {
    let mut rig = Rig::new(policy.clone());
    for n in 0..orphans + living {
        let entry = entry_of(&policy, &pod(n));
        let id = EntryId::stored(&format!("old-{n}"));
        rig.server.put(RegisteredEntry::created(id, &entry));
    }
    rig.start((orphans..orphans + living).map(pod));
    rig
}

fn deletes_by_time(rig: &Rig) -> Vec<(Duration, usize)> {
    rig.writes
        .iter()
        .filter_map(|(at, call)| match call {
            SpireCall::Delete { ids } => Some((*at, ids.len())),
            _ => None,
        })
        .collect()
}

/// Property: the breaker never lets more than its limit through within a minute.
fn never_more_than(limit: usize, deletes: &[(Duration, usize)]) -> Result<(), String> {
    for (from, _) in deletes {
        let within =
            |(at, _): &&(Duration, usize)| at >= from && *at < *from + Duration::from_secs(60);
        let sum: usize = deletes.iter().filter(within).map(|(_, n)| n).sum();
        if sum > limit {
            return Err(format!(
                "{sum} deletes within a minute from {from:?}, at most {limit} may"
            ));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_never_lets_more_than_its_limit_through(
        orphans in 0usize..40, living in 0usize..40, percent in 0u32..60,
    ) {
        let mut policy = policy();
        policy.max_deletes = MaxDeletes::Percent(percent);
        let limit = policy.max_deletes.limit(orphans + living + 1);
        let mut rig = with_orphans(policy, orphans, living);
        rig.wait(Duration::from_secs(130));
        never_more_than(limit, &deletes_by_time(&rig)).map_err(TestCaseError::fail)?;
        let left = rig.server.entries().count();
        let expected = if orphans > limit { orphans + living + 1 } else { living + 1 };
        prop_assert_eq!(left, expected, "limit {}", limit);
    }
}

/// The breaker's property can fail.
#[test]
fn too_many_deletes_within_a_minute_are_noticed() {
    let seconds = Duration::from_secs;
    assert!(never_more_than(10, &[(seconds(0), 6), (seconds(59), 5)]).is_err());
    assert!(never_more_than(10, &[(seconds(0), 6), (seconds(60), 5)]).is_ok());
}

#[test]
fn a_confirmed_trip_lets_exactly_its_deletes_go() {
    let mut policy = policy();
    policy.max_deletes = MaxDeletes::Count(3);
    let mut rig = with_orphans(policy, 20, 5);
    rig.wait(Duration::from_secs(2));
    let trip = rig.facts.iter().find_map(|f| match f {
        Fact::BreakerTripped {
            trip,
            condemned: 20,
            ..
        } => Some(trip.clone()),
        _ => None,
    });
    let trip = trip.expect("it tripped");
    assert!(deletes_by_time(&rig).is_empty());
    rig.tell([Event::ConfirmDeletes(Some(trip))]);
    rig.answer_all();
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.server.entries().count(), 6);
    assert_eq!(rig.created(), Vec::<String>::new());
}

/// Twenty of the server's entries are of nobody, and three may go.
fn tripped() -> Rig {
    let mut policy = policy();
    policy.max_deletes = MaxDeletes::Count(3);
    let mut rig = with_orphans(policy, 20, 5);
    rig.wait(Duration::from_secs(2));
    rig
}

fn closed(rig: &Rig) -> usize {
    let closed = |f: &&Fact| matches!(f, Fact::BreakerClosed { .. });
    rig.facts.iter().filter(closed).count()
}

#[test]
fn only_its_own_word_lets_the_deletes_of_a_trip_go_and_without_a_trip_no_word_means_anything() {
    let mut rig = tripped();
    let held = rig.machine.status(rig.now).tripped;
    assert!(matches!(held, Some((_, 20))), "{held:?}");
    let another = TripId("another".into());
    rig.tell([Event::ConfirmDeletes(Some(another.clone()))]);
    rig.answer_all();
    assert!(rig.facts.contains(&Fact::UnknownTrip(another)));
    assert_eq!((closed(&rig), deletes_by_time(&rig)), (0, vec![]));
    // Whichever there is.
    rig.tell([Event::ConfirmDeletes(None)]);
    rig.answer_all();
    assert_eq!((closed(&rig), rig.server.entries().count()), (1, 6));
    rig.tell([Event::ConfirmDeletes(None)]);
    assert_eq!(closed(&rig), 1);
    assert_eq!(rig.machine.status(rig.now).tripped, None);
}

#[test]
fn a_trip_ends_by_itself_when_pods_come_whose_entries_it_holds_back() {
    let mut rig = tripped();
    rig.tell((0..18).map(|n| Event::Applied(Object::Pod(pod(n)))));
    rig.wait(Duration::from_secs(2));
    assert_eq!((closed(&rig), rig.server.entries().count()), (1, 24));
    assert_eq!(rig.created(), Vec::<String>::new());
}

#[test]
fn a_trip_ends_by_itself_when_somebody_deletes_what_it_holds_back() {
    let mut rig = tripped();
    for n in 0..18 {
        rig.server.remove(&EntryId::stored(&format!("old-{n}")));
    }
    rig.wait(Duration::from_secs(30));
    assert_eq!((closed(&rig), rig.server.entries().count()), (1, 6));
}
