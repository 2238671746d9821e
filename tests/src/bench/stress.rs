//! Rows under stress: comparisons, a change of all entries, a storm of pods against a slow server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    bare::Shape,
    ground::{Ground, Mode},
    numbers::Samples,
    probe,
    report::{Figure, Report},
};
use crate::{
    Registrar, eventually,
    relay::{Record, Relay},
};

/// Pods a second of the series that are disturbed, how many pods each has, and how many there are: SPIRE reads its tables anew
/// every five seconds, and how that falls together with what disturbs is chance.
pub(super) const RATE: f64 = 20.0;
pub(super) const COUNT: usize = 200;
const TURNS: usize = 3;
/// As the registrar updates: one of four calls, and no more of them in it than take a quarter of the time of a batch.
const UPDATES: Shape = Shape {
    batch: 50,
    in_flight: 1,
};
/// The storm.
const STORM: usize = 5_000;
const STORM_TIME: Duration = Duration::from_secs(20);
const SLOWED_BY: u64 = 50;

/// A new pod's latency while all entries are compared again and again, and while all of them change.
///
/// # Errors
/// If a pod gets no entry.
pub async fn disturbances(
    ground: &mut Ground,
    mut registrar: Registrar,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pods = ground.pods;
    let quiet = ground.others_p99().await?;
    registrar.process.kill();
    let mut busy = ground.registrar("drift_interval = \"1s\"")?;
    ground.ready(&mut busy).await?;
    let compared = ground.others_p99().await?;
    report.add(Figure {
        what: "p99 of a new pod while all entries are compared, beside quiet".into(),
        pods,
        unit: "times".into(),
        value: compared / quiet,
        beside: format!(
            "p99 {compared:.1} ms, quiet {quiet:.1} ms; every second {pods} entries compared"
        ),
        target: "<= 3 times".into(),
        met: compared <= 3.0 * quiet,
    });
    busy.process.kill();
    let (mut changed, mut took) = (Samples::default(), Samples::default());
    for hours in 2..2 + TURNS {
        let (seen, seconds) = ground.all_updated(hours).await?;
        changed.append(seen);
        took.add(seconds);
    }
    let (changed, took) = (changed.percentile(99.0), took.median());
    // A bare client that updates as many, as the registrar does: what the server has left for a create.
    let count = while_updated(pods);
    let all = ground.bare.update_all(18_000, UPDATES);
    let created = ground.entries(0, count);
    let (all, bare) = tokio::join!(all, ground.bare.single(created, Some(RATE)));
    let (all, bare) = (all?, bare?.percentile(99.0));
    report.add(Figure {
        what: "p99 of a new pod while all entries are updated, beside quiet".into(),
        pods,
        unit: "times".into(),
        value: changed / quiet,
        beside: format!(
            "p99 {changed:.1} ms, quiet {quiet:.1} ms; all updated in {took:.1} s, {TURNS} times; bare RPC beside a bare client \
             that updates {all} entries {bare:.1} ms"
        ),
        target: "<= 3 times".into(),
        met: changed <= 3.0 * quiet,
    });
    Ok(())
}

/// How many pods are made at [`RATE`] while all entries are updated, at about 1,500 a second.
fn while_updated(pods: usize) -> usize {
    (pods as f64 / 1_500.0 * RATE).clamp(20.0, COUNT as f64) as usize
}

impl Ground {
    /// The p99 of new pods at [`RATE`], in milliseconds.
    pub(super) async fn others_p99(&mut self) -> anyhow::Result<f64> {
        let mut seen = Samples::default();
        for _ in 0..TURNS {
            seen.append(self.series(COUNT, Some(RATE)).await?.after_delivery);
        }
        Ok(seen.percentile(99.0))
    }

