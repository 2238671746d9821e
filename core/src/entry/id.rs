//! Entry IDs, and the prefix by which we know the ones we made.

use std::{fmt, hash::Hasher, sync::Arc};

use crate::{cluster::Uid, spiffe::SpiffeId};

/// The ID of an entry on the server. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

/// Why a string cannot be an entry ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryIdError {
    /// Nothing at all.
    #[error("entry ID is empty")]
    Empty,
    /// More than 255 bytes.
    #[error("entry ID too long")]
    TooLong,
    /// A byte outside `[A-Za-z0-9._-]`.
    #[error("entry ID contains invalid characters")]
    BadChar,
}

impl EntryId {
    /// 1 to 255 bytes of `[A-Za-z0-9._-]`, SPIRE's own rule (since 1.8.0).
    pub fn new(id: &str) -> Result<Self, EntryIdError> {
        if id.is_empty() {
            return Err(EntryIdError::Empty);
        }
        if id.len() > 255 {
            return Err(EntryIdError::TooLong);
        }
        if !id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        {
            return Err(EntryIdError::BadChar);
        }
        Ok(Self(id.into()))
    }

    /// An ID that the server reports; taken as it is.
    pub fn stored(id: &str) -> Self {
        Self(id.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({})", self.0)
    }
}

/// What the IDs of all entries begin with that a registrar of one root creates: `kwr-<16 hex digits>.`
///
/// The digits are a hash of the root, so two registrars (another `controller_name`, cluster or trust domain) never share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryIdPrefix(Arc<str>);

impl EntryIdPrefix {
    /// The prefix of the registrar whose node identities live at `root`. The same for the same root, for ever.
    pub fn of(root: &SpiffeId, cluster: &str) -> Self {
        let mut hash = fnv::FnvHasher::default();
        hash.write(root.to_string().as_bytes());
        hash.write(&[0]);
        hash.write(cluster.as_bytes());
        Self(format!("kwr-{:016x}.", hash.finish()).into())
    }

    /// The text, with its final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether we made the entry with this ID.
    pub fn made(&self, id: &EntryId) -> bool {
        id.as_str().starts_with(&*self.0)
    }

    /// A new ID. `nonce` differs in every process and `count` in every call, so no ID is ever used twice:
    /// an ID deleted and made again within a second keeps agents older than 1.12 on the old SVID.
    pub fn issue(&self, nonce: u64, count: u64) -> EntryId {
        EntryId(format!("{}{nonce:016x}-{count:x}", self.0).into())
    }

    /// A new ID for the entry of an object of our own API: what follows the prefix tells the object by a hash of its UID,
    /// and is as unique as that of [`EntryIdPrefix::issue`].
    pub fn issue_for(&self, owner: &Uid, nonce: u64, count: u64) -> EntryId {
        EntryId(format!("{}{nonce:016x}-{count:x}", self.of_owner(owner)).into())
    }

    /// What the IDs begin with that [`EntryIdPrefix::issue_for`] gives to this owner.
    pub fn of_owner(&self, owner: &Uid) -> String {
        let mut hash = fnv::FnvHasher::default();
        hash.write(owner.as_str().as_bytes());
        format!("{}{:016x}-", self.0, hash.finish())
    }

    /// What the ID of an entry of ours begins with, up to its owner's hash, if it has one.
    pub fn owner_part<'i>(&self, id: &'i EntryId) -> Option<&'i str> {
        let rest = id.as_str().strip_prefix(&*self.0)?;
        let mut parts = rest.split('-');
        let (hash, _nonce, _count) = (parts.next()?, parts.next()?, parts.next()?);
        Some(&id.as_str()[..self.0.len() + hash.len() + 1])
    }
}
