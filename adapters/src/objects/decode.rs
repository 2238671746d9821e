//! From JSON to the core's snapshots. Only the fields that the rules read are kept; `managedFields`, containers and the
//! like are skipped while scanning.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use registrar_core::{
    cluster::{
        EndpointSnapshot, EndpointsSnapshot, Kind, Metadata, NodeSnapshot, Object, ObjectKey,
        PodSnapshot, Uid,
    },
    policy::WantedMetadata,
    sync::Event,
};
use serde::Deserialize;

use super::spiffe_id;

/// Marks the API's image of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Pairs<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Option<Pairs<'a>>,
    #[serde(borrow, default)]
    annotations: Option<Pairs<'a>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    spec: Option<PodSpec<'a>>,
    #[serde(borrow, default)]
    status: Option<PodStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    #[serde(borrow, default)]
    node_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    service_account_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    hostname: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodStatus<'a> {
    #[serde(borrow, default)]
    phase: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "podIP")]
    pod_ip: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "podIPs")]
    pod_ips: Option<Vec<PodIp<'a>>>,
}

#[derive(Deserialize)]
struct PodIp<'a> {
    #[serde(borrow, default)]
    ip: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize)]
struct Slice<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, default)]
    endpoints: Option<Vec<Endpoint<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow, default)]
    addresses: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    hostname: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    target_ref: Option<TargetRef<'a>>,
    #[serde(default)]
    conditions: Option<Conditions>,
}

#[derive(Deserialize)]
struct TargetRef<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Conditions {
    #[serde(default)]
    ready: Option<bool>,
}

/// An object of this kind.
///
/// # Errors
/// The event that says that it cannot be read, with its name and UID if at least those can.
pub fn object(kind: Kind, json: &str, wanted: &WantedMetadata) -> Result<Object, Box<Event>> {
    let decoded = match kind {
        Kind::Pod => serde_json::from_str(json).map(|p| Object::Pod(pod(p, wanted))),
        Kind::Node => serde_json::from_str(json).map(|n| Object::Node(node(n, wanted))),
        Kind::EndpointSlice => serde_json::from_str(json).map(|s| Object::EndpointSlice(slice(s))),
        Kind::SpiffeId => spiffe_id::snapshot(json).map(|s| Object::SpiffeId(Box::new(s))),
    };
    decoded.map_err(|error| Box::new(undecodable(kind, json, &error)))
}

fn undecodable(kind: Kind, json: &str, error: &serde_json::Error) -> Event {
    #[derive(Deserialize)]
    struct Any {
        metadata: BTreeMap<String, serde_json::Value>,
    }
    let metadata = serde_json::from_str::<Any>(json)
        .map(|a| a.metadata)
        .unwrap_or_default();
    let text = |key: &str| {
        metadata
            .get(key)
            .and_then(|v| v.as_str())
            .filter(|s| !s.is_empty())
    };
    let namespace = if kind == Kind::Node {
        Some("")
    } else {
        text("namespace")
    };
    let key = namespace
        .zip(text("name"))
        .map(|(ns, name)| ObjectKey::new(kind, ns, name));
    Event::Undecodable {
        kind,
        key,
        uid: text("uid").map(Uid::new),
        why: error.to_string().into(),
    }
}

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn some(text: Option<Cow<'_, str>>) -> Option<Arc<str>> {
    text.filter(|t| !t.is_empty()).map(|t| arc(&t))
}

fn kept(pairs: Option<&Pairs<'_>>, keys: &std::collections::BTreeSet<Arc<str>>) -> Metadata {
    let Some(pairs) = pairs else {
        return Metadata::new();
    };
    keys.iter()
        .filter_map(|k| pairs.get(&**k).map(|v| (k.clone(), arc(v))))
        .collect()
}

fn pod(pod: Pod<'_>, wanted: &WantedMetadata) -> PodSnapshot {
    let Pod {
        metadata,
        spec,
        status,
    } = pod;
    let spec = spec.unwrap_or_default();
    let status = status.unwrap_or_default();
    let mut pod_ips: Vec<Box<str>> = Vec::new();
    if wanted.addresses {
        let listed = status.pod_ips.into_iter().flatten().filter_map(|ip| ip.ip);
        for ip in status
            .pod_ip
            .into_iter()
            .chain(listed)
            .filter(|ip| !ip.is_empty())
        {
            if !pod_ips.iter().any(|known| **known == *ip) {
                pod_ips.push((*ip).into());
            }
        }
    }
    PodSnapshot {
        mirror: metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.contains_key(MIRROR)),
        labels: kept(metadata.labels.as_ref(), &wanted.labels),
        annotations: kept(metadata.annotations.as_ref(), &wanted.annotations),
        terminating: metadata.deletion_timestamp.is_some(),
        namespace: arc(&metadata.namespace),
        name: arc(&metadata.name),
        uid: Uid(arc(&metadata.uid)),
        node_name: some(spec.node_name),
        service_account: some(spec.service_account_name),
        hostname: some(spec.hostname),
        pod_ips: pod_ips.into(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    }
}

fn node(node: Node<'_>, wanted: &WantedMetadata) -> NodeSnapshot {
    NodeSnapshot {
        name: arc(&node.metadata.name),
        uid: Uid(arc(&node.metadata.uid)),
        annotations: kept(node.metadata.annotations.as_ref(), &wanted.annotations),
    }
}

fn slice(slice: Slice<'_>) -> EndpointsSnapshot {
    let namespace = arc(&slice.metadata.namespace);
    let service = slice
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(SERVICE_NAME));
    let endpoints = slice
        .endpoints
        .into_iter()
        .flatten()
        .filter_map(|endpoint| {
            let target = endpoint
                .target_ref
                .filter(|t| t.kind.as_deref() == Some("Pod"))?;
            Some(EndpointSnapshot {
                address: (**endpoint.addresses?.first()?).into(),
                hostname: endpoint
                    .hostname
                    .filter(|h| !h.is_empty())
                    .map(|h| (*h).into()),
                pod_name: arc(&target.name?),
                pod_namespace: some(target.namespace).unwrap_or_else(|| namespace.clone()),
                ready: endpoint.conditions.and_then(|c| c.ready).unwrap_or(true),
            })
        });
    EndpointsSnapshot {
        endpoints: endpoints.collect(),
        service: service.map(|s| arc(s)),
        name: arc(&slice.metadata.name),
        namespace,
    }
}
