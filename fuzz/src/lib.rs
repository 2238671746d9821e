//! The bodies of the fuzz targets. Each takes any bytes, and panics if something that must hold does not.
//!
//! Ordinary tests replay the committed seeds and regressions, and a few thousand mutations of them, through the same
//! bodies. To fuzz for longer, with coverage as the guide: `make fuzz TARGET=pod_metadata TIME=1200`.

mod admission;
mod configuration;
mod crd_history;
pub mod hcl;
mod history;
mod manifest;
mod pod_metadata;
mod server_reply;
mod spiffe_id;
mod spiffe_id_admission;
mod template;
mod watched_object;

pub use admission::admission;
pub use configuration::configuration;
pub use crd_history::crd_history;
pub use history::history;
pub use manifest::manifest;
pub use pod_metadata::pod_metadata;
pub use server_reply::server_reply;
pub use spiffe_id::spiffe_id;
pub use spiffe_id_admission::spiffe_id_admission;
pub use template::template;
pub use watched_object::watched_object;

/// A fuzz target's body.
pub type Body = fn(&[u8]);

/// Every target: the name of its folder of seeds, and its body.
pub const TARGETS: [(&str, Body); 12] = [
    ("admission", admission),
    ("configuration", configuration),
    ("crd_history", crd_history),
    ("hcl", hcl::hcl),
    ("history", history),
    ("manifest", manifest),
    ("pod_metadata", pod_metadata),
    ("server_reply", server_reply),
    ("spiffe_id", spiffe_id),
    ("spiffe_id_admission", spiffe_id_admission),
    ("template", template),
    ("watched_object", watched_object),
];
