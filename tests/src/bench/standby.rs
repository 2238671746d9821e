//! Taking over: how soon a replica that stood by writes once the Lease is its own.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::{
    ground::Ground,
    load,
    report::{Figure, Report},
    store::Arrivals,
};
use crate::Registrar;

const LEASE: &str = "spire-k8s-registrar-leader-election";
const NAMESPACE: &str = "bench-0";

/// Kills the leader of two replicas and makes a pod; the other's first write beside a bare create.
///
/// # Errors
/// If nobody takes over.
pub async fn take_over(
    ground: &mut Ground,
    mut alone: Registrar,
    report: &mut Report,
) -> anyhow::Result<()> {
    alone.process.kill();
    let bare = ground.bare.single(ground.entries(0, 50), None).await?;
    let elected = format!("leader_election = true\nnamespace = \"{NAMESPACE}\"");
    let mut leader = ground.registrar(&elected)?;
    ground.ready(&mut leader).await?;
    let mut standby = ground.registrar(&elected)?;
    ground.ready(&mut standby).await?;
    let leases: Api<Lease> = Api::namespaced(ground.cluster.client(), NAMESPACE);
    let holder = async || {
        let lease = leases.get(LEASE).await?;
        anyhow::Ok(
            lease
                .spec
                .and_then(|s| s.holder_identity)
                .unwrap_or_default(),
        )
    };
    let first = holder().await?;
    leader.process.kill();
    let killed = Instant::now();
    let arrivals = Arrivals::watch(ground.database())?;
    let from = ground.take(1);
    ground.load.pod(from).await?;
    let selector = format!("pod-name:{}", load::pod_name(from));
    let mut taken = None;
    let stored = loop {
        if taken.is_none() && holder().await? != first {
            taken = Some(Instant::now());
        }
        if let Some(stored) = arrivals.at(&selector) {
            break stored;
        }
        standby.process.must_run()?;
        if killed.elapsed() > Duration::from_secs(60) {
            bail!("nobody took over");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let after = taken.map_or(Duration::ZERO, |t| stored.saturating_duration_since(t));
    let after = after.as_secs_f64() * 1000.0;
    report.add(Figure {
        what: "a standby's first write after it took the Lease".into(),
        pods: ground.pods,
        unit: "ms".into(),
        value: after,
        beside: format!(
            "bare RPC p50 {:.1} ms; {:.1} s after the leader was killed, most of it the Lease's own time",
            bare.median(),
            stored.saturating_duration_since(killed).as_secs_f64()
        ),
        target: "<= 1000 ms".into(),
        met: after <= 1000.0,
    });
    ground.forget(from, from + 1).await
}
