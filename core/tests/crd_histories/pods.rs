//! Pods that give up their identity.

use registrar_core::testing::{CrdAction::*, Fault, Identity};

use crate::{again, ok, pod, replay};

/// The pod gets no entry any more while its SpiffeID's status is written, and the watch shows that before the answer comes.
#[test]
fn what_a_pod_gives_up_goes_although_its_spiffe_id_still_has_it() {
    let mut history = vec![Node(true), pod(0, Identity::Legal(0)), See(9)];
    history.extend([ok(0), See(9)].repeat(12));
    // Another object's write stays under way, so that nothing is judged yet.
    history.extend([pod(0, Identity::Legal(1)), See(9)]);
    history.extend([ok(0), See(9)].repeat(2));
    history.extend([Hand(0, 0), See(9), Perform(0), See(9)]);
    history.extend([pod(0, Identity::None), See(9)]);
    history.extend([ok(0)].repeat(3));
    replay(&history);
}

/// The SpiffeID of a pod that was made again goes when the pod asks for none any more: it is not the former pod's, which the
/// garbage collector takes away.
#[test]
fn a_spiffe_id_of_a_pod_made_again_goes_with_the_pods_wish_for_it() {
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
