//! Histories that ended wrong once.

use registrar_core::testing::{Action, Fault, Identity};

use crate::{play, policies, policy};

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

/// Found by a history: what stands under an ID that we made for a pod is that pod's, even if the server has taken a trust domain
/// from it since, whose bundle is gone.
#[test]
fn an_entry_whose_create_was_never_answered_stays_its_invalid_pods_without_a_trust_domain_that_is_gone()
 {
    use Identity::{Illegal, Legal};
    let pod = |node, identity, federates| Action::Pod {
        name: 1,
        node,
        identity,
        federates,
        again: false,
    };
    let history = [
        Action::Bundle(0, true),
        Action::Answer(0, Fault::None),
        Action::Answer(0, Fault::None),
        pod(Some(0), Legal(0), None),
        Action::DeletePod(1),
        Action::See(3),
        pod(Some(0), Legal(0), Some(0)),
        Action::See(1),
        Action::Answer(43, Fault::None),
        Action::Answer(0, Fault::ReplyLost),
        pod(None, Illegal, None),
        Action::Bundle(0, false),
    ];
    let (_, result) = play(&policy(), &history, None);
    result.unwrap_or_else(|why| panic!("{why}"));
}