    /// Lets a registrar that gives certificates so many hours change all entries: the latencies of new pods meanwhile, and how
    /// long it took, in seconds.
    async fn all_updated(&mut self, hours: usize) -> anyhow::Result<(Samples, f64)> {
        let events = self.plane.entry_events()?;
        let mut registrar = self.registrar(&format!("x509_svid_ttl = \"{hours}h\""))?;
        while self.plane.entry_events()? == events {
            registrar.process.must_run()?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let begun = Instant::now();
        let all = async {
            eventually("all are updated", async || {
                match registrar.get("/readyz").await {
                    Ok((200, _)) => Ok(begun.elapsed().as_secs_f64()),
                    other => Err(other),
                }
            })
            .await
        };
        let seen = self.series(while_updated(self.pods), Some(RATE));
        let (seen, took) = tokio::join!(seen, all);
        registrar.process.kill();
        Ok((seen?.after_delivery, took))
    }
}

/// Thousands of pods in seconds, and their end, against a server that answers late.
///
/// # Errors
/// If an entry is missing or stays.
pub async fn storm(report: &mut Report) -> anyhow::Result<()> {
    let mut ground = Ground::start(Mode::Reconcile, 0).await?;
    let (dir, target) = (ground.plane.dir(), ground.plane.spire_socket());
    let relay = Relay::start(dir, "slow", &target, Record::default())?;
    relay.fates().delay(SLOWED_BY);
    let mut registrar = ground.registrar_on(relay.socket(), "")?;
    ground.ready(&mut registrar).await?;
    let process = registrar.process.id().context("the registrar runs")?;
    let over = Arc::new(AtomicBool::new(false));
    let watched = tokio::spawn(most_memory(process, over.clone()));
    let (from, nodes) = (ground.take(STORM), ground.load.nodes());
    let begun = Instant::now();
    stream::iter(0..STORM)
        .map(|n| {
            let load = ground.load.clone();
            let due = begun + STORM_TIME.mul_f64(n as f64 / STORM as f64);
            async move {
                tokio::time::sleep_until(due.into()).await;
                load.pod(from + n).await.map(drop)
            }
        })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await?;
    let created = begun.elapsed();
    ground.until_entries(STORM + nodes, &mut registrar).await?;
    let all = begun.elapsed();
    let order = ground.store.pods_in_order()?;
    let farthest = order
        .iter()
        .enumerate()
        .map(|(at, n)| at.abs_diff(n - from))
        .max();
    let deleted = Instant::now();
    ground.load.delete(from, from + STORM).await?;
    ground.until_left(nodes).await?;
    let gone = deleted.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, Ordering::SeqCst);
    let most = watched.await??;
    let allowed = (15.0 + STORM as f64 / 1024.0) * 1.2;
    report.add(Figure {
        what: "storm against a slow server, most memory".into(),
        pods: STORM,
        unit: "MiB".into(),
        value: most,
        beside: format!(
            "allowed {allowed:.1}; pods made in {:.0} s, all entries after {:.0} s, all gone {:.0} s after the \
             deletes began",
            created.as_secs_f64(),
            all.as_secs_f64(),
            gone.as_secs_f64()
        ),
        target: "<= 120 % of the target at rest".into(),
        met: most <= allowed,
    });
    let farthest = farthest.unwrap_or_default();
    report.add(Figure {
        what: "storm against a slow server, farthest from its place in the order".into(),
        pods: STORM,
        unit: "places".into(),
        value: farthest as f64,
        beside: "four batches of at most 200 are in flight".into(),
        target: "<= 800".into(),
        met: farthest <= 800,
    });
    let left = ground.store.entries()?;
    report.add(Figure {
        what: "storm against a slow server, entries left in the end".into(),
        pods: STORM,
        unit: "beyond the nodes'".into(),
        value: left as f64 - nodes as f64,
        beside: format!("{} of {STORM} were there at the height", order.len()),
        target: "0".into(),
        met: left == nodes && order.len() == STORM,
    });
    Ok(())
}

/// The most resident memory until `over`, in MiB.
async fn most_memory(process: u32, over: Arc<AtomicBool>) -> anyhow::Result<f64> {
    let mut most = 0.0_f64;
    while !over.load(Ordering::SeqCst) {
        most = most.max(probe::memory(process)?.resident);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(most)
}
