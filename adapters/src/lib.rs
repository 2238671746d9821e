//! What connects the rules of `registrar-core` to the world. Each module is one adapter; adapters do not use each other.
//! [`objects`], [`listen`] and `causes` are no adapters but what several of them share: the wire form of Kubernetes
//! objects, addresses to listen on, and errors with their reasons.

pub mod admission;
mod causes;
pub mod config;
pub mod definition;
pub mod kubernetes;
mod limit;
pub mod listen;
pub mod manifests;
pub mod objects;
pub mod spire;
pub mod telemetry;
