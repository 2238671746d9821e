//! crd mode, driven through generated histories: whatever happened, when the faults end every SpiffeID and every entry is right,
//! the operator's entry was not touched, and at rest nothing is written to either server.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod definition;
mod kept;
mod nodes;
mod pods;
mod statuses;

use std::env;

use CrdAction::*;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use registrar_core::{
    policy::{MaxDeletes, Policy},
    testing::{
        CrdAction, CrdDefect, CrdProperty, CrdWorld, Fault, Identity, Seen, few, lively, search,
        strategies::wishes,
    },
};

fn policy() -> Policy {
    lively(Policy::crd("example.org", "demo", "spire").expect("legal names"))
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::RequestLost),
        1 => Just(Fault::ReplyLost),
    ]
}

fn action() -> impl Strategy<Value = CrdAction> {
    prop_oneof![
        8 => (0..3u8, wishes(), prop::bool::weighted(0.2))
            .prop_map(|(name, identity, again)| Pod { name, identity, again }),
        3 => (0..3u8).prop_map(DeletePod),
        2 => any::<bool>().prop_map(Node),
        6 => (0..3u8, 0..5u8).prop_map(|(name, spec)| Hand(name, spec)),
        3 => any::<u8>().prop_map(Delete),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Forge(a, b)),
        2 => Just(Collect),
        1 => any::<bool>().prop_map(Definition),
        14 => (1..5u8).prop_map(See),
        1 => Just(Relist),
        6 => any::<u8>().prop_map(Perform),
        24 => (any::<u8>(), fault()).prop_map(|(which, fault)| Answer(which, fault)),
        2 => any::<bool>().prop_map(Kill),
        1 => any::<u8>().prop_map(Vandal),
        1 => any::<bool>().prop_map(Operator),
        1 => any::<bool>().prop_map(Refuse),
        1 => any::<bool>().prop_map(Lead),
        6 => (0..40u8).prop_map(Wait),
    ]
}

/// The policies under which histories run.
fn policies() -> [(&'static str, Policy); 2] {
    [("any number of deletes", policy()), (CAUTIOUS, cautious())]
}

const CAUTIOUS: &str = "no delete that was not seen to end";

fn cautious() -> Policy {
    let mut policy = policy();
    policy.max_deletes = MaxDeletes::Count(0);
    policy
}

fn play(
    policy: &Policy,
    history: &[CrdAction],
    defect: Option<CrdDefect>,
) -> (Seen, Result<(), String>) {
    CrdWorld::new(policy.clone(), defect).play(history)
}

#[test]
fn whatever_happens_spiffe_ids_and_entries_are_right_in_the_end() {
    // By default always the same histories: a bounded check that nothing fell back, and never red by chance. HISTORIES=n
    // searches n fresh ones.
    let asked: Option<u32> = env::var("HISTORIES").ok().and_then(|n| n.parse().ok());
    let cases = asked.unwrap_or(150);
    for (name, policy) in policies() {
        let fresh = asked.is_some();
        let length = if fresh { 1..250 } else { 1..100 };
        let (seen, result) = search(action(), length, cases, fresh, |history| {
            play(&policy, history, None)
        });
        println!(
            "{name}: {cases} histories, in which occurred: {:#?}",
            seen.0
        );
        result.unwrap_or_else(|why| panic!("{name}: {why}"));
        let of_breaker = ["breaker trip", "breaker confirmed"];
        let of_breaker = of_breaker.into_iter().filter(|_| name == CAUTIOUS);
        let needed = [
            "apply",
            "write_status",
            "set_finalizers",
            "kill",
            "definition deleted",
            "definition installed",
            "Refused",
            "RequestLost",
            "ReplyLost",
            "hold",
            "status forged",
            "lead lost",
            "lead taken",
            "refusal",
        ];
        for needed in needed.into_iter().chain(of_breaker) {
            assert!(seen.0.contains_key(needed), "{needed} never occurred");
        }
    }
}

/// The same in little, without the search for the smallest of those that end wrong: quick enough for every change of the code.
#[test]
fn a_few_of_many_histories_end_right() {
    for (name, policy) in policies() {
        let result = few(action(), 60..100, FEW, |history| {
            play(&policy, history, None)
        });
        result.unwrap_or_else(|why| panic!("{name}, {why}"));
    }
}

const FEW: usize = 12;

/// Each property can fail: with a deliberate defect, some history shows just that property broken.
#[test]
fn every_property_catches_its_deliberate_defect() {
    use CrdDefect as Defect;
    use CrdProperty as Property;
    let defects = [
        (Property::WritesOnlyWhileLeading, Defect::LeadsAlways),
        (Property::NothingForeignIsTouched, Defect::TouchesForeign),
        (
            Property::NoEntryGoesWithTheDefinition,
            Defect::MissesTheEndOfTheDefinition,
        ),
        (
            Property::AFinalizerLeavesAfterItsEntry,
            Defect::LosesDeletes,
        ),
        (
            Property::ALivingOneKeepsItsRightEntry,
            Defect::DeletesOneMore,
        ),
        (Property::TheBreakerHolds, Defect::IgnoresTheBreaker),
        (Property::ItComesToRest, Defect::WritesAtRest),
        (Property::NoFinalizerIsLeft, Defect::LosesFinalizers),
        (Property::SpiffeIdsAreRight, Defect::LosesWakeUp),
        (Property::NoEntryIsMissing, Defect::LosesStatuses),
        (Property::NoEntryIsNobodys, Defect::HidesOrphans),
        (Property::NoEntryIsThereTwice, Defect::MakesTwins),
    ];
    for (property, defect) in defects {
        let policy = match property {
            Property::TheBreakerHolds => cautious(),
            _ => policy(),
        };
        // A history may break several properties; this one must be among those that some history breaks.
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            TestRng::deterministic_rng(RngAlgorithm::ChaCha),
        );
        let any_history = prop::collection::vec(action(), 1..100);
        let caught = (0..1_000).any(|_| {
            let history = any_history.new_tree(&mut runner).expect("a history");
            let (_, result) = play(&policy, &history.current(), Some(defect));
            result.is_err_and(|why| {
                let broken = format!("{property:?}: ");
                why.lines().any(|line| line.starts_with(&broken))
            })
        });
        assert!(
            caught,
            "{property:?} does not notice {defect:?} in 1000 histories"
        );
    }
}

// Histories that once ended wrong are played again as they were found and shrunk: in the other files.

fn pod(name: u8, identity: Identity) -> CrdAction {
    Pod {
        name,
        identity,
        again: false,
    }
}

/// The pod of this name is another one.
fn again(name: u8, identity: Identity) -> CrdAction {
    Pod {
        name,
        identity,
        again: true,
    }
}

/// An answer that arrives.
fn ok(which: u8) -> CrdAction {
    Answer(which, Fault::None)
}

fn replay(history: &[CrdAction]) {
    if let (_, Err(why)) = play(&policy(), history, None) {
        panic!("{why}");
    }
}

/// Lets what happens be seen and answered.
fn calmly(history: &mut Vec<CrdAction>) {
    history.push(See(4));
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
}
