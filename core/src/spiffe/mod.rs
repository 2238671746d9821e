//! SPIFFE IDs and trust domains, exactly as strict as SPIRE Server (go-spiffe 2): what parses here, the server accepts.
//!
//! ```
//! use registrar_core::spiffe::{SpiffeId, TrustDomain};
//! let td = TrustDomain::new("example.org")?;
//! let id = SpiffeId::new(td, "/ns/production/sa/blog")?;
//! assert_eq!(id.to_string(), "spiffe://example.org/ns/production/sa/blog");
//! assert!(SpiffeId::parse("spiffe://Example.org/x").is_err());
//! # Ok::<(), registrar_core::spiffe::SpiffeError>(())
//! ```

mod id;
mod path;
mod trust_domain;

pub use id::SpiffeId;
pub use path::{is_segment, is_under, validate_path};
pub use trust_domain::TrustDomain;

/// The longest SPIFFE ID we register, in bytes: the width of the column on PostgreSQL and MySQL data stores.
pub const MAX_ID_BYTES: usize = 255;

/// Why a string is not a SPIFFE ID, a path or a trust domain. The texts are go-spiffe's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SpiffeError {
    /// Nothing at all.
    #[error("cannot be empty")]
    Empty,
    /// Does not begin with `spiffe://`.
    #[error("scheme is missing or invalid")]
    WrongScheme,
    /// `spiffe:///path`.
    #[error("trust domain is missing")]
    MissingTrustDomain,
    /// A byte outside `[a-z0-9._-]`.
    #[error(
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
    )]
    BadTrustDomainChar,
    /// A path that does not begin with `/`.
    #[error("path must have a leading slash")]
    NoLeadingSlash,
    /// `/x/` or `/`.
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// `//x`.
    #[error("path cannot contain empty segments")]
    EmptySegment,
    /// `/./x`, `/..`.
    #[error("path cannot contain dot segments")]
    DotSegment,
    /// A byte outside `[A-Za-z0-9._-]`.
    #[error(
        "path segment characters are limited to letters, numbers, dots, dashes, and underscores"
    )]
    BadPathSegmentChar,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("the whole ID has {0} bytes, at most 255 are stored by every SPIRE data store")]
    TooLong(usize),
}
