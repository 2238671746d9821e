//! Trust domain names.

use std::{fmt, str::FromStr, sync::Arc};

use super::SpiffeError;

/// The name of a trust domain, such as `example.org`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// A name made of `[a-z0-9._-]`. Nothing is lower-cased and no `spiffe://` is cut off: SPIRE would not store what we compare.
    pub fn new(name: &str) -> Result<Self, SpiffeError> {
        if name.is_empty() {
            return Err(SpiffeError::MissingTrustDomain);
        }
        if !name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')
        }) {
            return Err(SpiffeError::BadTrustDomainChar);
        }
        Ok(Self(name.into()))
    }

    /// A name, or a whole SPIFFE ID that is cut down to its trust domain, as SPIRE reads a configured trust domain.
    pub fn from_name_or_id(text: &str) -> Result<Self, SpiffeError> {
        if text.is_empty() {
            return Err(SpiffeError::MissingTrustDomain);
        }
        if text.contains(":/") {
            return super::SpiffeId::parse_unbounded(text).map(|id| id.trust_domain().clone());
        }
        Self::new(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}
