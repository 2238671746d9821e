//! crd mode, driven through generated histories: whatever happened, when the faults end every SpiffeID and every entry is right,
//! the operator's entry was not touched, and at rest nothing is written to either server.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{cell::RefCell, env, time::Duration};

use CrdAction::*;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use registrar_core::{
    policy::{IdentitySource, MaxDeletes, Policy},
    testing::{CrdAction, CrdDefect, CrdProperty, CrdWorld, Fault, Identity, Seen},
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
    let mut world = CrdWorld::new(policy.clone(), defect);
    for action in history {
        world.act(*action);
    }
    let settled = world.settle();
    let mut violations = world.differences();
    violations.extend(settled.err());
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let result = match lines.is_empty() {
        true => Ok(()),
        false => Err(lines.join("\n")),
    };
    (world.seen, result)
}

/// Plays generated histories until one fails; the failing one, made small, is in the message and replays as printed.
fn histories(
    policy: &Policy,
    defect: Option<CrdDefect>,
    cases: u32,
    fresh: bool,
) -> (Seen, Result<(), String>) {
    let seen = RefCell::new(Seen::default());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = match fresh {
        true => TestRunner::new(config),
        false => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let longest = if fresh { 250 } else { 100 };
    let result = runner.run(&prop::collection::vec(action(), 1..longest), |history| {
        let (occurred, result) = play(policy, &history, defect);
        seen.borrow_mut().add(&occurred);
        result.map_err(TestCaseError::fail)
    });
    let result = result.map_err(|error| match error {
        TestError::Fail(why, history) => format!("{why}\nhistory: {history:?}"),
        TestError::Abort(why) => why.to_string(),
    });
    (seen.into_inner(), result)
}

#[test]
fn whatever_happens_spiffe_ids_and_entries_are_right_in_the_end() {
    // By default always the same histories: a bounded check that nothing fell back, and never red by chance. HISTORIES=n
    // searches n fresh ones.
    let asked: Option<u32> = env::var("HISTORIES").ok().and_then(|n| n.parse().ok());
    let cases = asked.unwrap_or(150);
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

// Histories that once ended wrong, as they were found and shrunk.

fn pod(name: u8, identity: Identity) -> CrdAction {
    Pod {
        name,
        identity,
        again: false,
    }
}

fn replay(history: &[CrdAction]) {
    if let (_, Err(why)) = play(&policy(), history, None) {
        panic!("{why}");
    }
}

/// A finalizer is asked for once more while its object went with the definition, and the definition is back.
#[test]
fn a_finalizer_of_a_former_definition_may_be_asked_for_in_vain() {
    replay(&[
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        pod(0, Identity::None),
        Answer(0, Fault::None),
        pod(0, Identity::None),
        Answer(0, Fault::None),
        pod(0, Identity::Legal(0)),
        Vandal(0),
        See(3),
        Answer(0, Fault::ReplyLost),
        Vandal(0),
        See(1),
        Answer(0, Fault::None),
        Vandal(12),
        Answer(0, Fault::None),
        Wait(3),
        Relist,
        pod(0, Identity::None),
        pod(0, Identity::None),
        Definition(false),
        pod(0, Identity::None),
        See(2),
        Hand(0, 0),
        Answer(0, Fault::None),
        See(3),
        Vandal(110),
        pod(0, Identity::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        pod(0, Identity::None),
        Relist,
        pod(0, Identity::None),
        Definition(true),
        Answer(0, Fault::None),
        Wait(7),
    ]);
}

/// The entry of a pod, which a forged status names, goes with that pod.
#[test]
fn a_forged_status_is_in_nobodys_way_once_the_entry_that_it_names_is_gone() {
    replay(&[
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        pod(1, Identity::Legal(0)),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        See(1),
        Answer(0, Fault::None),
        pod(0, Identity::Legal(0)),
        See(2),
        pod(0, Identity::None),
        pod(1, Identity::None),
        Answer(91, Fault::Refused),
        Answer(0, Fault::ReplyLost),
        Hand(0, 0),
        Forge(0, 49),
    ]);
}

/// Its SpiffeID asks for another since, and is stuck; one that asks for what it had must not wait for it.
#[test]
fn an_entry_kept_for_a_forged_status_goes_to_one_that_asks_for_it() {
    replay(&[
        Hand(0, 0),
        Hand(1, 0),
        Node(true),
        Answer(0, Fault::None),
        pod(0, Identity::None),
        Hand(1, 1),
        pod(0, Identity::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Delete(5),
        Answer(0, Fault::None),
        See(4),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        See(1),
        pod(0, Identity::None),
        pod(0, Identity::None),
        Hand(0, 1),
        See(1),
        Forge(0, 0),
        See(1),
        Forge(0, 0),
        See(1),
        Hand(1, 0),
    ]);
}

/// One that has an entry already changes to what an invalid one keeps.
#[test]
fn an_entry_kept_by_an_invalid_spiffe_id_is_not_made_twice_by_a_change() {
    replay(&[
        Hand(0, 0),
        Hand(2, 1),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        See(2),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        Answer(0, Fault::None),
        pod(0, Identity::None),
        pod(0, Identity::None),
        Relist,
        Hand(0, 2),
        Answer(223, Fault::None),
        Kill(false),
        See(1),
        Answer(190, Fault::None),
        Hand(1, 0),
        pod(0, Identity::None),
        Hand(2, 3),
        Hand(1, 1),
        Answer(20, Fault::None),
        See(2),
        Answer(91, Fault::None),
    ]);
}

/// The same, where one became invalid and the other changed in the same moment.
#[test]
fn an_entry_kept_by_an_invalid_spiffe_id_is_inherited_when_both_change_at_once() {
    replay(&[
        Hand(0, 1),
        Answer(8, Fault::None),
        pod(2, Identity::None),
        pod(0, Identity::Legal(0)),
        Answer(203, Fault::None),
        Hand(1, 0),
        Answer(43, Fault::None),
        Answer(0, Fault::None),
        See(3),
        See(1),
        Vandal(0),
        Answer(19, Fault::None),
        pod(0, Identity::None),
        Answer(10, Fault::None),
        See(1),
        Hand(1, 3),
        Answer(0, Fault::None),
        Hand(0, 0),
        See(2),
    ]);
}

/// A forged status names the operator's entry, which the operator deletes later.
#[test]
fn a_forged_status_is_in_nobodys_way_once_the_operators_entry_is_gone() {
    let mut history = vec![Hand(0, 0), Forge(0, 0), See(4)];
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
    history.push(Operator(false));
    replay(&history);
}

/// The node's SpiffeID loses its owner so that it may outlive the node; the last pod goes before the watch shows that.
#[test]
fn a_nodes_spiffe_id_goes_with_the_last_pod_whatever_the_watch_has_yet_to_show() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([Answer(0, Fault::None), See(9)].repeat(12));
    history.extend([Node(false), See(1), Answer(0, Fault::None)]);
    history.extend([DeletePod(0), See(1), See(9)]);
    replay(&history);
}

/// The same, where the process that took the owner away is another one than that which sees the last pod gone.
#[test]
fn a_nodes_spiffe_id_without_an_owner_goes_after_a_restart() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([Answer(0, Fault::None), See(9)].repeat(12));
    history.extend([Node(false), See(9), Answer(0, Fault::None)]);
    history.extend([DeletePod(0), Kill(true)]);
    replay(&history);
}

/// The garbage collector is faster than we are: the node's SpiffeID goes, and its entry stays for the one that follows.
#[test]
fn a_nodes_entry_stays_while_pods_are_on_it_whoever_deletes_its_spiffe_id() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([Answer(0, Fault::None), See(9)].repeat(12));
    history.extend([Node(false), Collect, See(9)]);
    history.extend([Answer(0, Fault::None), See(9)].repeat(4));
    replay(&history);
    // The pod goes before there is another SpiffeID.
    history.push(DeletePod(0));
    replay(&history);
    history.extend([See(9), Kill(false)]);
    replay(&history);
}

/// The pod gets no entry any more while its SpiffeID's status is written, and the watch shows that before the answer comes.
#[test]
fn what_a_pod_gives_up_goes_although_its_spiffe_id_still_has_it() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([Answer(0, Fault::None), See(9)].repeat(12));
    // Another object's write stays under way, so that nothing is judged yet.
    history.extend([pod(0, Identity::Legal(1)), See(9)]);
    history.extend([Answer(0, Fault::None), See(9)].repeat(2));
    history.extend([Hand(0, 0), See(9), Perform(0), See(9)]);
    history.extend([pod(0, Identity::None), See(9)]);
    history.extend([Answer(0, Fault::None)].repeat(3));
    replay(&history);
}

