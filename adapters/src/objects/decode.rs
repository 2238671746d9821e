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
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{pairs::Pairs, spiffe_id, told};

/// Marks the API's image of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
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
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Conditions {
    #[serde(default)]
    ready: Option<bool>,
}

/// What is there although the text does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// Nothing: an object of the API has a UID, and a namespaced one its namespace.
    IsAnError,
    /// What the API server would fill in, and a UID that says that it is none.
    StandsIn,
}

/// An object of this kind, as the API has it.
///
/// # Errors
/// The event that says that it cannot be read, with its name and UID if at least those can.
pub fn object(kind: Kind, json: &str, wanted: &WantedMetadata) -> Result<Object, Box<Event>> {
    let mut decoder = serde_json::Deserializer::from_str(json);
    let decoded = match kind {
        Kind::SpiffeId => spiffe_id::snapshot(json).map(|s| Object::SpiffeId(Box::new(s))),
        _ => decoded(kind, &mut decoder, wanted, Absent::IsAnError)
            .and_then(|object| decoder.end().map(|()| object)),
    };
    decoded.map_err(|error| Box::new(undecodable(kind, json, &error)))
}

/// An object of this kind, as a manifest has it: without a UID, a stand-in (see [`stands_in`]); without a namespace,
/// `default`; a pod without a service account has `default`, as the API server would have it.
///
/// # Errors
/// As the format says.
pub fn manifest<'de, D: Deserializer<'de>>(
    kind: Kind,
    decoder: D,
    wanted: &WantedMetadata,
) -> Result<Object, D::Error> {
    decoded(kind, decoder, wanted, Absent::StandsIn)
}

/// Whether a UID is one that [`manifest`] made up.
pub fn stands_in(uid: &Uid) -> bool {
    uid.as_str().starts_with(STAND_IN)
}

/// What made-up UIDs begin with.
const STAND_IN: &str = "uid-of-";

fn decoded<'de, D: Deserializer<'de>>(
    kind: Kind,
    decoder: D,
    wanted: &WantedMetadata,
    absent: Absent,
) -> Result<Object, D::Error> {
    Ok(match kind {
        Kind::Pod => {
            let mut pod = Pod::deserialize(decoder)?;
            pod.metadata.complete(kind, absent)?;
            if absent == Absent::StandsIn {
                pod.complete();
            }
            Object::Pod(self::pod(pod, wanted))
        }
        Kind::Node => {
            let mut node = Node::deserialize(decoder)?;
            node.metadata.complete(kind, absent)?;
            Object::Node(self::node(node, wanted))
        }
        Kind::EndpointSlice => {
            let mut slice = Slice::deserialize(decoder)?;
            slice.metadata.complete(kind, absent)?;
            Object::EndpointSlice(self::slice(slice, wanted))
        }
        Kind::SpiffeId => {
            // What its author wrote may be anything, and is looked at part by part.
            let whole = serde_json::Value::deserialize(decoder)?;
            let snapshot = spiffe_id::snapshot(&whole.to_string()).map_err(D::Error::custom)?;
            Object::SpiffeId(Box::new(snapshot))
        }
    })
}

impl Meta<'_> {
    fn complete<E: serde::de::Error>(&mut self, kind: Kind, absent: Absent) -> Result<(), E> {
        if absent == Absent::StandsIn {
            if self.name.is_empty() {
                return Err(E::custom("metadata.name is empty"));
            }
            if kind != Kind::Node && self.namespace.is_empty() {
                self.namespace = Cow::Borrowed("default");
            }
        }
        if self.uid.as_deref().is_some_and(|uid| !uid.is_empty()) {
            return Ok(());
        }
        match absent {
            Absent::IsAnError => Err(E::missing_field("uid")),
            Absent::StandsIn => {
                let name = match &*self.namespace {
                    "" => self.name.to_string(),
                    namespace => format!("{namespace}.{}", self.name),
                };
                self.uid = Some(Cow::Owned(format!("{STAND_IN}{name}")));
                Ok(())
            }
        }
    }

    fn uid(&self) -> Uid {
        Uid::new(self.uid.as_deref().unwrap_or_default())
    }
}

impl Pod<'_> {
    /// What the API server fills in. A mirror pod has no service account.
    fn complete(&mut self) {
        let mirror = self
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.get(MIRROR).is_some());
        let spec = self.spec.get_or_insert_default();
        let named = spec.service_account_name.as_deref();
        if !mirror && named.is_none_or(str::is_empty) {
            spec.service_account_name = Some(Cow::Borrowed("default"));
        }
    }
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
        why: told(error).into(),
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
        .filter_map(|k| pairs.get(k).map(|v| (k.clone(), arc(v))))
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
            .is_some_and(|a| a.get(MIRROR).is_some()),
        labels: kept(metadata.labels.as_ref(), &wanted.labels),
        annotations: kept(metadata.annotations.as_ref(), &wanted.annotations),
        terminating: metadata.deletion_timestamp.is_some(),
        namespace: arc(&metadata.namespace),
        name: arc(&metadata.name),
        uid: metadata.uid(),
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
        uid: node.metadata.uid(),
        annotations: kept(node.metadata.annotations.as_ref(), &wanted.annotations),
    }
}

fn slice(slice: Slice<'_>, wanted: &WantedMetadata) -> EndpointsSnapshot {
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
                pod_uid: some(target.uid).filter(|_| wanted.endpoint_uids).map(Uid),
                ready: endpoint.conditions.and_then(|c| c.ready).unwrap_or(true),
            })
        });
    EndpointsSnapshot {
        endpoints: endpoints.collect(),
        service: service.map(arc),
        name: arc(&slice.metadata.name),
        namespace,
    }
}
