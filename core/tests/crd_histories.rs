//! crd mode, driven through generated histories: whatever happened, when the faults end every SpiffeID and every entry is right,
//! the operator's entry was not touched, and at rest nothing is written to either server.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{cell::RefCell, env, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use registrar_core::{
    policy::{IdentitySource, MaxDeletes, Policy},
    testing::{CrdAction, CrdWorld, Fault, Identity, Seen},
};

fn policy() -> Policy {
    let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.max_deletes = MaxDeletes::Percent(100);
    policy.drift_interval = Duration::from_secs(10);
    policy
}

fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        1 => Just(Identity::None),
        6 => (0..3u8).prop_map(Identity::Legal),
        1 => Just(Identity::Illegal),
        1 => Just(Identity::Reserved),
    ]
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
        8 => (0..3u8, identity(), prop::bool::weighted(0.2))
            .prop_map(|(name, identity, again)| CrdAction::Pod { name, identity, again }),
        3 => (0..3u8).prop_map(CrdAction::DeletePod),
        2 => any::<bool>().prop_map(CrdAction::Node),
        6 => (0..3u8, 0..5u8).prop_map(|(name, spec)| CrdAction::Hand(name, spec)),
        3 => any::<u8>().prop_map(CrdAction::Delete),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| CrdAction::Forge(a, b)),
        2 => Just(CrdAction::Collect),
        1 => any::<bool>().prop_map(CrdAction::Definition),
        14 => (1..5u8).prop_map(CrdAction::See),
        1 => Just(CrdAction::Relist),
        24 => (any::<u8>(), fault()).prop_map(|(which, fault)| CrdAction::Answer(which, fault)),
        2 => any::<bool>().prop_map(CrdAction::Kill),
        1 => any::<u8>().prop_map(CrdAction::Vandal),
        6 => (0..40u8).prop_map(CrdAction::Wait),
    ]
}

fn play(history: &[CrdAction]) -> (Seen, Result<(), String>) {
    let mut world = CrdWorld::new(policy());
    for action in history {
        world.act(*action);
    }
    let settled = world.settle();
    let differences = world.differences();
    let result = settled.and_then(|()| match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.join("\n")),
    });
    (world.seen, result)
}

#[test]
fn whatever_happens_spiffe_ids_and_entries_are_right_in_the_end() {
    let cases = env::var("HISTORIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150);
    let seen = RefCell::new(Seen::default());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&prop::collection::vec(action(), 1..100), |history| {
        let (occurred, result) = play(&history);
        seen.borrow_mut().add(&occurred);
        result.map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        match error {
            TestError::Fail(why, history) => panic!("{why}\nhistory: {history:?}"),
            TestError::Abort(why) => panic!("{why}"),
        }
    }
    let seen = seen.into_inner();
    println!("{cases} histories, in which occurred: {:#?}", seen.0);
    for needed in [
        "apply",
        "write_status",
        "set_finalizers",
        "kill",
        "definition deleted",
        "definition installed",
        "ReplyLost",
        "hold",
        "status forged",
    ] {
        assert!(seen.0.contains_key(needed), "{needed} never occurred");
    }
}
