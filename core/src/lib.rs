//! The rules by which Kubernetes pods get SPIRE registration entries, and the step machine that keeps those entries right.
//!
//! Everything here is a value: snapshots and replies go in, decisions and effects come out. There is no I/O, no clock,
//! no logging and no `async`; see the crate's `ARCHITECTURE.md` for how the adapters drive it.

pub mod admission;
pub mod cluster;
pub mod entry;
mod intern;
pub mod leader;
pub mod policy;
pub mod ports;
pub mod rules;
pub mod server_address;
pub mod spiffe;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;
