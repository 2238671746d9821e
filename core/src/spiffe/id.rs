//! Whole SPIFFE IDs.

use std::{fmt, str::FromStr, sync::Arc};

use super::{MAX_ID_BYTES, SpiffeError, TrustDomain, is_under, validate_path};
use crate::intern::Shared;

/// A SPIFFE ID: `spiffe://<trust domain><path>`. Cheap to clone, and as small as a pointer: every entry holds two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<Parts>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    trust_domain: TrustDomain,
    path: Arc<str>,
}

impl SpiffeId {
    /// An ID from its parts; `path` is empty or begins with a slash.
    ///
    /// # Errors
    /// What [`validate_path`] says, or [`SpiffeError::TooLong`].
    pub fn new(trust_domain: TrustDomain, path: impl Into<Arc<str>>) -> Result<Self, SpiffeError> {
        let id = Self::of(trust_domain, path.into());
        validate_path(id.path())?;
        match id.len() {
            n if n > MAX_ID_BYTES => Err(SpiffeError::TooLong(n)),
            _ => Ok(id),
        }
    }

    /// Parses `spiffe://td/path`, at most [`MAX_ID_BYTES`] long.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let id = Self::parse_unbounded(text)?;
        match id.len() {
            n if n > MAX_ID_BYTES => Err(SpiffeError::TooLong(n)),
            _ => Ok(id),
        }
    }

    /// As [`SpiffeId::parse`], without the limit on the length: for IDs that a server already stores.
    pub fn parse_unbounded(text: &str) -> Result<Self, SpiffeError> {
        if text.is_empty() {
            return Err(SpiffeError::Empty);
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(SpiffeError::WrongScheme)?;
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = TrustDomain::new(name)?;
        validate_path(path)?;
        Ok(Self::of(trust_domain, path.into()))
    }

    /// An ID the server already stores, from the two fields of its API; not limited in length.
    pub fn stored(
        trust_domain: TrustDomain,
        path: impl Into<Arc<str>>,
    ) -> Result<Self, SpiffeError> {
        let path = path.into();
        validate_path(&path)?;
        Ok(Self::of(trust_domain, path))
    }

    fn of(trust_domain: TrustDomain, path: Arc<str>) -> Self {
        Self(Arc::new(Parts { trust_domain, path }))
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The path: empty, or with a leading slash.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Whether this is `ancestor` or below it, in the same trust domain, by whole segments.
    pub fn is_under(&self, ancestor: &SpiffeId) -> bool {
        self.trust_domain() == ancestor.trust_domain() && is_under(self.path(), ancestor.path())
    }

    /// This ID with one more segment.
    ///
    /// # Errors
    /// If `segment` is not a legal one, or the whole becomes too long.
    pub fn child(&self, segment: &str) -> Result<Self, SpiffeError> {
        let path = format!("{}/{segment}", self.path());
        Self::new(self.trust_domain().clone(), path)
    }

    /// Bytes of the whole ID.
    pub fn len(&self) -> usize {
        "spiffe://".len() + self.trust_domain().as_str().len() + self.path().len()
    }

    /// Never: an ID has at least a trust domain.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Shared for SpiffeId {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain(), self.path())
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({self})")
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}
