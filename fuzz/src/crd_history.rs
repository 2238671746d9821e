//! The same in crd mode, where SpiffeIDs stand between objects and entries.

use std::time::Duration;

use registrar_core::{
    policy::{IdentitySource, MaxDeletes, Policy},
    testing::{CrdAction, CrdWorld, Fault},
};

use crate::history::{Choices, LONGEST};

fn fault(choices: &mut Choices<'_>) -> Option<Fault> {
    // Calls to the Kubernetes API are one thing each.
    Some(match choices.fault()? {
        Fault::CutShort | Fault::Late => Fault::None,
        fault => fault,
    })
}

fn action(choices: &mut Choices<'_>) -> Option<CrdAction> {
    Some(match choices.below(84)? {
        0..8 => CrdAction::Pod {
            name: choices.below(3)?,
            identity: choices.identity()?,
            again: choices.below(5)? == 4,
        },
        8..11 => CrdAction::DeletePod(choices.below(3)?),
        11..13 => CrdAction::Node(choices.yes()?),
        13..19 => CrdAction::Hand(choices.below(3)?, choices.below(5)?),
        19..22 => CrdAction::Delete(choices.byte()?),
        22 => CrdAction::Forge(choices.byte()?, choices.byte()?),
        23..25 => CrdAction::Collect,
        25 => CrdAction::Definition(choices.yes()?),
        26 => CrdAction::Relist,
        27..29 => CrdAction::Kill(choices.yes()?),
        29 => CrdAction::Vandal(choices.byte()?),
        30 => CrdAction::Operator(choices.yes()?),
        31 => CrdAction::Refuse(choices.yes()?),
        32 => CrdAction::Lead(choices.yes()?),
        33..39 => CrdAction::Wait(choices.below(40)?),
        39..45 => CrdAction::Perform(choices.byte()?),
        45..59 => CrdAction::See(1 + choices.below(4)?),
        _ => CrdAction::Answer(choices.byte()?, fault(choices)?),
    })
}

/// The first byte chooses whether the breaker lets deletes pass, the others what happens: in the end every SpiffeID and every
/// entry is right, the operator's entry was not touched, and at rest nothing is written to either server.
pub fn crd_history(data: &[u8]) {
    let mut choices = Choices::new(data);
    let Some(cautious) = choices.yes() else {
        return;
    };
    let actions: Vec<CrdAction> = std::iter::from_fn(|| action(&mut choices))
        .take(LONGEST)
        .collect();
    let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.drift_interval = Duration::from_secs(10);
    policy.max_deletes = match cautious {
        true => MaxDeletes::Count(0),
        false => MaxDeletes::Percent(100),
    };
    if let (_, Err(why)) = CrdWorld::new(policy, None).play(&actions) {
        panic!("cautious {cautious}: {actions:?}\n{why}");
    }
}
