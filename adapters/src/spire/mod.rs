//! The SPIRE Server's API: performs the core's calls over gRPC.
//!
//! The pure halves are [`convert`] (messages to values and back) and [`outcome`] (codes to meanings);
//! [`client`] is the thin asynchronous half with deadlines and paging, on a [`wire`] that makes its connections by
//! [`connect`], over TCP with our [`identity`], and keeps calls that write behind the [`fence`].

pub mod client;
pub mod connect;
pub mod convert;
pub mod fence;
pub mod identity;
mod issue;
pub mod outcome;
pub mod shown;
pub mod wire;

pub use client::{AttestedAgent, Deadlines, SpireClient, SpireServer};
pub use fence::MayBegin;
pub use identity::Identity;
pub use wire::Wire;

pub use issue::MintedSvid;

/// Generated from our protobuf text under `proto/`.
#[allow(missing_docs, unused_qualifications, clippy::all)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/spire.rs"));
    pub use self::spire::api::server::{
        agent::v1 as agent, bundle::v1 as bundle, debug::v1 as debug, entry::v1 as entry,
        svid::v1 as svid,
    };
    pub use self::spire::api::types;
}