/// Definition, SpiffeIDs and node go while the process is away: nothing tells of the node any more but the pod on it.
#[test]
fn a_nodes_entry_stays_for_the_pods_on_it_also_when_all_else_went_unseen() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([Answer(0, Fault::None), See(9)].repeat(12));
    history.extend([Definition(false), Node(false), Kill(true), Kill(false)]);
    replay(&history);
    history.push(DeletePod(0));
    replay(&history);
    history.insert(history.len() - 1, Wait(30));
    history.extend([See(9), Kill(false)]);
    replay(&history);
}

/// One asks for something else, which the server refuses; another asks for what that one has. It is there, and nobody is served
/// less for it.
#[test]
fn an_entry_goes_to_one_that_asks_for_it_from_one_whose_change_is_refused() {
    let mut history = vec![Hand(0, 0), See(4)];
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
    history.extend([Refuse(true), Hand(0, 1), See(4)]);
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
    history.extend([Hand(1, 0), See(4)]);
    replay(&history);
}

/// What the server refuses is told, and what was there before stays.
#[test]
fn a_spiffe_id_whose_change_is_refused_keeps_what_it_had() {
    let mut history = vec![Hand(0, 0), See(4)];
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
    history.extend([Refuse(true), Hand(0, 1), See(4)]);
    let mut world = CrdWorld::new(policy(), None);
    history.iter().for_each(|action| world.act(*action));
    let before = world.entries();
    world.settle().expect("it rests");
    assert_eq!(world.entries(), before);
    assert!(world.differences().is_empty(), "{:?}", world.differences());
    world.act(Refuse(false));
    world.settle().expect("it rests");
    assert_ne!(world.entries(), before, "it is tried again");
    assert!(world.differences().is_empty(), "{:?}", world.differences());
}

