//! The admission server: what it answers, whom it lets in, and what it does not let happen to it.

mod bodies;
mod certificates;
mod clients;
mod generated;
mod limits;
mod look_ups;
mod pki;
mod sockets;
mod spiffe_ids;

use registrar_adapters::admission::{AdmissionRequest, review::GroupVersionKind};

/// What an API server asks about a SpiffeID `apps/blog`.
fn spiffe_id_request(operation: &str, object: Option<serde_json::Value>) -> AdmissionRequest {
    AdmissionRequest {
        kind: GroupVersionKind {
            group: "spiffeid.spiffe.io".into(),
            version: "v1beta1".into(),
            kind: "SpiffeID".into(),
        },
        namespace: "apps".into(),
        name: "blog".into(),
        user: "someone".into(),
        operation: operation.into(),
        object: object.map(|o| o.to_string()),
        ..AdmissionRequest::default()
    }
}
