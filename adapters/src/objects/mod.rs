//! Kubernetes objects as the API and manifests write them, read into the core's snapshots.
//!
//! The one place that knows the wire form of pods, nodes and EndpointSlices; what watches them and what reads them from
//! files both use it.

pub mod decode;
mod pairs;
pub mod spiffe_id;
