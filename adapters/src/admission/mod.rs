//! The API server's admission webhooks: an HTTPS server for reviews, mutual TLS, certificates that are exchanged while it
//! runs.
//!
//! [`review`] is the pure half: from a body to an [`AdmissionRequest`], from a [`Verdict`] to a body. [`Endpoints`] checks
//! a request and finds its [`Validator`]; a body can go through all of it without a socket. [`serve`] adds TLS, deadlines
//! and limits.

pub mod certificates;
pub mod endpoints;
pub mod generate;
pub mod issued;
pub mod pod;
pub mod reload;
pub mod review;
pub mod server;
pub mod spiffe_id;

pub use certificates::{CertificateError, Clients, ServingCertificate, Tls};
pub use endpoints::{Endpoints, Reply, Validator};
pub use issued::{Issued, Issuer, Named, Try, issued};
pub use pod::{Asked, PodValidator};
pub use reload::{CertificateFiles, News};
pub use review::{AdmissionRequest, Verdict};
pub use server::{Limits, Outcome, serve};
pub use spiffe_id::{LookUps, Refused, SpiffeIdValidator};
