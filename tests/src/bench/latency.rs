//! From a pod that the API server has accepted to its entry in the SPIRE Server's database.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};

use super::{
    bare::Bare,
    ground::Mode,
    load::{self, Load},
    numbers::Samples,
    store::Arrivals,
};
use crate::{Cluster, PodSpec, entries::Entry};

const PATIENCE: Duration = Duration::from_secs(60);
/// Where pods are made that are bound nowhere.
const NAMESPACE: &str = "bench-0";

/// A watch of our own: when the API server delivers each new pod to anyone who watches.
pub struct Deliveries {
    seen: Arc<Mutex<BTreeMap<String, Instant>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Deliveries {
    /// Begins to watch all pods.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn watch(client: Client) -> anyhow::Result<Self> {
        let api: Api<Pod> = Api::all(client);
        let list = api.list_metadata(&ListParams::default().limit(1)).await?;
        let version = list.metadata.resource_version.context("a version")?;
        let seen: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let into = seen.clone();
        let mut stream = api
            .watch_metadata(&WatchParams::default(), &version)
            .await?
            .boxed();
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                if let WatchEvent::Added(pod) = event {
                    let now = Instant::now();
                    let mut seen = into.lock().expect("not poisoned");
                    seen.entry(pod.name_any()).or_insert(now);
                }
            }
        });
        Ok(Self { seen, task })
    }

    fn at(&self, name: &str) -> Option<Instant> {
        self.seen.lock().expect("not poisoned").get(name).copied()
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What one series of pods showed, in milliseconds.
#[derive(Debug, Default)]
pub struct Latency {
    /// From the API server's answer to the entry.
    pub whole: Samples,
    /// From the API server's answer to the delivery on a watch of ours.
    pub delivery: Samples,
    /// From that delivery to the entry: what the registrar and the SPIRE Server take.
    pub after_delivery: Samples,
}

async fn both(
    name: &str,
    selector: &str,
    arrivals: &Arrivals,
    deliveries: &Deliveries,
) -> anyhow::Result<(Instant, Instant)> {
    let begun = Instant::now();
    loop {
        if let (Some(stored), Some(delivered)) = (arrivals.at(selector), deliveries.at(name)) {
            return Ok((stored, delivered));
        }
        if begun.elapsed() > PATIENCE {
            bail!("{name} has no entry after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The bare creates that pods made one after the other are compared with, in the same rhythm: a pod that is bound nowhere is
/// made, so that nobody else does anything for it, and once it is delivered an entry. Without a pause, one entry after the
/// other finds the server and the machine warm, as no new pod does.
///
/// # Errors
/// If a pod or an entry cannot be made.
pub async fn bare(cluster: &Cluster, bare: &Bare, entries: Vec<Entry>) -> anyhow::Result<Samples> {
    let deliveries = Deliveries::watch(cluster.client()).await?;
    let mut samples = Samples::default();
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    for (n, entry) in entries.into_iter().enumerate() {
        let name = format!("alone-{n:06}");
        let pod = PodSpec::new(NAMESPACE, &name).node(None);
        cluster.pod(&pod).await?;
        let begun = Instant::now();
        while deliveries.at(&name).is_none() {
            ensure!(begun.elapsed() < PATIENCE, "{name} is not delivered");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let due = Instant::now();
        ids.extend(bare.create_batch(vec![entry]).await?);
        samples.add_ms(due.elapsed());
        names.push(name);
    }
    bare.delete(&ids).await?;
    for name in names {
        cluster.delete_pod(NAMESPACE, &name).await?;
    }
    Ok(samples)
}

/// Makes pods number `from` to `to`, one after the other without a rate, or at this rate whatever happens.
///
/// # Errors
/// If one of them gets no entry.
pub async fn measure(
    cluster: &Cluster,
    load: &Load,
    database: &Path,
    mode: Mode,
    (from, to): (usize, usize),
    rate: Option<f64>,
) -> anyhow::Result<Latency> {
    let arrivals = Arrivals::watch(database)?;
    let deliveries = Deliveries::watch(cluster.client()).await?;
    let mut latency = Latency::default();
    let mut note = |answered: Instant, stored: Instant, delivered: Instant| {
        latency
            .whole
            .add_ms(stored.saturating_duration_since(answered));
        latency
            .delivery
            .add_ms(delivered.saturating_duration_since(answered));
        latency
            .after_delivery
            .add_ms(stored.saturating_duration_since(delivered));
    };
    let Some(rate) = rate else {
        for n in from..to {
            let (answered, uid) = load.pod(n).await?;
            let name = load::pod_name(n);
            let selector = mode.selector(&name, &uid);
            let (stored, delivered) = both(&name, &selector, &arrivals, &deliveries).await?;
            note(answered, stored, delivered);
        }
        return Ok(latency);
    };
    let begun = Instant::now();
    let made: Vec<_> = (from..to)
        .map(|n| {
            let due = begun + Duration::from_secs_f64((n - from) as f64 / rate);
            let load = load.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                anyhow::Ok((n, load.pod(n).await?))
            })
        })
        .collect();
    for one in made {
        let (n, (answered, uid)) = one.await??;
        let name = load::pod_name(n);
        let selector = mode.selector(&name, &uid);
        let (stored, delivered) = both(&name, &selector, &arrivals, &deliveries).await?;
        note(answered, stored, delivered);
    }
    Ok(latency)
}
