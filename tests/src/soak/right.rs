//! Which entries should be there: worked out from the API server's objects alone, without a line of the registrar's code.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{ANNOTATION, CLUSTER, NAMESPACE, ROOT};

/// A pod that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Of the object.
    pub uid: String,
    /// Its entry in one line; `None` if it gets none.
    pub line: Option<String>,
}

/// The line of a pod's entry.
fn line(name: &str, node: &str, path: &str) -> String {
    format!("/{path} <- {ROOT}/{node} [k8s:ns:{NAMESPACE} k8s:pod-name:{name}]")
}

/// The pods that live, by name.
///
/// # Errors
/// As the API server says.
pub async fn pods(client: &Client) -> anyhow::Result<BTreeMap<String, Living>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = api.list(&ListParams::default()).await?;
    let living = pods.into_iter().map(|pod| {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let path = pod.annotations().get(ANNOTATION);
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let line = node.zip(path).map(|(node, path)| line(&name, &node, path));
        (name, Living { uid, line })
    });
    Ok(living.collect())
}

/// The lines of the nodes' entries.
///
/// # Errors
/// As the API server says.
pub async fn nodes(client: &Client) -> anyhow::Result<Vec<String>> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let lines = nodes.into_iter().map(|node| {
        let name = node.name_any();
        format!("{ROOT}/{name} <- /spire/server [k8s_psat:agent_node_name:{name} k8s_psat:cluster:{CLUSTER}]")
    });
    Ok(lines.collect())
}
