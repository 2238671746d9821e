//! The benchmark: what the registrar adds to what SPIRE and Kubernetes cost by themselves. Every figure stands beside the
//! raw limit, measured in the same run on the same machine, so that noise cancels.

pub mod admission;
pub mod bare;
pub mod chart;
pub mod cores;
pub mod fake;
pub mod ground;
pub mod latency;
pub mod load;
pub mod neighbour;
pub mod numbers;
pub mod plan;
pub mod probe;
pub mod publish;
pub mod report;
pub mod rows;
pub mod simulate;
pub mod standby;
pub mod store;
pub mod stress;
