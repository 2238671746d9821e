//! Models of the two servers that the step machine talks to: what a rehearsal acts on instead of the real ones, and tests.

mod api;
mod server;

pub use api::ModelApi;
pub use server::{ModelServer, Row};
