//! What connects the rules of `registrar-core` to the world. Each module is one adapter; adapters do not use each other.
//! [`objects`] is no adapter but what two of them share: the wire form of Kubernetes objects.

pub mod config;
pub mod kubernetes;
pub mod manifests;
pub mod objects;
pub mod spire;
pub mod telemetry;
