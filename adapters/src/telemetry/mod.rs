//! Logs, metrics and probes.

pub mod http;
pub mod log;
pub mod metrics;

pub use http::{Health, serve};
pub use log::{Format, LogFile, LogSettings};
pub use metrics::Metrics;
