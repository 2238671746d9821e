//! The integration tests: each runs on a real API server and a real SPIRE Server.

mod plane;
mod reconcile_entries;
