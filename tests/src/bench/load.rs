//! The cluster that the registrar is measured on: N pods spread over nodes and namespaces, of which there are a hundred and
//! twenty for each ten thousand pods, and for fewer as well. So a node has as many pods as one can have, and a namespace 500:
//! SPIRE searches all entries that share a selector or a SPIFFE ID with a new one, and with thousands of them in each of 20
//! namespaces even a bare client makes 30 entries a second.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{Cluster, PodSpec};

/// For so many pods there are nodes and namespaces once more.
const BLOCK: usize = 10_000;
/// Nodes of a block.
const NODES: usize = 100;
/// Namespaces of a block.
const NAMESPACES: usize = 20;
/// Requests in flight while loading.
const IN_FLIGHT: usize = 64;

/// An annotation that all pods have; rows whose registrar takes the identity from one name it.
pub const ANNOTATION: &str = "bench.example.org/id";

/// What is made in one cluster for so many pods.
#[derive(Clone)]
pub struct Load {
    cluster: Cluster,
    blocks: usize,
}

impl Load {
    /// For `pods` pods, and those of the series beside them.
    pub fn new(cluster: &Cluster, pods: usize) -> Self {
        Self {
            cluster: cluster.clone(),
            blocks: pods.div_ceil(BLOCK).max(1),
        }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.blocks * NODES
    }

    /// The names of the namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.blocks * NAMESPACES).map(|n| format!("bench-{n}"))
    }

    /// Where pod number `n` lives: namespace, name, node.
    pub fn place(&self, n: usize) -> (String, String, String) {
        (
            format!("bench-{}", n % (self.blocks * NAMESPACES)),
            pod_name(n),
            format!("node-{}", n % self.nodes()),
        )
    }

    fn spec(&self, n: usize) -> PodSpec {
        let (namespace, name, node) = self.place(n);
        PodSpec::new(&namespace, &name)
            .node_named(&node)
            .annotation(ANNOTATION, "team/a")
    }

    /// Makes nodes and namespaces.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn ground(&self) -> anyhow::Result<()> {
        for n in 0..self.nodes() {
            self.cluster.node(&format!("node-{n}")).await?;
        }
        for name in self.namespaces() {
            self.cluster.namespace(&name).await?;
        }
        Ok(())
    }

    /// Makes pods number `from` to `to`; how long it took.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pods(&self, from: usize, to: usize) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        stream::iter(from..to)
            .map(|n| async move { self.cluster.pod(&self.spec(n)).await.map(drop) })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(begun.elapsed())
    }

    /// Makes one pod; when the API server answered, and the pod's UID.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod(&self, n: usize) -> anyhow::Result<(Instant, String)> {
        let uid = self.cluster.pod(&self.spec(n)).await?;
        Ok((Instant::now(), uid))
    }

    /// Deletes pods number `from` to `to`.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete(&self, from: usize, to: usize) -> anyhow::Result<()> {
        stream::iter(from..to)
            .map(|n| async move {
                let (namespace, name, _) = self.place(n);
                self.cluster.delete_pod(&namespace, &name).await
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await
    }
}

/// What pod number `n` is called.
pub fn pod_name(n: usize) -> String {
    format!("pod-{n:06}")
}

/// Makes `count` pods that are bound to no node, at this rate: the load on the API server that bound pods are, without
/// anything for a registrar to do; then deletes them.
///
/// # Errors
/// As the API server says.
pub async fn unbound(cluster: &Cluster, count: usize, rate: f64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let name = |n: usize| format!("unbound-{n:06}");
    stream::iter(0..count)
        .map(|n| async move {
            let due = begun + Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
            cluster
                .pod(&PodSpec::new("bench-0", &name(n)).node(None))
                .await
        })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    stream::iter(0..count)
        .map(|n| async move { cluster.delete_pod("bench-0", &name(n)).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await
}
