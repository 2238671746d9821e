//! What tenants write into statuses, and what we wrote there ourselves: whose entry one names.

use registrar_core::testing::{CrdAction::*, CrdWorld, Fault, Identity};

use crate::{again, calmly, cautious, ok, play, pod, policy, replay};

/// The entry of a pod, which a forged status names, goes with that pod.
#[test]
fn a_forged_status_is_in_nobodys_way_once_the_entry_that_it_names_is_gone() {
    replay(&[
        ok(0),
        ok(0),
        ok(0),
        pod(1, Identity::Legal(0)),
        ok(0),
        ok(0),
        See(1),
        ok(0),
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
        ok(0),
        pod(0, Identity::None),
        Hand(1, 1),
        pod(0, Identity::None),
        ok(0),
        ok(0),
        Delete(5),
        ok(0),
        See(4),
        ok(0),
        ok(0),
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

/// A forged status names the operator's entry, which the operator deletes later.
#[test]
fn a_forged_status_is_in_nobodys_way_once_the_operators_entry_is_gone() {
    let mut history = vec![Hand(0, 0), Forge(0, 0), See(4)];
    history.extend([ok(0), See(4)].repeat(12));
    history.push(Operator(false));
    replay(&history);
}

/// One inherits an entry, and asks for something else while its status is forged: nothing is done about it, until it goes.
#[test]
fn what_one_with_a_forged_status_inherited_goes_with_it() {
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

/// One inherited what was made for another, which asks for something else since and lives; its own wish it cannot have, for its
/// status is forged.
#[test]
fn what_was_made_for_one_that_lives_is_no_former_ones() {
    let history = [
        pod(0, Identity::Legal(1)),
        ok(194),
        pod(1, Identity::Legal(2)),
        ok(237),
        again(0, Identity::Legal(2)),
        ok(61),
        pod(1, Identity::Legal(2)),
        See(1),
        Hand(2, 0),
        See(2),
        ok(119),
        pod(0, Identity::Legal(0)),
        Hand(1, 4),
        See(4),
        Perform(252),
        ok(140),
        again(2, Identity::Reserved),
        ok(185),
        ok(67),
        again(0, Identity::Legal(0)),
        again(0, Identity::Legal(0)),
        pod(0, Identity::Illegal),
        ok(59),
        Hand(1, 2),
        Hand(2, 2),
        See(4),
        See(4),
        See(3),
        Hand(1, 0),
        ok(19),
        See(3),
        Forge(238, 253),
        ok(12),
        Answer(234, Fault::ReplyLost),
        ok(241),
        ok(241),
        Wait(26),
        ok(142),
        Hand(2, 4),
        Answer(7, Fault::Refused),
        Hand(1, 2),
    ];
    let (_, result) = play(&cautious(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}
