//! Which stored entries are ours. What is not ours is never written.

use std::sync::Arc;

use super::Subject;
use crate::{
    cluster::Uid,
    entry::{RegisteredEntry, Selectors},
    policy::{NodePolicy, ParentForm, PodSelector, Policy},
};

/// Whose a stored entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Ours, and about this subject.
    Ours(Subject),
    /// Not ours.
    Foreign(Foreign),
}

/// How a stored entry is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing to do with our root.
    Elsewhere,
    /// It hangs under our root but has selectors that we never make, an operator's own entry on a node alias for
    /// example. Reported, never touched.
    UnderRoot,
}

/// Whose entry this is.
///
/// Ours are: entries under root by whole segments (or whose SPIFFE ID is, under `/spire/server`) whose selectors have
/// exactly a shape that we or the original registrar generate; and those whose ID carries our prefix and whose
/// selectors tell whom they are about. With one entry for all nodes: exactly that one, and entries whose parent is exactly
/// root.
pub fn classify(policy: &Policy, entry: &RegisteredEntry) -> Ownership {
    let one_for_all = policy.nodes == NodePolicy::OneForAll;
    let ours_by_id = !one_for_all && policy.entry_ids.made(&entry.id);
    if entry.parent_id == policy.server_id() {
        let is_node = entry.spiffe_id.is_under(&policy.root);
        return match node_of(policy, entry) {
            Some(subject) if is_node && (!one_for_all || entry.spiffe_id == policy.root) => {
                Ownership::Ours(subject)
            }
            Some(subject) if ours_by_id => Ownership::Ours(subject),
            _ if is_node => Ownership::Foreign(Foreign::UnderRoot),
            _ => Ownership::Foreign(Foreign::Elsewhere),
        };
    }
    let under_root = match policy.pods.parent {
        ParentForm::Root => entry.parent_id == policy.root,
        ParentForm::NodeAlias | ParentForm::Agent => entry.parent_id.is_under(&policy.root),
    };
    match pod_of(&entry.selectors) {
        Some(subject) if under_root || ours_by_id => Ownership::Ours(subject),
        _ if under_root => Ownership::Foreign(Foreign::UnderRoot),
        _ => Ownership::Foreign(Foreign::Elsewhere),
    }
}

fn node_of(policy: &Policy, entry: &RegisteredEntry) -> Option<Subject> {
    let mut name: Option<Arc<str>> = None;
    let mut uid = false;
    let mut cluster = false;
    for selector in entry.selectors.iter() {
        if selector.kind != "k8s_psat" {
            return None;
        }
        match selector.value.split_once(':')? {
            ("cluster", value) if value == &*policy.cluster => cluster = true,
            ("agent_node_name", value) if name.is_none() => name = Some(value.into()),
            ("agent_node_uid", _) if policy.nodes == NodePolicy::ByUid && !uid => uid = true,
            _ => return None,
        }
    }
    match (policy.nodes, cluster, name) {
        (NodePolicy::OneForAll, true, None) => Some(Subject::Node("".into())),
        (NodePolicy::ByName | NodePolicy::None, true, Some(name)) => Some(Subject::Node(name)),
        // By name, by UID, or one for all nodes: whichever the mode was before.
        (NodePolicy::ByUid, true, name) => Some(Subject::Node(name.unwrap_or_default())),
        _ => None,
    }
}

/// Whom the selectors of a pod's entry are about, if they have a shape that we generate: each of the words of
/// [`PodSelector`] at most once, nothing else, and enough of them to name one pod.
pub(super) fn pod_of(selectors: &Selectors) -> Option<Subject> {
    let mut found: [Option<&str>; PodSelector::ALL.len()] = Default::default();
    for selector in selectors.iter() {
        if selector.kind != "k8s" {
            return None;
        }
        let (word, value) = selector.value.split_once(':')?;
        let slot = PodSelector::ALL.iter().position(|s| s.word() == word)?;
        if found[slot].replace(value).is_some() {
            return None;
        }
    }
    let [namespace, name, uid, ..] = found;
    match (namespace, name, uid) {
        (Some(namespace), Some(name), _) => Some(Subject::Pod(namespace.into(), name.into())),
        (_, _, Some(uid)) => Some(Subject::PodUid(Uid::new(uid))),
        _ => None,
    }
}
