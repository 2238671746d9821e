//! The Kubernetes API: watches objects into the core's events, and publishes Events on them.
//!
//! [`mod@watch`] lists and watches; [`crate::objects`] is the pure half, from JSON to snapshots, keeping only what the rules read.

pub mod access;
pub mod ca_bundle;
pub mod client;
mod connection;
pub mod control;
pub mod definition;
pub mod events;
pub mod lease;
mod newest;
pub mod read;
pub mod resources;
pub mod reviews;
pub mod watch;

pub use access::{bars_from_pods, look_up};
pub use ca_bundle::{Published, ServiceName, publish_ca_bundle};
pub use client::{ClientError, KubeSettings, connect, connect_for_lease};
pub use control::{CONTROL_CONFIG_MAP, Control, watch_control};
pub use events::{EventNote, EventPublisher, Regarding};
pub use kube::Client;
pub use lease::LeaseLock;
pub use resources::{KubeApi, SpiffeIds};
pub use reviews::{is_named, own_user};
pub use watch::{Watched, watch, watch_remedy};
