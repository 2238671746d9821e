//! Nodes' entries stay for the pods on them, and no longer.

use registrar_core::testing::{CrdAction::*, Fault, Identity};

use crate::{cautious, ok, play, pod, replay};

/// The node's SpiffeID loses its owner so that it may outlive the node; the last pod goes before the watch shows that.
#[test]
fn a_nodes_spiffe_id_goes_with_the_last_pod_whatever_the_watch_has_yet_to_show() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([ok(0), See(9)].repeat(12));
    history.extend([Node(false), See(1), ok(0)]);
    history.extend([DeletePod(0), See(1), See(9)]);
    replay(&history);
}

/// The same, where the process that took the owner away is another one than that which sees the last pod gone.
#[test]
fn a_nodes_spiffe_id_without_an_owner_goes_after_a_restart() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([ok(0), See(9)].repeat(12));
    history.extend([Node(false), See(9), ok(0)]);
    history.extend([DeletePod(0), Kill(true)]);
    replay(&history);
}

/// The garbage collector is faster than we are: the node's SpiffeID goes, and its entry stays for the one that follows.
#[test]
fn a_nodes_entry_stays_while_pods_are_on_it_whoever_deletes_its_spiffe_id() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([ok(0), See(9)].repeat(12));
    history.extend([Node(false), Collect, See(9)]);
    history.extend([ok(0), See(9)].repeat(4));
    replay(&history);
    // The pod goes before there is another SpiffeID.
    history.push(DeletePod(0));
    replay(&history);
    history.extend([See(9), Kill(false)]);
    replay(&history);
}

/// Definition, SpiffeIDs and node go while the process is away: nothing tells of the node any more but the pod on it.
#[test]
fn a_nodes_entry_stays_for_the_pods_on_it_also_when_all_else_went_unseen() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([ok(0), See(9)].repeat(12));
    history.extend([Definition(false), Node(false), Kill(true), Kill(false)]);
    replay(&history);
    history.push(DeletePod(0));
    replay(&history);
    history.insert(history.len() - 1, Wait(30));
    history.extend([See(9), Kill(false)]);
    replay(&history);
}

/// Node and SpiffeID went while the definition was away: the node's entry stays for the pod on it, and goes with that pod.
#[test]
fn a_nodes_entry_for_which_nobody_asks_goes_with_the_last_pod() {
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

/// A person deletes the node's SpiffeID while no pod is on the node; one comes before that delete has left.
#[test]
fn a_nodes_entry_stays_for_a_pod_that_comes_before_its_delete_has_left() {
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

/// The node's SpiffeID was made again, on the same entry, and is deleted before its status says so: a process that begins then
/// finds an entry that was made for a former one, and that nobody asks for.
#[test]
fn a_nodes_entry_stays_for_the_pods_on_it_though_the_one_made_again_is_going() {
    replay(&[
        ok(8),
        Delete(0),
        Node(true),
        ok(0),
        ok(0),
        See(1),
        ok(104),
        ok(7),
        See(1),
        Hand(0, 0),
        Hand(2, 0),
        Answer(29, Fault::ReplyLost),
        Delete(44),
        Hand(1, 3),
        ok(0),
        Relist,
        pod(1, Identity::Legal(0)),
        ok(0),
        DeletePod(0),
        pod(0, Identity::Legal(0)),
        See(2),
        Wait(3),
        pod(1, Identity::None),
        Node(true),
        ok(2),
        ok(130),
        Pod {
            name: 1,
            identity: Identity::None,
            again: true,
        },
        Perform(14),
        ok(35),
        ok(0),
        See(2),
        Perform(73),
        ok(3),
        See(3),
        See(1),
        ok(0),
        ok(8),
        See(3),
        ok(16),
        Answer(11, Fault::Refused),
        Definition(true),
        Delete(29),
        Perform(0),
        Perform(0),
        See(1),
        See(1),
        See(1),
        Delete(0),
        Operator(false),
        pod(0, Identity::None),
        See(1),
        Kill(false),
        Delete(116),
        Pod {
            name: 0,
            identity: Identity::None,
            again: true,
        },
        pod(0, Identity::None),
    ]);
}

/// Node and SpiffeID are gone, and two entries are left of two nodes of the name: nobody can tell on which of them the pod is.
#[test]
fn two_entries_of_former_nodes_stay_for_the_pods_on_them_once_all_else_went() {
    let history = [
        ok(0),
        Node(true),
        ok(1),
        ok(0),
        See(1),
        ok(0),
        Kill(true),
        Node(false),
        Collect,
        Node(true),
        ok(0),
        pod(1, Identity::Legal(2)),
        Operator(false),
        See(1),
        Node(false),
        ok(0),
        ok(0),
        Relist,
        See(1),
        See(1),
        ok(0),
        ok(0),
        ok(1),
        ok(1),
        See(2),
        ok(2),
        Kill(false),
        ok(0),
        ok(0),
        Definition(false),
        ok(0),
        ok(1),
    ];
    let (_, result) = play(&cautious(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
    // They go with it.
    let (_, result) = play(&cautious(), &[&history[..], &[DeletePod(1)]].concat(), None);
    result.unwrap_or_else(|why| panic!("{why}"));
}
