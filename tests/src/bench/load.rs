//! The cluster that the registrar is measured on: 100 nodes, 20 namespaces, N pods spread over both.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{Cluster, PodSpec};

/// Nodes.
pub const NODES: usize = 100;
/// Namespaces.
pub const NAMESPACES: usize = 20;
/// Requests in flight while loading.
const IN_FLIGHT: usize = 64;

/// Where pod number `n` lives: namespace, name, node.
pub fn place(n: usize) -> (String, String, String) {
    (
        format!("bench-{}", n % NAMESPACES),
        format!("pod-{n:06}"),
        format!("node-{}", n % NODES),
    )
}

/// An annotation that all pods have; rows whose registrar takes the identity from one name it.
pub const ANNOTATION: &str = "bench.example.org/id";

fn spec(n: usize) -> PodSpec {
    let (namespace, name, node) = place(n);
    PodSpec::new(&namespace, &name)
        .node_named(&node)
        .annotation(ANNOTATION, "team/a")
}

/// Makes nodes and namespaces.
///
/// # Errors
/// As the API server says.
pub async fn ground(cluster: &Cluster) -> anyhow::Result<()> {
    for n in 0..NODES {
        cluster.node(&format!("node-{n}")).await?;
    }
    for n in 0..NAMESPACES {
        cluster.namespace(&format!("bench-{n}")).await?;
    }
    Ok(())
}

/// Makes pods number `from` to `to`; how long it took.
///
/// # Errors
/// As the API server says.
pub async fn pods(cluster: &Cluster, from: usize, to: usize) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    stream::iter(from..to)
        .map(|n| async move { cluster.pod(&spec(n)).await.map(drop) })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

/// Makes one pod; when the API server answered, and the pod's UID.
///
/// # Errors
/// As the API server says.
pub async fn pod(cluster: &Cluster, n: usize) -> anyhow::Result<(Instant, String)> {
    let uid = cluster.pod(&spec(n)).await?;
    Ok((Instant::now(), uid))
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

/// Deletes pods number `from` to `to`.
///
/// # Errors
/// As the API server says.
pub async fn delete(cluster: &Cluster, from: usize, to: usize) -> anyhow::Result<()> {
    stream::iter(from..to)
        .map(|n| async move {
            let (namespace, name, _) = place(n);
            cluster.delete_pod(&namespace, &name).await
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await
}
