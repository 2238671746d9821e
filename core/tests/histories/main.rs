//! The step machine, driven through generated histories: whatever happened, when the faults end the entries are right,
//! nothing foreign was touched, and at rest nothing is written.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod found;

use std::env;

use proptest::prelude::*;
use registrar_core::{
    policy::{MaxDeletes, NodePolicy, ParentForm, PodSelector, Policy},
    testing::{
        Action, Defect, Fault, Property, Seen, World, few, lively, search, strategies::wishes,
    },
};

fn policy() -> Policy {
    lively(Policy::reconcile("example.org", "demo", "registrar").expect("legal names"))
}

const CAUTIOUS: &str = "one delete a minute";

/// The policies under which histories run.
fn policies() -> Vec<(&'static str, Policy)> {
    let mut by_uid = policy();
    by_uid.pods.selectors = [PodSelector::PodUid].into();
    let mut cautious = policy();
    cautious.max_deletes = MaxDeletes::Count(1);
    let mut agent = policy();
    agent.pods.parent = ParentForm::Agent;
    agent.nodes = NodePolicy::None;
    let webhook = lively(Policy::webhook("example.org", "demo").expect("legal names"));
    let mut webhook_by_uid = webhook.clone();
    webhook_by_uid.pods.selectors = [PodSelector::PodUid].into();
    vec![
        ("webhook", webhook),
        ("webhook, selector pod-uid", webhook_by_uid),
        ("selectors ns and pod-name", policy()),
        ("selector pod-uid", by_uid),
        ("parent agent", agent),
        (CAUTIOUS, cautious),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::RequestLost),
        1 => Just(Fault::ReplyLost),
        1 => Just(Fault::CutShort),
        1 => Just(Fault::Late),
    ]
}

fn pod() -> impl Strategy<Value = Action> {
    let some = proptest::option::weighted;
    (
        0..4u8,
        some(0.9, 0..3u8),
        wishes(),
        some(0.2, 0..2u8),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(name, node, identity, federates, again)| Action::Pod {
            name,
            node,
            identity,
            federates,
            again,
        })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => pod(),
        2 => (0..4u8, wishes(), proptest::option::weighted(0.2, 0..2u8))
            .prop_map(|(name, identity, federates)| Action::RefusedPod { name, identity, federates }),
        4 => (0..4u8).prop_map(Action::DeletePod),
        2 => (0..3u8).prop_map(Action::Node),
        1 => (0..3u8).prop_map(Action::DeleteNode),
        12 => (1..5u8).prop_map(Action::See),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(pods, cut)| Action::Relist { pods, cut }),
        16 => (any::<u8>(), fault()).prop_map(|(which, fault)| Action::Answer(which, fault)),
        1 => any::<u8>().prop_map(Action::Vandal),
        1 => any::<u8>().prop_map(Action::Forger),
        1 => any::<u8>().prop_map(Action::Copyist),
        1 => (0..2u8, any::<bool>()).prop_map(|(n, there)| Action::Bundle(n, there)),
        1 => Just(Action::Restart),
        1 => any::<bool>().prop_map(Action::Lead),
        6 => (0..40u8).prop_map(Action::Wait),
    ]
}

fn play(policy: &Policy, history: &[Action], defect: Option<Defect>) -> (Seen, Result<(), String>) {
    World::new(policy.clone(), defect).play(history)
}

fn histories(
    policy: &Policy,
    defect: Option<Defect>,
    cases: u32,
    fresh: bool,
) -> (Seen, Result<(), String>) {
    // Those that are searched are long; those that are always the same are many and short.
    let length = if fresh && defect.is_none() {
        1..500
    } else {
        1..120
    };
    search(action(), length, cases, fresh, |history| {
        play(policy, history, defect)
    })
}

#[test]
fn whatever_happens_the_entries_are_right_in_the_end() {
    // By default always the same histories: a bounded check that nothing fell back, and never red by chance. HISTORIES=n
    // searches n fresh ones.
    let asked: Option<u32> = env::var("HISTORIES").ok().and_then(|n| n.parse().ok());
    let cases = asked.unwrap_or(300);
    for (name, policy) in policies() {
        let (seen, result) = histories(&policy, None, cases, asked.is_some());
        println!(
            "{name}: {cases} histories, in which occurred: {:#?}",
            seen.0
        );
        result.unwrap_or_else(|why| panic!("{name}: {why}"));
        let of_breaker = ["breaker trip", "breaker confirmed"];
        let of_breaker = of_breaker.into_iter().filter(|_| name == CAUTIOUS);
        let needed = [
            "hold",
            "restart",
            "lead taken",
            "Refused",
            "RequestLost",
            "ReplyLost",
            "CutShort",
            "Late",
            "meddling",
            "list cut short",
        ];
        for needed in needed.into_iter().chain(of_breaker) {
            assert!(
                seen.0.contains_key(needed),
                "{needed} never occurred: {seen:?}"
            );
        }
    }
}

/// The same in little, without the search for the smallest of those that end wrong: quick enough for every change of the code.
#[test]
fn a_few_of_many_histories_end_right() {
    for (name, policy) in policies() {
        let result = few(action(), 60..120, FEW, |history| {
            play(&policy, history, None)
        });
        result.unwrap_or_else(|why| panic!("{name}, {why}"));
    }
}

const FEW: usize = 6;

/// Each property can fail: with a deliberate defect, some history shows just that property broken.
#[test]
fn every_property_catches_its_deliberate_defect() {
    let reviewed = || {
        let (_, policy) = policies()
            .into_iter()
            .find(|(name, _)| *name == "webhook")
            .expect("one of them");
        policy
    };
    let defects = [
        (
            Property::WritesOnlyWhileLeading,
            Defect::LeadsAlways,
            policy(),
        ),
        (Property::OneOperationAnEntry, Defect::SendsTwice, policy()),
        (
            Property::NothingForeignIsTouched,
            Defect::TouchesForeign,
            policy(),
        ),
        (
            Property::NoUpdateWithoutAChange,
            Defect::SendsEmptyMasks,
            policy(),
        ),
        (
            Property::NoDeleteBeforeAllIsListed,
            Defect::BelievesEmptyLists,
            policy(),
        ),
        (
            Property::ALivingPodKeepsItsRightEntry,
            Defect::TrustsCutLists,
            policy(),
        ),
        (
            Property::ALivingPodKeepsItsRightEntry,
            Defect::DeletesOneMore,
            policy(),
        ),
        (
            Property::AnInvalidPodKeepsItsEntry,
            Defect::ForgetsHolds,
            policy(),
        ),
        (
            Property::AReviewIsAnsweredOnceAndTruly,
            Defect::GrantsReviewsAtOnce,
            reviewed(),
        ),
        (Property::ItComesToRest, Defect::WritesAtRest, policy()),
        (Property::RightFromScratch, Defect::LosesWakeUp, policy()),
    ];
    for (property, defect, policy) in defects {
        // A history may break several properties; this one must be among those that some history breaks.
        let caught = (0..2_000).any(|_| {
            let (_, result) = histories(&policy, Some(defect), 1, true);
            result.is_err_and(|why| why.contains(&format!("{property:?}: ")))
        });
        assert!(
            caught,
            "{property:?} does not notice {defect:?} in 2000 histories"
        );
    }
}
