//! What connects the rules of `registrar-core` to the world. Each module is one adapter; adapters do not use each other.

pub mod config;
pub mod kubernetes;
pub mod spire;
pub mod telemetry;
