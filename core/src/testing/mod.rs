//! What tests of this crate, and of others, need: strategies, a model of the SPIRE Server, and a world that drives the step
//! machine through histories of events, faults and meddling.

mod api;
mod crd_world;
mod server;
pub mod strategies;
mod world;

pub use api::ModelApi;
pub use crd_world::{CrdAction, CrdWorld};
pub use server::ModelServer;
pub use world::{Action, Defect, Fault, Identity, Property, Seen, Violation, World};
