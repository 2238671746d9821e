//! The end of the definition takes every SpiffeID, and no entry.

use registrar_core::testing::{CrdAction::*, Fault, Identity};

use crate::{pod, replay};

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
