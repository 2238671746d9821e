//! Pods wait for the entry that theirs hang under: of their node, or of all nodes.

use super::{Now, Reconciler, queue::Urgency, review::is_pod};
use crate::{entry::Entry, policy::ParentForm, rules::Subject};

impl Reconciler {
    /// Whether the node's entry that this one would hang under is still to be made; then the pod is looked at again when
    /// it is.
    pub(super) fn waits_for_node(&mut self, subject: &Subject, entry: &Entry) -> bool {
        if self.policy.pods.parent != ParentForm::NodeAlias {
            return false;
        }
        let path = entry.parent_id.path();
        let Some(node) = path
            .strip_prefix(self.policy.root.path())
            .and_then(|rest| rest.strip_prefix('/'))
            .map(std::sync::Arc::from)
        else {
            return false;
        };
        let pending = self.node_is_pending(&node);
        if pending {
            self.waiting_for_node
                .entry(node)
                .or_default()
                .insert(subject.clone());
        }
        pending
    }

    /// Whether the entry that all pods hang under is still to be made; then the pod is looked at again when it is.
    pub(super) fn waits_for_all_nodes(&mut self, subject: &Subject) -> bool {
        let waits = is_pod(subject) && self.all_nodes_missing();
        if waits {
            let waiting = self.waiting_for_node.entry("".into()).or_default();
            waiting.insert(subject.clone());
        }
        waits
    }

    fn node_is_pending(&self, node: &std::sync::Arc<str>) -> bool {
        if node.is_empty() {
            return self.all_nodes_missing();
        }
        let subject = self.subject_of_node(node);
        let there = self.mirror.of(&subject).any(|r| {
            r.entry
                .spiffe_id
                .path()
                .strip_prefix(self.policy.root.path())
                == Some(&*format!("/{node}"))
        });
        self.observed.node(node).is_some() && !self.refused.contains(&subject) && !there
    }

    /// Whom a node's entry is about: the node, or its SpiffeID.
    fn subject_of_node(&self, node: &std::sync::Arc<str>) -> Subject {
        match &self.policy.spiffe_ids {
            Some(policy) => Subject::SpiffeId(policy.namespace.clone(), node.clone()),
            None => Subject::Node(node.clone()),
        }
    }

    /// Brings back the pods that waited for a node, once they need not wait any longer.
    pub(super) fn release_waiting(&mut self, subject: &Subject, now: Now) {
        let node = match (subject, &self.policy.spiffe_ids) {
            (Subject::Node(node), None) => node,
            (Subject::SpiffeId(namespace, name), Some(policy))
                if *namespace == policy.namespace =>
            {
                name
            }
            _ => return,
        };
        if self.waiting_for_node.contains_key(node) && !self.node_is_pending(node) {
            for pod in self.waiting_for_node.remove(node).unwrap_or_default() {
                let urgency = self.floor(&pod).min(Urgency::Changed);
                self.queue.mark(&pod, urgency, now);
            }
        }
    }
}
