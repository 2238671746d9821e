//! Which entries should be there: worked out from the API server's objects alone, without a line of the registrar's code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{
    ANNOTATION, NAMESPACE,
    mode::{Mode, PodFacts},
};
use crate::{
    Entries, SpiffeIds,
    entries::{Entry, line},
    spiffe_ids,
};

/// A pod that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Of the object.
    pub uid: String,
    /// Its entry in one line; `None` if it gets none.
    pub line: Option<String>,
}

/// The pods that live, by name.
///
/// # Errors
/// As the API server says.
pub async fn pods(client: &Client, mode: Mode) -> anyhow::Result<BTreeMap<String, Living>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = api.list(&ListParams::default()).await?;
    let living = pods.into_iter().map(|pod| {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let path = pod.annotations().get(ANNOTATION);
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let line = node.zip(path).map(|(node, path)| {
            mode.of_pod(PodFacts {
                name: &name,
                uid: &uid,
                node: &node,
                path,
            })
        });
        (name, Living { uid, line })
    });
    Ok(living.collect())
}

async fn nodes(client: &Client, mode: Mode) -> anyhow::Result<Vec<String>> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let named = nodes
        .into_iter()
        .map(|node| (node.name_any(), node.uid().unwrap_or_default()));
    Ok(mode.of_nodes(&named.collect::<Vec<_>>()))
}

/// Whether exactly the right entries are there; how many.
///
/// # Errors
/// If they are not, or cannot be read.
pub async fn is_right(client: &Client, entries: &Entries, mode: Mode) -> anyhow::Result<usize> {
    let mut wanted: Vec<String> = nodes(client, mode).await?;
    let pods = pods(client, mode).await?;
    wanted.extend(pods.into_values().filter_map(|p| p.line));
    wanted.sort();
    let ours: Vec<Entry> = entries
        .under(mode.root())
        .await?
        .into_iter()
        .filter(|e| !e.id.starts_with("foreign"))
        .collect();
    if let Some(odd) = ours.iter().find(|e| !is_plain(e)) {
        bail!("an entry has what no pod asked for: {odd:?}");
    }
    let mut found: Vec<String> = ours.iter().map(sorted_line).collect();
    found.sort();
    if found != wanted {
        let (a, b): (BTreeSet<_>, BTreeSet<_>) = (wanted.iter().collect(), found.iter().collect());
        let some = |x: &BTreeSet<&String>, y: &BTreeSet<&String>| -> Vec<String> {
            x.difference(y).take(5).map(|l| (*l).clone()).collect()
        };
        let left = match mode {
            Mode::Crd => left(client).await?,
            Mode::Reconcile | Mode::Webhook => String::new(),
        };
        bail!(
            "{} wanted, {} found; missing {:#?}; too many {:#?}{left}",
            wanted.len(),
            found.len(),
            some(&a, &b),
            some(&b, &a)
        );
    }
    if mode == Mode::Crd {
        say_so(client, &ours).await?;
    }
    Ok(found.len())
}

/// The SpiffeIDs that are there although their pods are gone: either nobody has deleted them, or their finalizer has not left.
async fn left(client: &Client) -> anyhow::Result<String> {
    let living = pods(client, Mode::Crd).await?;
    let uids: BTreeSet<String> = living.into_values().map(|pod| pod.uid).collect();
    let all = SpiffeIds::new(client.clone()).list(NAMESPACE).await;
    let all = all.map_err(anyhow::Error::msg)?;
    let mut left = String::new();
    for resource in &all {
        let metadata = &resource["metadata"];
        let owner = metadata["ownerReferences"][0]["uid"].as_str();
        let of_pod = metadata["labels"]["podUid"].is_string();
        if of_pod && !owner.is_some_and(|uid| uids.contains(uid)) {
            left += &format!("\nits pod is gone: {metadata}");
        }
    }
    Ok(left)
}

/// Each entry is the one that exactly one SpiffeID names as its own.
async fn say_so(client: &Client, entries: &[Entry]) -> anyhow::Result<()> {
    let all = SpiffeIds::new(client.clone()).list(NAMESPACE).await;
    let all = all.map_err(anyhow::Error::msg)?;
    let mut named = Vec::new();
    for resource in &all {
        let name = &resource["metadata"]["name"];
        let standing = spiffe_ids::registered(resource);
        let is_well = standing.as_ref().is_some_and(|(s, _, _)| s == "True");
        ensure!(is_well, "SpiffeID {name} says {standing:?}");
        named.extend(resource["status"]["entryId"].as_str());
    }
    named.sort_unstable();
    let mut ids: Vec<&str> = entries.iter().map(|e| &*e.id).collect();
    ids.sort_unstable();
    ensure!(
        named == ids,
        "{} SpiffeIDs name other entries than the {} that there are",
        named.len(),
        ids.len()
    );
    Ok(())
}

/// [`line()`] with its selectors sorted.
pub fn sorted_line(entry: &Entry) -> String {
    let mut entry = entry.clone();
    let selector = |s: &crate::entries::Selector| (s.r#type.clone(), s.value.clone());
    entry.selectors.sort_by_key(selector);
    line(&entry)
}

/// Whether it has nothing but parent, ID and selectors.
fn is_plain(entry: &Entry) -> bool {
    entry.x509_svid_ttl == 0
        && entry.jwt_svid_ttl == 0
        && entry.federates_with.is_empty()
        && entry.dns_names.is_empty()
        && entry.hint.is_empty()
        && entry.expires_at == 0
        && !entry.admin
        && !entry.downstream
        && !entry.store_svid
}
