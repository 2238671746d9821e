//! What tests of this crate, and of others, need: strategies, a model of the SPIRE Server, and a world that drives the step
//! machine through histories of events, faults and meddling.

mod crd_world;
mod objects;
mod policies;
mod search;
pub mod strategies;
mod world;

pub use crate::model::{ModelApi, ModelServer, Row};
pub use crd_world::{CrdAction, CrdDefect, CrdProperty, CrdViolation, CrdWorld};
pub use objects::bound_pod;
pub use policies::lively;
pub use search::{few, search};
pub use world::{Action, Defect, Fault, Identity, Property, Seen, Violation, World};

use crate::{policy::Policy, sync::Reconciler};

/// The machine of the `n`-th process of a history: some look at all at once, some at as little as they can in a step.
fn process(policy: &Policy, n: u64) -> Reconciler {
    let machine = Reconciler::new(policy.clone(), n);
    match n % 3 {
        1 => machine,
        2 => machine.in_slices(1),
        _ => machine.in_slices(3),
    }
}

/// How many operations there were on this thread so far on the maps and sets that grow with the cluster: look-ups, insertions,
/// removals, and each step of a walk.
pub fn index_operations() -> u64 {
    crate::index::operations()
}
