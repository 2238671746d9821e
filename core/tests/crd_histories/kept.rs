//! What a SpiffeID keeps that is invalid, or whose wish the server refuses, and what others may have of it.

use registrar_core::{
    entry::RegisteredEntry,
    testing::{CrdAction::*, CrdWorld, Fault, Identity},
};

use crate::{calmly, cautious, ok, play, pod, policy, replay};

/// One that has an entry already changes to what an invalid one keeps.
#[test]
fn an_entry_kept_by_an_invalid_spiffe_id_is_not_made_twice_by_a_change() {
    replay(&[
        Hand(0, 0),
        Hand(2, 1),
        ok(0),
        ok(0),
        ok(0),
        See(2),
        ok(0),
        ok(0),
        ok(0),
        ok(0),
        pod(0, Identity::None),
        pod(0, Identity::None),
        Relist,
        Hand(0, 2),
        ok(223),
        Kill(false),
        See(1),
        ok(190),
        Hand(1, 0),
        pod(0, Identity::None),
        Hand(2, 3),
        Hand(1, 1),
        ok(20),
        See(2),
        ok(91),
    ]);
}

/// The same, where one became invalid and the other changed in the same moment.
#[test]
fn an_entry_kept_by_an_invalid_spiffe_id_is_inherited_when_both_change_at_once() {
    replay(&[
        Hand(0, 1),
        ok(8),
        pod(2, Identity::None),
        pod(0, Identity::Legal(0)),
        ok(203),
        Hand(1, 0),
        ok(43),
        ok(0),
        See(3),
        See(1),
        Vandal(0),
        ok(19),
        pod(0, Identity::None),
        ok(10),
        See(1),
        Hand(1, 3),
        ok(0),
        Hand(0, 0),
        See(2),
    ]);
}

/// One asks for something else, which the server refuses; another asks for what that one has. It is there, and nobody is served
/// less for it.
#[test]
fn an_entry_goes_to_one_that_asks_for_it_from_one_whose_change_is_refused() {
    let mut history = vec![Hand(0, 0), See(4)];
    history.extend([ok(0), See(4)].repeat(12));
    history.extend([Refuse(true), Hand(0, 1), See(4)]);
    history.extend([ok(0), See(4)].repeat(12));
    history.extend([Hand(1, 0), See(4)]);
    replay(&history);
}

/// What the server refuses is told, and what was there before stays.
#[test]
fn a_spiffe_id_whose_change_is_refused_keeps_what_it_had() {
    let mut history = vec![Hand(0, 0), See(4)];
    history.extend([ok(0), See(4)].repeat(12));
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

/// One changes what it asks for to what another has that goes, and is invalid before the server has only one such entry.
#[test]
fn an_invalid_spiffe_id_keeps_one_entry_and_not_one_more_that_became_the_same() {
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
    history.extend([ok(2), Hand(0, 1)]);
    replay(&history);
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

/// What one kept while the server refused its wish is another's by now; its status, which named that, is no reason to leave it
/// without what it asks for once the server takes it.
#[test]
fn one_whose_wish_was_refused_has_it_later_although_another_has_what_it_kept() {
    let mut history = vec![Hand(1, 2)];
    calmly(&mut history);
    history.extend([Refuse(true), Hand(1, 1)]);
    calmly(&mut history);
    history.push(Hand(2, 2));
    calmly(&mut history);
    history.push(Refuse(false));
    replay(&history);
}

/// A delete that was refused leaves again by itself, without another look at what it was staged for.
#[test]
fn a_delete_that_waits_to_be_tried_again_does_not_take_what_another_asks_for_by_now() {
    let refused = |which| Answer(which, Fault::Refused);
    replay(&[
        ok(0),
        Hand(1, 3),
        ok(0),
        ok(0),
        Hand(2, 2),
        Forge(20, 0),
        ok(1),
        Relist,
        ok(1),
        ok(1),
        Relist,
        Answer(2, Fault::ReplyLost),
        Hand(2, 0),
        Delete(1),
        Kill(false),
        Kill(false),
        ok(0),
        ok(0),
        ok(0),
        ok(0),
        ok(0),
        refused(0),
        refused(0),
        Hand(0, 2),
    ]);
}

/// Two that are invalid by now had the same wish, one after the other: neither knows which of the two entries the other
/// would leave, and each keeps its own.
#[test]
fn what_two_invalid_spiffe_ids_had_of_the_same_kind_each_of_them_keeps() {
    let history = [
        Hand(0, 1),
        Kill(true),
        ok(0),
        ok(0),
        Hand(2, 2),
        ok(0),
        ok(0),
        ok(0),
        ok(0),
        See(1),
        pod(0, Identity::Legal(0)),
        ok(0),
        Hand(0, 3),
        See(3),
        ok(0),
        ok(1),
        Relist,
        Hand(2, 1),
        ok(1),
        Hand(2, 3),
        See(1),
    ];
    replay(&history);
    let mut world = CrdWorld::new(policy(), None);
    history.into_iter().for_each(|action| world.act(action));
    world.settle().expect("comes to rest");
    let path = |e: &RegisteredEntry| e.spiffe_id.path() == "/hand/b";
    assert_eq!(world.entries().iter().filter(|e| path(e)).count(), 2);
}
