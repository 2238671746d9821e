//! Writes to the Kubernetes API that wait for a slot: first those that someone is without an identity for want of.

use std::collections::VecDeque;

use super::queue::Room;
use crate::{
    cluster::SPIFFE_ID_FINALIZER,
    ports::{KubeCall, ResourceName},
    rules::Subject,
};

/// Writes in flight: enough to keep the API server busy, few enough not to be in its way.
pub(super) const SLOTS: usize = 16;
/// Of these, as many at most for what can wait: what comes next and cannot finds a slot free.
const PATIENT: usize = SLOTS / 2;
/// So many are for that alone: late is not never.
const RESERVED: usize = SLOTS / 8;
/// Writes staged ahead for pods and nodes; what waits longer may have changed by then.
const STAGED: usize = 2 * SLOTS;
/// Statuses staged ahead: a SpiffeID whose status waits here cannot be looked at when it changes.
const STAGED_STATUSES: usize = SLOTS;

/// A write that waits for a slot, or is under way.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) subject: Subject,
    pub(super) name: ResourceName,
    pub(super) call: KubeCall,
}

impl Write {
    /// Whether it makes a SpiffeID where there is none.
    pub(super) fn makes(&self) -> bool {
        matches!(&self.call, KubeCall::Apply(wanted) if wanted.uid.is_none())
    }

    /// Whether it can wait for others: it tells what is done, or takes away what nobody uses any more.
    pub(super) fn is_patient(&self) -> bool {
        match &self.call {
            KubeCall::WriteStatus { .. } | KubeCall::Delete(..) => true,
            KubeCall::SetFinalizers { finalizers, .. } => {
                !finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER)
            }
            KubeCall::Apply(_)
            | KubeCall::ApplyNames { .. }
            | KubeCall::TakeOver(..)
            | KubeCall::ReadDefinition => false,
        }
    }
}

/// What is staged, each kind in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Writes {
    urgent: VecDeque<Write>,
    patient: VecDeque<Write>,
}

impl Writes {
    pub(super) fn push(&mut self, write: Write) {
        match write.is_patient() {
            true => self.patient.push_back(write),
            false => self.urgent.push_back(write),
        }
    }

    /// The next one to be sent beside those in flight: `patient` of those that could have waited, `urgent` of the others.
    pub(super) fn next(&mut self, urgent: usize, patient: usize) -> Option<Write> {
        let slot = urgent + patient < SLOTS;
        let first = urgent < SLOTS - RESERVED && slot;
        let second = patient < PATIENT && slot;
        if first && let Some(write) = self.urgent.pop_front() {
            return Some(write);
        }
        if second {
            self.patient.pop_front()
        } else {
            None
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.patient.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Write> {
        self.urgent.iter().chain(&self.patient)
    }

    /// What more may be looked at.
    pub(super) fn room(&self) -> Room {
        Room {
            objects: self.urgent.len() < STAGED,
            statuses: self.patient.len() < STAGED_STATUSES,
        }
    }
}
