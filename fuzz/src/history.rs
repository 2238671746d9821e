//! Histories of events, faults and meddling, written as bytes: the machine must be right in the end whatever they are.

use registrar_core::{
    policy::{NodePolicy, ParentForm, PodSelector, Policy},
    testing::{Action, Fault, Identity, World, lively},
};

/// Longer ones find nothing that shorter ones do not, and take their time.
pub(crate) const LONGEST: usize = 120;

/// Bytes as choices; when they are at an end there are no more.
pub(crate) struct Choices<'a>(pub(crate) std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data.iter())
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    pub(crate) fn below(&mut self, end: u8) -> Option<u8> {
        Some(self.byte()? % end)
    }

    pub(crate) fn yes(&mut self) -> Option<bool> {
        Some(self.byte()? % 2 == 1)
    }

    /// Something in nine of ten.
    fn mostly(&mut self, end: u8) -> Option<Option<u8>> {
        let byte = self.byte()?;
        Some((byte % 10 != 9).then_some(byte / 10 % end))
    }

    /// Something in one of four.
    fn seldom(&mut self, end: u8) -> Option<Option<u8>> {
        let byte = self.byte()?;
        Some((byte % 4 == 3).then_some(byte / 4 % end))
    }

    pub(crate) fn identity(&mut self) -> Option<Identity> {
        Some(match self.below(9)? {
            0 => Identity::None,
            1 => Identity::Illegal,
            2 => Identity::Reserved,
            n => Identity::Legal(n % 3),
        })
    }

    pub(crate) fn fault(&mut self) -> Option<Fault> {
        Some(match self.below(13)? {
            0 => Fault::Refused,
            1 => Fault::RequestLost,
            2 => Fault::ReplyLost,
            3 => Fault::CutShort,
            4 => Fault::Late,
            _ => Fault::None,
        })
    }
}

fn action(choices: &mut Choices<'_>) -> Option<Action> {
    Some(match choices.below(64)? {
        0..10 => Action::Pod {
            name: choices.below(4)?,
            node: choices.mostly(3)?,
            identity: choices.identity()?,
            federates: choices.seldom(2)?,
            again: choices.below(5)? == 4,
        },
        10..12 => Action::RefusedPod {
            name: choices.below(4)?,
            identity: choices.identity()?,
            federates: choices.seldom(2)?,
        },
        12..16 => Action::DeletePod(choices.below(4)?),
        16..18 => Action::Node(choices.below(3)?),
        18 => Action::DeleteNode(choices.below(3)?),
        19 => Action::Relist {
            pods: choices.yes()?,
            cut: choices.yes()?,
        },
        20 => Action::Vandal(choices.byte()?),
        21 => Action::Forger(choices.byte()?),
        22 => Action::Copyist(choices.byte()?),
        23 => Action::Bundle(choices.below(2)?, choices.yes()?),
        24 => Action::Restart,
        25 => Action::Lead(choices.yes()?),
        26..32 => Action::Wait(choices.below(40)?),
        32..44 => Action::See(1 + choices.below(4)?),
        _ => Action::Answer(choices.byte()?, choices.fault()?),
    })
}

fn policy(which: u8) -> Policy {
    let mut policy = lively(match which {
        0 | 1 => Policy::webhook("example.org", "demo").expect("legal names"),
        _ => Policy::reconcile("example.org", "demo", "registrar").expect("legal names"),
    });
    match which {
        1 | 3 => policy.pods.selectors = [PodSelector::PodUid].into(),
        4 => {
            policy.pods.parent = ParentForm::Agent;
            policy.nodes = NodePolicy::None;
        }
        _ => {}
    }
    policy
}

/// The first byte chooses among five policies, the others what happens: in the end the entries are those that the rules
/// give, nothing foreign was touched, and at rest nothing is written.
pub fn history(data: &[u8]) {
    let mut choices = Choices::new(data);
    let Some(which) = choices.below(5) else {
        return;
    };
    let actions: Vec<Action> = std::iter::from_fn(|| action(&mut choices))
        .take(LONGEST)
        .collect();
    if let (_, Err(why)) = World::new(policy(which), None).play(&actions) {
        panic!("policy {which}: {actions:?}\n{why}");
    }
}
