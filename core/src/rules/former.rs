//! Roots that entries of this cluster may hang under besides our own: those of another mode, of another
//! `controller_name`, or the agents themselves. Their entries are nobody's once the registrar that made them is gone.

use std::{fmt, sync::Arc};

use super::{Ownership, Subject, classify, ownership::pod_of};
use crate::{
    entry::RegisteredEntry,
    policy::Policy,
    spiffe::{SpiffeError, SpiffeId, is_segment},
};

/// A root that is not, or not only, ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerRoot {
    id: SpiffeId,
    /// Entries hang under agents' own IDs: there are no node entries.
    agents: bool,
}

/// Why something is not a root of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormerRootError {
    /// Not even a path.
    #[error("{0:?} is not a path: {1}; a root looks like /k8s-workload-registrar/{2}/node")]
    NoPath(String, SpiffeError, Arc<str>),
    /// Of another trust domain.
    #[error("{0} is not of trust domain {1}")]
    OtherTrustDomain(SpiffeId, String),
    /// A path of another form.
    #[error(
        "{0:?} is not a root of this cluster, which looks like /k8s-workload-registrar/{1}/node, \
         /<controller_name>/{1}/node or /spire/agent/k8s_psat/{1}"
    )]
    OtherForm(String, Arc<str>),
}

impl FormerRoot {
    /// From a path or a whole SPIFFE ID. A root of another cluster is refused: its pods are not known here.
    ///
    /// # Errors
    /// As said.
    pub fn parse(policy: &Policy, text: &str) -> Result<Self, FormerRootError> {
        let cluster = &policy.cluster;
        let no_path = |e| FormerRootError::NoPath(text.to_owned(), e, cluster.clone());
        let id = match text.starts_with("spiffe://") {
            true => SpiffeId::parse(text).map_err(no_path)?,
            false => SpiffeId::new(policy.trust_domain.clone(), text).map_err(no_path)?,
        };
        if *id.trust_domain() != policy.trust_domain {
            let ours = policy.trust_domain.to_string();
            return Err(FormerRootError::OtherTrustDomain(id, ours));
        }
        let segments: Vec<&str> = id.path().split('/').skip(1).collect();
        let agents = match *segments.as_slice() {
            ["spire", "agent", "k8s_psat", name] if name == &**cluster => true,
            [first, name, "node"] if first != "spire" && name == &**cluster => false,
            _ => {
                return Err(FormerRootError::OtherForm(
                    id.path().to_owned(),
                    cluster.clone(),
                ));
            }
        };
        debug_assert!(segments.iter().all(|s| is_segment(s)));
        Ok(Self { id, agents })
    }

    /// Whether an entry hangs under it, or is a node's there.
    pub fn covers(&self, entry: &RegisteredEntry) -> bool {
        let node = !self.agents && entry.spiffe_id.is_under(&self.id);
        entry.parent_id.is_under(&self.id) || node
    }

    /// Whom an entry under this root is about, if it has exactly a form in which a registrar generates entries and is
    /// not ours by the policy.
    pub fn subject(&self, policy: &Policy, entry: &RegisteredEntry) -> Option<Subject> {
        if entry.admin || entry.downstream || entry.store_svid || !self.covers(entry) {
            return None;
        }
        if matches!(classify(policy, entry), Ownership::Ours(_)) {
            return None;
        }
        if entry.parent_id == policy.server_id() {
            return self.node_of(policy, entry);
        }
        if !entry.parent_id.is_under(&self.id) {
            return None;
        }
        pod_of(&entry.selectors)
    }

    /// The node, by name (empty: all of them), if the selectors are `k8s_psat:cluster` of this cluster, alone or with a
    /// node's name or UID.
    fn node_of(&self, policy: &Policy, entry: &RegisteredEntry) -> Option<Subject> {
        let below = entry.spiffe_id.path().strip_prefix(self.id.path())?;
        let name = below.trim_start_matches('/');
        let mut cluster = false;
        let mut node = false;
        for selector in entry.selectors.iter() {
            let (word, value) = selector.value.split_once(':')?;
            let seen = match word {
                "cluster" if value == &*policy.cluster => &mut cluster,
                "agent_node_name" if value == name => &mut node,
                "agent_node_uid" => &mut node,
                _ => return None,
            };
            if selector.kind != "k8s_psat" || std::mem::replace(seen, true) {
                return None;
            }
        }
        // Below the root by one segment with a node's selector, or the root itself without.
        let fits = cluster && node != name.is_empty() && !name.contains('/');
        fits.then(|| Subject::Node(name.into()))
    }
}

impl fmt::Display for FormerRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id.path())
    }
}
