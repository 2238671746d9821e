//! What connects the rules of `registrar-core` to the world. Each module is one adapter; adapters do not use each other.
//! [`objects`] and [`listen`] are no adapters but what several of them share: the wire form of Kubernetes objects, and
//! addresses to listen on.

pub mod admission;
pub mod config;
pub mod definition;
pub mod kubernetes;
pub mod listen;
pub mod manifests;
pub mod objects;
pub mod spire;
pub mod telemetry;
