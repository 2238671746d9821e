//! What tests of this crate, and of others, need: strategies, a model of the SPIRE Server, and a world that drives the step
//! machine through histories of events, faults and meddling.

mod crd_world;
mod objects;
mod search;
pub mod strategies;
mod world;

pub use crate::model::{ModelApi, ModelServer, Row};
pub use crd_world::{CrdAction, CrdDefect, CrdProperty, CrdViolation, CrdWorld};
pub use objects::bound_pod;
pub use search::search;
pub use world::{Action, Defect, Fault, Identity, Property, Seen, Violation, World};

/// How many operations there were on this thread so far on the maps and sets that grow with the cluster: look-ups, insertions,
/// removals, and each step of a walk.
pub fn index_operations() -> u64 {
    crate::index::operations()
}
