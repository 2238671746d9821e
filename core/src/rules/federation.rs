//! Federation: which of the trust domains that an object names its entry may carry.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::quoted;
use crate::{
    entry::shared_trust_domains,
    policy::Policy,
    spiffe::{SpiffeError, TrustDomain},
};

/// What is known of the bundles on the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundles {
    /// The last list that succeeded; `None` before the first, or where the server denies it.
    pub known: Option<BTreeSet<TrustDomain>>,
    /// Trust domains that the server itself said it has no bundle of, since that list.
    pub missing: BTreeSet<TrustDomain>,
}

impl Bundles {
    /// Whether an entry may name `td`. Without a list, all that the server has not refused may be tried.
    pub fn has(&self, td: &TrustDomain) -> bool {
        !self.missing.contains(td) && self.known.as_ref().is_none_or(|known| known.contains(td))
    }
}

/// Why a trust domain was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyDropped {
    /// Not a trust domain name.
    Illegal(SpiffeError),
    /// Our own: it would break every agent that serves the entry.
    Own,
    /// Not in `federation_allow`.
    NotAllowed,
    /// The server has no bundle of it yet.
    NoBundle(TrustDomain),
    /// More than an entry may have.
    TooMany,
}

/// A part of the annotation that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DroppedTrustDomain {
    /// As written; quoted and shortened.
    pub written: String,
    /// Why.
    pub why: WhyDropped,
}

impl fmt::Display for DroppedTrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = &self.written;
        match &self.why {
            WhyDropped::Illegal(e) => {
                write!(
                    f,
                    "federation with {written} left out: not a trust domain: {e}"
                )
            }
            WhyDropped::Own => {
                write!(
                    f,
                    "federation with {written} left out: it is this trust domain itself"
                )
            }
            WhyDropped::NotAllowed => write!(
                f,
                "federation with {written} left out: not in federation_allow of the configuration"
            ),
            WhyDropped::NoBundle(_) => write!(
                f,
                "federation with {written} left out for now: the server has no bundle of it; \
                 it is added as soon as the bundle arrives (spire-server bundle set)"
            ),
            WhyDropped::TooMany => write!(
                f,
                "federation with {written} left out: more than {MAX_TRUST_DOMAINS} trust domains"
            ),
        }
    }
}

/// At most this many trust domains an entry; an agent fetches each one's bundle.
pub const MAX_TRUST_DOMAINS: usize = 100;

/// The outcome for one annotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Federation {
    /// What the entry gets.
    pub with: Arc<BTreeSet<TrustDomain>>,
    /// What was left out.
    pub dropped: Vec<DroppedTrustDomain>,
}

/// Reads the value of annotation `spiffe.io/federatesWith`: split at commas, trimmed, empty parts ignored,
/// `spiffe://td` accepted, without duplicates.
pub fn federation(policy: &Policy, annotation: Option<&str>, bundles: &Bundles) -> Federation {
    trust_domains(policy, annotation.unwrap_or_default().split(','), bundles)
}

/// The same for trust domains that are written one by one.
pub fn trust_domains<'a>(
    policy: &Policy,
    parts: impl IntoIterator<Item = &'a str>,
    bundles: &Bundles,
) -> Federation {
    let mut with = BTreeSet::new();
    let mut dropped = Vec::new();
    let parts = parts.into_iter().map(str::trim).filter(|p| !p.is_empty());
    for part in parts {
        let mut drop = |why| {
            if dropped.len() < MAX_TRUST_DOMAINS {
                let entry = DroppedTrustDomain {
                    written: quoted(part),
                    why,
                };
                if !dropped.contains(&entry) {
                    dropped.push(entry);
                }
            }
        };
        let td = match TrustDomain::from_name_or_id(part) {
            Ok(td) if td.as_str().len() <= 255 => td,
            Ok(td) => {
                drop(WhyDropped::Illegal(SpiffeError::TooLong(td.as_str().len())));
                continue;
            }
            Err(e) => {
                drop(WhyDropped::Illegal(e));
                continue;
            }
        };
        if td == policy.trust_domain {
            drop(WhyDropped::Own);
        } else if policy
            .federation_allow
            .as_ref()
            .is_some_and(|allow| !allow.contains(&td))
        {
            drop(WhyDropped::NotAllowed);
        } else if !bundles.has(&td) {
            drop(WhyDropped::NoBundle(td));
        } else if with.len() >= MAX_TRUST_DOMAINS && !with.contains(&td) {
            drop(WhyDropped::TooMany);
        } else {
            with.insert(td);
        }
    }
    Federation {
        with: shared_trust_domains(with),
        dropped,
    }
}
