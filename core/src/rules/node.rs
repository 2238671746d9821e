//! Nodes.

use std::sync::Arc;

use super::{Bundles, Decision, Note, Problem, SkipReason, federation};
use crate::{
    cluster::NodeSnapshot,
    entry::{Entry, Selector, Selectors},
    policy::{FEDERATES_WITH, NodePolicy, Policy},
};

/// The one entry for all nodes of the cluster, under which the pods' entries hang.
pub fn entry_of_all_nodes(policy: &Policy) -> Entry {
    let selector = Selector::new("k8s_psat", format!("cluster:{}", policy.cluster));
    Entry::new(
        policy.root.clone(),
        policy.server_id(),
        Selectors::new([selector]),
    )
}

/// The entry of a node: an alias that its agent matches, under which the pods' entries hang.
pub fn decide_node(policy: &Policy, node: &NodeSnapshot, bundles: &Bundles) -> Decision {
    let agent = |value: String| Selector::new("k8s_psat", value);
    let cluster = agent(format!("cluster:{}", policy.cluster));
    let selectors = match policy.nodes {
        NodePolicy::ByName => [agent(format!("agent_node_name:{}", node.name)), cluster],
        NodePolicy::ByUid => [cluster, agent(format!("agent_node_uid:{}", node.uid))],
        NodePolicy::None | NodePolicy::OneForAll => {
            return Decision::Skip(SkipReason::NodesHaveNone);
        }
    };
    let spiffe_id = match policy.root.child(&node.name) {
        Ok(id) => id,
        Err(error) => {
            return Decision::Invalid(Problem::IllegalNodeName {
                name: node.name.clone(),
                error,
            });
        }
    };
    let annotation = node.annotations.get(FEDERATES_WITH).map(|v| &**v);
    let federation = federation(policy, annotation, bundles);
    let mut entry = Entry::new(spiffe_id, policy.server_id(), Selectors::new(selectors));
    entry.federates_with = federation.with;
    Decision::Register {
        entries: vec![Arc::new(entry)],
        notes: federation
            .dropped
            .into_iter()
            .map(Note::TrustDomain)
            .collect(),
    }
}
