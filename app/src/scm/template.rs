//! The part of spire-controller-manager's templates that names values without logic; it covers what its documentation
//! and most installations use. Whatever else a template holds makes it unknown, never wrong.

use std::{collections::BTreeMap, sync::Arc};

use registrar_core::cluster::{PodSnapshot, Uid};

/// A value that a template names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    TrustDomain,
    ClusterName,
    ClusterDomain,
    Namespace,
    PodName,
    PodUid,
    ServiceAccount,
    NodeName,
    NodeUid,
    Label(String),
    Annotation(String),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Value(Value),
}

/// What the cluster contributes.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub trust_domain: String,
    pub name: String,
    pub domain: Option<String>,
    /// UIDs by name.
    pub nodes: BTreeMap<Arc<str>, Uid>,
}

/// The pieces of a template.
///
/// # Errors
/// What it holds that is not known here.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let (action, after) = after
            .split_once("}}")
            .ok_or_else(|| format!("template {text:?} has an action without an end"))?;
        let action = action.trim_matches('-').trim();
        let value = value(action)
            .ok_or_else(|| format!("template {text:?}: {{{{ {action} }}}} is not known here"))?;
        pieces.push(Piece::Value(value));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn value(action: &str) -> Option<Value> {
    if let Some(rest) = action.strip_prefix("index ") {
        let (map, key) = rest.trim().split_once(char::is_whitespace)?;
        let key = key.trim();
        let key = key
            .strip_prefix('"')
            .and_then(|k| k.strip_suffix('"'))
            .or_else(|| key.strip_prefix('`').and_then(|k| k.strip_suffix('`')))?;
        return match map {
            ".PodMeta.Labels" => Some(Value::Label(key.to_owned())),
            ".PodMeta.Annotations" => Some(Value::Annotation(key.to_owned())),
            _ => None,
        };
    }
    Some(match action {
        ".TrustDomain" => Value::TrustDomain,
        ".ClusterName" => Value::ClusterName,
        ".ClusterDomain" => Value::ClusterDomain,
        ".PodMeta.Namespace" => Value::Namespace,
        ".PodMeta.Name" => Value::PodName,
        ".PodMeta.UID" => Value::PodUid,
        ".PodSpec.ServiceAccountName" => Value::ServiceAccount,
        ".PodSpec.NodeName" | ".NodeMeta.Name" => Value::NodeName,
        ".NodeMeta.UID" => Value::NodeUid,
        _ => None?,
    })
}

/// What the template makes of a pod.
///
/// # Errors
/// If the pod has no such value, or it is not known here.
pub fn render(pieces: &[Piece], cluster: &Cluster, pod: &PodSnapshot) -> Result<String, String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(t) => text.push_str(t),
            Piece::Value(value) => text.push_str(&of_pod(value, cluster, pod)?),
        }
    }
    Ok(text)
}

fn of_pod(value: &Value, cluster: &Cluster, pod: &PodSnapshot) -> Result<String, String> {
    // The template's own way to say that a map has no such key.
    let absent = || "<no value>".to_owned();
    Ok(match value {
        Value::TrustDomain => cluster.trust_domain.clone(),
        Value::ClusterName => cluster.name.clone(),
        Value::ClusterDomain => cluster
            .domain
            .clone()
            .ok_or("the cluster's domain is not in the configuration")?,
        Value::Namespace => pod.namespace.to_string(),
        Value::PodName => pod.name.to_string(),
        Value::PodUid => pod.uid.to_string(),
        Value::ServiceAccount => pod
            .service_account
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        Value::NodeName => pod.node_name.as_deref().unwrap_or_default().to_owned(),
        Value::NodeUid => {
            let name = pod.node_name.as_deref().unwrap_or_default();
            let uid = cluster.nodes.get(name);
            uid.ok_or_else(|| format!("node {name:?} is not in the files"))?
                .to_string()
        }
        Value::Label(key) => pod.labels.get(key).map_or_else(absent, ToString::to_string),
        Value::Annotation(key) => pod
            .annotations
            .get(key)
            .map_or_else(absent, ToString::to_string),
    })
}