/// The SpiffeID of a pod that was made again goes when the pod asks for none any more: it is not the former pod's, which the
/// garbage collector takes away.
#[test]
fn a_spiffe_id_of_a_pod_made_again_goes_with_the_pods_wish_for_it() {
    let again = |name, identity| Pod {
        name,
        identity,
        again: true,
    };
    let ok = |n| Answer(n, Fault::None);
    let refused = |n| Answer(n, Fault::Refused);
    replay(&[
        pod(2, Identity::Legal(0)),
        Kill(false),
        pod(0, Identity::None),
        Node(true),
        again(0, Identity::Legal(0)),
        See(4),
        pod(1, Identity::Legal(0)),
        refused(183),
        pod(2, Identity::None),
        ok(44),
        Hand(0, 0),
        pod(0, Identity::Legal(1)),
        ok(0),
        ok(0),
        Relist,
        See(1),
        ok(0),
        ok(187),
        ok(0),
        Node(false),
        ok(89),
        refused(12),
        See(1),
        ok(178),
        See(4),
        ok(112),
        ok(32),
        Relist,
        refused(8),
        pod(0, Identity::None),
        refused(102),
        refused(46),
        ok(175),
        refused(77),
    ]);
}

/// Node and SpiffeID went while the definition was away: the node's entry stays for the pod on it, and goes with that pod.
#[test]
fn a_nodes_entry_for_which_nobody_asks_goes_with_the_last_pod() {
    let ok = |n| Answer(n, Fault::None);
    let mut history = vec![
        Hand(1, 0),
        Hand(0, 0),
        Node(true),
        See(1),
        ok(0),
        See(1),
        ok(29),
        ok(5),
        ok(0),
        Perform(0),
        Perform(0),
        Definition(false),
        See(3),
        DeletePod(0),
        Node(false),
        Pod {
            name: 0,
            identity: Identity::None,
            again: false,
        },
        Hand(0, 0),
        pod(0, Identity::None),
    ];
    replay(&history);
    history.push(DeletePod(0));
    replay(&history);
}

/// One inherits an entry, and asks for something else while its status is forged: nothing is done about it, until it goes.
#[test]
fn what_one_with_a_forged_status_inherited_goes_with_it() {
    let ok = |n| Answer(n, Fault::None);
    let none = || pod(0, Identity::None);
    let mut history = vec![
        pod(0, Identity::Legal(0)),
        Hand(1, 0),
        ok(2),
        See(1),
        ok(7),
        Hand(2, 0),
        ok(0),
        DeletePod(1),
        ok(91),
        Perform(0),
        Vandal(0),
        See(2),
        ok(0),
        Perform(175),
        Perform(20),
        ok(16),
        Delete(19),
        none(),
        Pod {
            name: 0,
            identity: Identity::None,
            again: true,
        },
        DeletePod(1),
        Wait(0),
        Perform(0),
        Vandal(0),
        See(3),
        none(),
        See(2),
        Hand(0, 0),
        ok(87),
        none(),
        Forge(3, 0),
        See(1),
        Delete(89),
        Kill(true),
        none(),
        ok(2),
        Hand(0, 1),
    ];
    replay(&history);
    history.push(Delete(0));
    let mut world = CrdWorld::new(policy(), None);
    history.iter().for_each(|action| world.act(*action));
    world.settle().expect("it rests");
    assert!(world.differences().is_empty(), "{:?}", world.differences());
    let ids: Vec<String> = world.entries().iter().map(|e| e.id.to_string()).collect();
    assert_eq!(ids, ["operator"]);
}

