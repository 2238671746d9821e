//! DNS names of entries.

use std::{fmt, sync::Arc};

/// A DNS name that every SPIRE Server from 1.0 on accepts, or one that a server already stores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// Why a name cannot be generated into an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DnsNameError {
    /// Nothing, or only white space.
    #[error("empty or only whitespace")]
    Empty,
    /// More than 253 bytes.
    #[error("length exceeded: {0} bytes, at most 253")]
    TooLong(usize),
    /// `a..b`, `.a`, `a.`
    #[error("label is empty")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("label length exceeded: {0:?}")]
    LabelTooLong(String),
    /// A byte outside `[a-z0-9-]`.
    #[error("label {0:?} has characters other than lowercase letters, digits and hyphens")]
    BadChar(String),
    /// `-a`, `a-`
    #[error("label {0:?} begins or ends with a hyphen")]
    EdgeHyphen(String),
    /// `ab--c`, which IDNA reserves.
    #[error("label {0:?} has hyphens at its third and fourth position")]
    ReservedHyphens(String),
}

impl DnsName {
    /// A name that we generate: what all generations of SPIRE's rule accept (lower-case letters, digits, hyphens; labels
    /// of 1 to 63 bytes without a hyphen at either end or at both third and fourth position; at most 253 bytes).
    pub fn new(name: &str) -> Result<Self, DnsNameError> {
        if name.trim().is_empty() {
            return Err(DnsNameError::Empty);
        }
        if name.len() > 253 {
            return Err(DnsNameError::TooLong(name.len()));
        }
        name.split('.').try_for_each(check_label)?;
        Ok(Self(name.into()))
    }

    /// A name that a person wrote: what SPIRE's own rule accepts (since 1.9). Besides the names that we generate these are
    /// wildcards (`*.` first), and labels with other visible characters than lower-case letters, digits and hyphens.
    ///
    /// # Errors
    /// What the server would object to.
    pub fn written(name: &str) -> Result<Self, DnsNameError> {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.is_empty() {
            return Err(DnsNameError::Empty);
        }
        if rest.len() > 253 {
            return Err(DnsNameError::TooLong(rest.len()));
        }
        for label in rest.split('.') {
            match check_label(label) {
                Err(DnsNameError::BadChar(_))
                    if label.bytes().all(|b| b.is_ascii_graphic() && b != b'*') =>
                {
                    check_hyphens(label)?;
                }
                checked => checked?,
            }
        }
        Ok(Self(name.into()))
    }

    /// A name that the server reports; taken as it is.
    pub fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(label: &str) -> Result<(), DnsNameError> {
    let bytes = label.as_bytes();
    let owned = || label.to_owned();
    if bytes.is_empty() {
        return Err(DnsNameError::EmptyLabel);
    }
    if bytes.len() > 63 {
        return Err(DnsNameError::LabelTooLong(owned()));
    }
    if !bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    {
        return Err(DnsNameError::BadChar(owned()));
    }
    check_hyphens(label)
}

fn check_hyphens(label: &str) -> Result<(), DnsNameError> {
    let bytes = label.as_bytes();
    let owned = || label.to_owned();
    if bytes.starts_with(b"-") || bytes.ends_with(b"-") {
        return Err(DnsNameError::EdgeHyphen(owned()));
    }
    if bytes.len() >= 4 && &bytes[2..4] == b"--" {
        return Err(DnsNameError::ReservedHyphens(owned()));
    }
    Ok(())
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
