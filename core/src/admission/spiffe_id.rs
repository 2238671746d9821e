//! What a SpiffeID may ask for. The controller holds to it whoever wrote the object, and whether or not a webhook or an
//! admission policy looked at it before; the webhook says it at once.

use crate::{
    cluster::{SpiffeIdSelector, SpiffeIdSpec},
    entry::DnsName,
    policy::Policy,
    rules::{Problem, quoted},
    spiffe::{SpiffeError, SpiffeId, is_segment},
};

/// The two IDs of a SpiffeID that may have what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermittedIds {
    /// `spec.parentId`
    pub parent_id: SpiffeId,
    /// `spec.spiffeId`
    pub spiffe_id: SpiffeId,
}

/// Whether a SpiffeID of this namespace may have what it asks for.
///
/// What the registrar itself writes is told by its form, not by its author: a pod's SpiffeID selects one pod of its own
/// namespace on the node that it hangs under, which gives nobody more than a label on that pod would.
///
/// # Errors
/// [`Problem::Spec`]: the first thing that it may not, in the original registrar's order and with its texts.
pub fn permitted(
    policy: &Policy,
    namespace: &str,
    spec: &SpiffeIdSpec,
) -> Result<PermittedIds, Problem> {
    let own = policy
        .spiffe_ids
        .as_ref()
        .is_some_and(|p| &*p.namespace == namespace);
    let parent_id = whole_id(policy, "spec.parentId", "parent ID", &spec.parent_id)?;
    let spiffe_id = whole_id(policy, "spec.spiffeId", "SPIFFE ID", &spec.spiffe_id)?;
    let selector = &spec.selector;
    if *selector == SpiffeIdSelector::default() {
        let text = "spec.selector is empty, and so would select every workload; name at least one property";
        return Err(refused("EmptySelector", text));
    }
    let of_agents = selector.cluster.is_some() || selector.agent_node_uid.is_some();
    if of_agents && !own {
        return Err(refused("AgentSelector", AGENT_SELECTOR));
    }
    if !of_agents && selector.namespace.as_deref() != Some(namespace) {
        return Err(refused("OtherNamespace", OTHER_NAMESPACE));
    }
    if let Some(rule) = policy.reserved.find(spiffe_id.path()) {
        let of_node = own && is_nodes(policy, &parent_id, &spiffe_id, selector);
        if !of_node {
            let text = format!("spec.spiffeId must not be reserved (rule {rule:?})");
            return Err(refused("ReservedPath", text));
        }
    }
    if let Some(rule) = policy.reserved.find(parent_id.path())
        && !own
        && !is_pods(policy, &parent_id, selector)
    {
        let text = format!(
            "spec.parentId must not be reserved (rule {rule:?}) outside of the namespace of the k8s-workload-registrar"
        );
        return Err(refused("ReservedParent", text));
    }
    let downstream = policy
        .spiffe_ids
        .as_ref()
        .is_some_and(|p| p.downstream_namespaces.contains(namespace));
    if spec.downstream && !downstream {
        return Err(refused("Downstream", DOWNSTREAM));
    }
    Ok(PermittedIds {
        parent_id,
        spiffe_id,
    })
}

/// What the webhook answers: [`permitted`], and every DNS name must be one that the server takes. The controller leaves
/// bad names out instead, so that one of them does not cost the identity.
///
/// # Errors
/// As [`permitted`].
pub fn review_spiffe_id(
    policy: &Policy,
    namespace: &str,
    spec: &SpiffeIdSpec,
) -> Result<PermittedIds, Problem> {
    let ids = permitted(policy, namespace, spec)?;
    for name in &spec.dns_names {
        if let Err(error) = DnsName::written(name) {
            let text = format!("invalid DNS name {}: {error}", quoted(name));
            return Err(refused("IllegalDnsName", text));
        }
    }
    Ok(ids)
}

/// What the webhook says of a SpiffeID whose entry is there already.
pub const DUPLICATE: &str = "Duplicate detected";
/// Of selectors of agents outside of the registrar's namespace.
const AGENT_SELECTOR: &str = "spec.Selector.Cluster and spec.Selector.AgentNodeUid can only be used by the k8s-workload-registrar";
/// Of selectors of another namespace, or of none.
const OTHER_NAMESPACE: &str = "spec.Selector.Namespace must match namespace of resource";
/// Of `downstream` where it is not allowed.
const DOWNSTREAM: &str =
    "spec.downstream can only be used in the namespaces of downstream_namespaces";

fn refused(word: &'static str, text: impl Into<String>) -> Problem {
    Problem::Spec {
        word,
        text: text.into(),
    }
}

/// An ID of our trust domain, with a path. Parsed, not compared by prefix: `spiffe://example.orgevil` is another one.
fn whole_id(policy: &Policy, field: &str, called: &str, value: &str) -> Result<SpiffeId, Problem> {
    let td = &policy.trust_domain;
    let elsewhere = || {
        refused(
            "OtherTrustDomain",
            format!("{field} must begin with spiffe://{td}"),
        )
    };
    let malformed = |error: SpiffeError| {
        let text = format!("malformed CRD {called}: {error}");
        refused("IllegalId", text)
    };
    match SpiffeId::parse(value) {
        Ok(id) if id.trust_domain() != td => Err(elsewhere()),
        Ok(id) if id.path().is_empty() => Err(refused(
            "IllegalId",
            format!("malformed CRD {called}: path is empty"),
        )),
        Ok(id) => Ok(id),
        Err(error) => {
            let rest = value
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.strip_prefix(td.as_str()));
            match rest {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Err(malformed(error)),
                _ => Err(elsewhere()),
            }
        }
    }
}

/// Whether these are a node's, as we write them: its identity under our root, for the agent on it.
fn is_nodes(
    policy: &Policy,
    parent_id: &SpiffeId,
    spiffe_id: &SpiffeId,
    selector: &SpiffeIdSelector,
) -> bool {
    let shape = SpiffeIdSelector {
        cluster: Some(policy.cluster.clone()),
        agent_node_uid: selector.agent_node_uid.clone(),
        ..SpiffeIdSelector::default()
    };
    *parent_id == policy.server_id()
        && node_under_root(policy, spiffe_id).is_some()
        && selector.agent_node_uid.is_some()
        && *selector == shape
}

/// Whether these are a pod's, as we write them: one pod, under its own node. The namespace was checked before; further
/// selectors only narrow it down.
fn is_pods(policy: &Policy, parent_id: &SpiffeId, selector: &SpiffeIdSelector) -> bool {
    let Some(node) = node_under_root(policy, parent_id) else {
        return false;
    };
    let by_uid = selector.pod_uid.is_some() && selector.node_name.as_deref() == Some(node);
    // A mirror pod's UID is not the kubelet's, so its name stands for it.
    by_uid || selector.pod_name.is_some()
}

/// The node whose identity this is.
fn node_under_root<'i>(policy: &Policy, id: &'i SpiffeId) -> Option<&'i str> {
    let name = id
        .path()
        .strip_prefix(policy.root.path())?
        .strip_prefix('/')?;
    is_segment(name).then_some(name)
}