/// One changes what it asks for to what another has that goes, and is invalid before the server has only one such entry.
#[test]
fn an_invalid_spiffe_id_keeps_one_entry_and_not_one_more_that_became_the_same() {
    let ok = |n| Answer(n, Fault::None);
    let none = || pod(0, Identity::None);
    replay(&[
        Delete(0),
        ok(14),
        ok(0),
        pod(1, Identity::Legal(0)),
        none(),
        Hand(0, 1),
        ok(0),
        Hand(2, 0),
        See(1),
        pod(0, Identity::Legal(0)),
        ok(116),
        Relist,
        See(2),
        Kill(true),
        ok(54),
        Operator(false),
        ok(35),
        ok(0),
        Hand(2, 1),
        Delete(144),
        See(2),
        ok(19),
        Hand(2, 3),
        ok(10),
        none(),
        none(),
        ok(228),
        ok(0),
        ok(190),
    ]);
}

/// Lets what happens be seen and answered.
fn calmly(history: &mut Vec<CrdAction>) {
    history.push(See(4));
    history.extend([Answer(0, Fault::None), See(4)].repeat(12));
}

/// While the process is away, one takes over what another asked for, and that one asks for something else. Its status names
/// what it had, by our own hand.
#[test]
fn a_status_that_we_wrote_for_a_former_spec_is_not_held_against_a_spiffe_id() {
    let mut history = vec![Hand(0, 0)];
    calmly(&mut history);
    history.push(Hand(1, 1));
    calmly(&mut history);
    history.extend([Hand(0, 1), Hand(1, 2), Kill(false)]);
    replay(&history);
}

/// What an invalid one keeps goes to one that may have it; later the invalid one asks for something else.
#[test]
fn an_invalid_spiffe_id_does_not_go_on_naming_what_another_has_by_now() {
    let mut history = vec![Hand(0, 0), Hand(1, 1)];
    calmly(&mut history);
    history.push(Hand(1, 3));
    calmly(&mut history);
    history.push(Hand(0, 1));
    calmly(&mut history);
    history.push(Hand(1, 2));
    replay(&history);
}

/// An older one gives up what a younger asks for as well: that one must not be without it for a moment.
#[test]
fn what_one_gives_up_goes_to_one_that_asks_for_it_without_a_gap() {
    let mut history = vec![Hand(0, 0), Hand(1, 0)];
    calmly(&mut history);
    let mut world = CrdWorld::new(policy(), None);
    history.iter().for_each(|action| world.act(*action));
    let before = world.entries();
    world.act(Hand(0, 2));
    world.settle().expect("it rests");
    assert_eq!(world.differences(), []);
    let after = world.entries();
    for entry in before {
        assert!(
            after.contains(&entry),
            "{entry:?} stays as it is: {after:?}"
        );
    }
}

/// The server refuses to make what one asks for, and has it: an invalid one kept it, and hands it on only now.
#[test]
fn an_entry_that_is_handed_on_to_one_whose_wish_is_refused_is_not_its_surplus() {
    let mut history = vec![Hand(2, 1), Hand(0, 0)];
    calmly(&mut history);
    history.extend([Refuse(true), Forge(1, 0), Hand(2, 3), Kill(false)]);
    history.extend([Answer(2, Fault::None), Hand(0, 1)]);
    replay(&history);
}

