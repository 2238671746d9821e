//! The harness: a real control plane on this machine (etcd, kube-apiserver, kube-controller-manager, spire-server), the
//! registrar's own program, and helpers to drive and watch both.

pub mod agent;
pub mod api_proxy;
pub mod bench;
pub mod cluster;
pub mod control_plane;
pub mod dynamic;
pub mod entries;
pub mod fate;
pub mod foreign;
pub mod process;
pub mod proxy;
pub mod registrar;
pub mod relay;
pub mod soak;
pub mod spiffe_ids;
pub mod wait;
pub mod wall_clock;
pub mod watch_lines;
pub mod webhook;

pub use api_proxy::ApiProxy;
pub use cluster::{Cluster, PodSpec};
pub use control_plane::{ControlPlane, Options};
pub use entries::Entries;
pub use foreign::Foreign;
pub use registrar::Registrar;
pub use spiffe_ids::SpiffeIds;
pub use wait::{eventually, eventually_within, steadily};
