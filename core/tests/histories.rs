//! The step machine, driven through generated histories: whatever happened, when the faults end the entries are right,
//! nothing foreign was touched, and at rest nothing is written.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{env, time::Duration};

use proptest::prelude::*;
use registrar_core::{
    policy::{IdentitySource, MaxDeletes, NodePolicy, ParentForm, PodSelector, Policy},
    testing::{
        Action, Defect, Fault, Identity, Property, Seen, World, few, search, strategies::wishes,
    },
};

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.max_deletes = MaxDeletes::Percent(100);
    policy.drift_interval = Duration::from_secs(10);
    policy
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
    let mut webhook = Policy::webhook("example.org", "demo").expect("legal names");
    webhook.pods.identity = IdentitySource::Annotation("id".into());
    webhook.pods.orphan_grace = Duration::from_secs(2);
    webhook.max_deletes = MaxDeletes::Percent(100);
    webhook.drift_interval = Duration::from_secs(10);
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

/// Found by a history: an update that never arrived does not make an entry the new pod's, so it goes with the former one.
#[test]
fn an_entry_stays_the_former_pods_until_an_update_of_it_arrives() {
    use Identity::{Illegal, Legal, None as Nothing};
    let pod = |name, node, identity, federates, again| Action::Pod {
        name,
        node,
        identity,
        federates,
        again,
    };
    let answer = Action::Answer(0, Fault::None);
    let history = [
        answer,
        pod(2, Some(0), Legal(0), Some(0), false),
        answer,
        pod(0, None, Nothing, None, false),
        Action::See(1),
        answer,
        answer,
        Action::Wait(20),
        pod(2, Some(0), Legal(1), None, true),
        Action::See(3),
        pod(2, None, Illegal, None, false),
        Action::Lead(false),
        Action::Answer(12, Fault::None),
        Action::Answer(0, Fault::Refused),
    ];
    let (_, result) = play(&policy(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}

/// Found by a history: a list shows that an update of which no answer came arrived, for the new pod; what someone makes of the
/// entry before it is read once more does not change whose it is.
#[test]
fn an_entry_is_the_new_pods_as_soon_as_a_list_shows_that_its_update_arrived() {
    use Identity::{Illegal, Legal, None as Nothing};
    let pod = |name, node, identity, federates| Action::Pod {
        name,
        node,
        identity,
        federates,
        again: false,
    };
    let answer = Action::Answer(0, Fault::None);
    let history = [
        Action::DeleteNode(0),
        Action::Wait(33),
        Action::DeleteNode(0),
        Action::Node(0),
        pod(0, None, Nothing, None),
        pod(1, None, Nothing, None),
        Action::Wait(14),
        Action::Node(1),
        Action::See(1),
        Action::Wait(17),
        pod(3, Some(0), Legal(0), None),
        Action::See(1),
        pod(0, Some(0), Legal(0), None),
        Action::See(1),
        answer,
        answer,
        Action::See(3),
        Action::DeletePod(3),
        pod(0, None, Illegal, None),
        pod(3, Some(0), Legal(0), Some(0)),
        answer,
        pod(1, Some(0), Legal(0), None),
        Action::Wait(14),
        answer,
        Action::Wait(22),
        Action::See(1),
        Action::See(3),
        Action::Answer(81, Fault::Refused),
        answer,
        Action::Lead(false),
        Action::Answer(20, Fault::None),
        Action::Copyist(62),
        Action::Lead(false),
        Action::Answer(130, Fault::ReplyLost),
        answer,
        pod(0, None, Nothing, None),
        Action::Forger(5),
        pod(3, None, Illegal, None),
    ];
    let (_, result) = play(&policy(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}

/// Found by a history: what was made for a pod, when that was gone and another had its name, is the former one's.
#[test]
fn an_entry_that_was_made_when_its_pod_was_gone_unseen_goes_although_the_next_one_is_held() {
    let pod = |name, node| Action::Pod {
        name,
        node,
        identity: Identity::Legal(0),
        federates: None,
        again: false,
    };
    let answer = Action::Answer(0, Fault::None);
    let cut = Action::Relist {
        pods: true,
        cut: true,
    };
    let history = [
        pod(3, Some(1)),
        Action::Node(1),
        pod(1, None),
        Action::Restart,
        answer,
        answer,
        Action::DeletePod(3),
        pod(3, Some(0)),
        answer,
        cut,
    ];
    let mut policies = policies().into_iter();
    let (_, policy) = policies
        .find(|(name, _)| *name == "parent agent")
        .expect("there");
    let (_, result) = play(&policy, &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}

/// One step may find a review overdue and its pod not expected any more: when calls fail, nothing else may wake us between.
#[test]
fn a_review_that_ran_out_of_time_is_not_granted_because_its_pod_is_not_expected_any_more() {
    let (_, policy) = policies().swap_remove(0);
    let reviewed = Action::RefusedPod {
        name: 0,
        identity: Identity::Legal(0),
        federates: None,
    };
    let answered = Action::Answer(0, Fault::None);
    let history = [
        reviewed,
        answered,
        answered,
        answered,
        answered,
        Action::Answer(0, Fault::Refused),
        Action::Wait(90),
    ];
    let (_, result) = play(&policy, &history, None);
    assert_eq!(result, Ok(()));
}

/// Found by a history: an update of a former pod's entry is not answered, and before it is read someone changes the entry. It may
/// be the former pod's still, and goes.
#[test]
fn an_entry_that_is_changed_before_its_update_is_known_may_go_with_the_former_pod() {
    use Identity::{Illegal, Legal, None as Nothing};
    let pod = |name, identity, federates| Action::Pod {
        name,
        node: None,
        identity,
        federates,
        again: false,
    };
    let answer = |which| Action::Answer(which, Fault::None);
    let history = [
        answer(0),
        answer(0),
        answer(0),
        Action::DeletePod(0),
        pod(0, Legal(1), None),
        Action::DeletePod(0),
        Action::Lead(true),
        answer(0),
        pod(1, Legal(0), Some(0)),
        pod(0, Nothing, None),
        Action::See(4),
        pod(0, Legal(0), None),
        Action::Vandal(0),
        Action::Wait(20),
        Action::See(1),
        answer(9),
        Action::Answer(65, Fault::ReplyLost),
        Action::Forger(0),
        pod(0, Illegal, None),
        Action::RefusedPod {
            name: 0,
            identity: Nothing,
            federates: None,
        },
        Action::Lead(false),
        pod(1, Nothing, None),
    ];
    let (_, policy) = policies().remove(0);
    let (_, result) = play(&policy, &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}

/// Found by a history: a delete that was staged for a pod with a review under way left after the lead was lost.
#[test]
fn nothing_is_deleted_once_the_lead_is_lost() {
    use Identity::{Illegal, Legal, None as Nothing};
    let with = |name, identity, again| Action::Pod {
        name,
        node: None,
        identity,
        federates: None,
        again,
    };
    let pod = |name, identity| with(name, identity, false);
    let answer = |which| Action::Answer(which, Fault::None);
    let refused = |name, identity| Action::RefusedPod {
        name,
        identity,
        federates: None,
    };
    let history = [
        answer(0),
        answer(0),
        pod(0, Illegal),
        pod(0, Legal(0)),
        Action::Lead(true),
        answer(0),
        Action::DeletePod(1),
        Action::Wait(0),
        answer(0),
        refused(0, Nothing),
        pod(2, Illegal),
        pod(0, Legal(0)),
        pod(2, Nothing),
        pod(0, Legal(0)),
        Action::DeleteNode(0),
        pod(3, Legal(0)),
        Action::Lead(true),
        Action::See(2),
        answer(0),
        pod(1, Legal(0)),
        Action::Vandal(50),
        Action::DeleteNode(0),
        Action::DeleteNode(0),
        Action::Forger(0),
        Action::DeleteNode(0),
        Action::DeletePod(3),
        pod(0, Nothing),
        Action::Restart,
        pod(0, Nothing),
        answer(127),
        pod(3, Legal(0)),
        Action::See(2),
        answer(0),
        with(0, Nothing, true),
        answer(0),
        Action::See(1),
        refused(0, Legal(0)),
        Action::DeletePod(3),
        Action::See(2),
        Action::Wait(20),
        Action::Answer(54, Fault::ReplyLost),
        answer(0),
        answer(0),
        answer(0),
        Action::Lead(false),
        answer(0),
    ];
    let (_, policy) = policies().remove(0);
    let (_, result) = play(&policy, &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}