/// One inherited while the process was away what another asked for that goes with the definition, and asks for something else
/// since.
#[test]
fn nothing_is_surplus_while_the_definition_is_on_its_way_out() {
    let ok = |n| Answer(n, Fault::None);
    replay(&[
        pod(0, Identity::Legal(0)),
        ok(0),
        Relist,
        ok(0),
        Wait(14),
        Wait(16),
        ok(0),
        ok(0),
        Node(true),
        Hand(1, 2),
        See(3),
        Hand(0, 1),
        pod(1, Identity::Legal(0)),
        Wait(32),
        ok(0),
        Wait(38),
        See(2),
        ok(154),
        ok(40),
        Hand(1, 1),
        See(2),
        Kill(true),
        ok(54),
        ok(83),
        Hand(1, 2),
        See(1),
        pod(0, Identity::None),
        Definition(false),
        ok(155),
        See(2),
        ok(0),
    ]);
}

/// A person deletes the node's SpiffeID while no pod is on the node; one comes before that delete has left.
#[test]
fn a_nodes_entry_stays_for_a_pod_that_comes_before_its_delete_has_left() {
    let ok = |n| Answer(n, Fault::None);
    let refused = |n| Answer(n, Fault::Refused);
    let none = || pod(0, Identity::None);
    replay(&[
        pod(0, Identity::Legal(0)),
        ok(0),
        ok(0),
        See(1),
        Node(true),
        See(1),
        ok(0),
        ok(0),
        ok(0),
        ok(6),
        ok(0),
        pod(2, Identity::Legal(0)),
        See(2),
        See(1),
        Hand(0, 0),
        Forge(0, 0),
        ok(53),
        See(2),
        ok(87),
        Perform(50),
        Kill(false),
        Delete(19),
        none(),
        DeletePod(0),
        ok(0),
        DeletePod(0),
        ok(0),
        ok(48),
        refused(0),
        refused(0),
        See(3),
        Wait(3),
        ok(73),
        DeletePod(2),
        ok(7),
        refused(137),
        See(1),
        ok(0),
        Wait(3),
        none(),
        Perform(0),
        Node(false),
        Wait(0),
    ]);
}

/// A SpiffeID goes with its definition, and its entry stays; the one of its name that comes after it is invalid, or asks for
/// what the server refuses.
#[test]
fn an_entry_of_a_former_spiffe_id_does_not_stay_for_one_that_cannot_have_what_it_asks_for() {
    for (refused, wish) in [(false, 3), (true, 1)] {
        for restarted in [false, true] {
            let mut history = vec![Hand(0, 0)];
            calmly(&mut history);
            // A process that has just begun has not yet looked whose the entry is.
            history.extend(restarted.then_some(Kill(false)));
            history.push(Definition(false));
            calmly(&mut history);
            history.extend([Refuse(refused), Definition(true), Hand(0, wish)]);
            let (_, result) = play(&policy(), &history, None);
            result.unwrap_or_else(|why| panic!("{refused} {restarted}: {why}"));
        }
    }
}

/// One asks for what another has that is about to go, while that one's delete waits for a slot: asking again and again without a
/// pause kept the slot for ever.
#[test]
fn one_that_asks_for_what_another_is_to_give_up_lets_that_one_come_first() {
    let ok = |n| Answer(n, Fault::None);
    let refused = |n| Answer(n, Fault::Refused);
    let history = [
        pod(0, Identity::Legal(0)),
        ok(97),
        ok(0),
        ok(0),
        ok(0),
        See(1),
        Vandal(0),
        ok(0),
        Hand(1, 3),
        refused(0),
        Hand(0, 0),
        pod(1, Identity::Legal(0)),
        See(3),
        Wait(3),
        ok(0),
        ok(140),
        See(1),
        ok(69),
        refused(56),
        See(1),
        See(1),
        Collect,
        Hand(2, 0),
        DeletePod(1),
        Delete(103),
        Kill(true),
        Delete(54),
        Delete(215),
        Kill(false),
        Delete(89),
        ok(80),
        ok(120),
        ok(1),
        refused(0),
        Node(true),
        See(1),
        Hand(0, 2),
        pod(0, Identity::None),
        See(1),
        See(2),
        Wait(3),
        ok(0),
        Perform(76),
        ok(5),
        ok(4),
        ok(91),
        ok(0),
        Pod {
            name: 0,
            identity: Identity::Legal(0),
            again: true,
        },
        Hand(1, 4),
        Answer(0, Fault::ReplyLost),
        pod(1, Identity::Legal(0)),
        See(4),
        ok(35),
        See(2),
        ok(47),
        Hand(0, 3),
        Perform(0),
        See(4),
        ok(0),
        pod(0, Identity::None),
        ok(113),
        ok(3),
        ok(16),
        Hand(1, 2),
        Delete(5),
        ok(0),
        refused(0),
    ];
    let (_, result) = play(&cautious(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}
