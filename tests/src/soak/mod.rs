//! The soak: pods come and go while everything beneath two registrars fails at random; afterwards exactly the right
//! entries must be there, and what is not ours must be as it was.

pub mod churn;
pub mod faults;
pub mod kind;
pub mod mode;
pub mod observer;
pub mod others;
pub mod outage;
pub mod replica;
pub mod reviews;
pub mod right;
pub mod run;
pub mod summary;
pub mod told;

/// The name of the cluster.
pub const CLUSTER: &str = "soak";
/// The namespace of the pods, and of the Lease.
pub const NAMESPACE: &str = "soak";
/// The annotation that says which path a pod gets.
pub const ANNOTATION: &str = "example.org/id";
/// Nodes.
pub const NODES: usize = 4;
