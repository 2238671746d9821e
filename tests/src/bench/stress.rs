//! Rows under stress: comparisons, a change of all entries, a storm of pods against a slow server, a hostile neighbour.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    bare::Shape,
    ground::{Ground, Mode},
    load, probe,
    report::{Figure, Report},
};
use crate::{
    PodSpec, Registrar, eventually,
    relay::{Record, Relay},
};

/// Pods a second of the series that are disturbed, and how many pods each has.
const RATE: f64 = 20.0;
const COUNT: usize = 200;
/// As the registrar updates: one of four calls, and no more of them in it than take a quarter of the time of a batch.
const UPDATES: Shape = Shape {
    batch: 50,
    in_flight: 1,
};
/// The storm.
const STORM: usize = 5_000;
const STORM_TIME: Duration = Duration::from_secs(20);
const SLOWED_BY: u64 = 50;
/// The neighbour's pods, the invalid ones among them, and changes a second of each that are tried.
const NOISY: usize = 1_000;
const INVALID: usize = 500;
const CHANGES: usize = 5;

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
    let quiet = ground.series(COUNT, Some(RATE)).await?;
    let quiet = quiet.after_delivery.percentile(99.0);
    registrar.process.kill();
    let mut busy = ground.registrar("drift_interval = \"1s\"")?;
    ground.ready(&mut busy).await?;
    let compared = ground.series(COUNT, Some(RATE)).await?;
    let compared = compared.after_delivery.percentile(99.0);
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
    let events = ground.plane.entry_events()?;
    let mut changing = ground.registrar("x509_svid_ttl = \"2h\"")?;
    while ground.plane.entry_events()? == events {
        changing.process.must_run()?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // As long as the changes take, at about 1,500 a second.
    let count = (pods as f64 / 1_500.0 * RATE).clamp(20.0, COUNT as f64) as usize;
    let begun = Instant::now();
    let all = async {
        eventually("all are updated", async || {
            match changing.get("/readyz").await {
                Ok((200, _)) => Ok(begun.elapsed().as_secs_f64()),
                other => Err(other),
            }
        })
        .await
    };
    let (changed, took) = tokio::join!(ground.series(count, Some(RATE)), all);
    let changed = changed?.after_delivery.percentile(99.0);
    changing.process.kill();
    // A bare client that updates as many, as the registrar does: what the server has left for a create.
    let all = ground.bare.update_all(10_800, UPDATES);
    let created = ground.entries(0, count);
    let (all, bare) = tokio::join!(all, ground.bare.single(created, Some(RATE)));
    let (all, bare) = (all?, bare?.percentile(99.0));
    report.add(Figure {
        what: "p99 of a new pod while all entries are updated, beside quiet".into(),
        pods,
        unit: "times".into(),
        value: changed / quiet,
        beside: format!(
            "p99 {changed:.1} ms, quiet {quiet:.1} ms; all updated in {took:.1} s; bare RPC beside a bare client that \
             updates {all} entries {bare:.1} ms"
        ),
        target: "<= 3 times".into(),
        met: changed <= 3.0 * quiet,
    });
    Ok(())
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

/// A tenant whose pods change all the time and ask for what is illegal; what others notice of it.
///
/// # Errors
/// If a pod gets no entry.
pub async fn neighbour(report: &mut Report) -> anyhow::Result<()> {
    let mut ground = Ground::start(Mode::Reconcile, 1_000).await?;
    let identity = format!("pod_annotation = \"{}\"", load::ANNOTATION);
    let mut registrar = ground.registrar(&identity)?;
    ground.ready(&mut registrar).await?;
    let quiet = ground.series(COUNT, Some(RATE)).await?;
    let quiet = quiet.after_delivery.percentile(99.0);
    let name = |n: usize| format!("noisy-{n:04}");
    let value = |n: usize, turn: usize| match n < INVALID {
        true => format!("not//legal-{turn}"),
        false => format!("noisy/{}", turn % 2),
    };
    stream::iter(0..NOISY)
        .map(|n| {
            let pod = PodSpec::new("bench-1", &name(n))
                .node_named("node-1")
                .annotation(load::ANNOTATION, &value(n, 0));
            let cluster = ground.cluster.clone();
            async move { cluster.pod(&pod).await.map(drop) }
        })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await?;
    ground.pods += NOISY - INVALID;
    let settled = ground.pods + ground.load.nodes();
    ground.until_entries(settled, &mut registrar).await?;
    let lines = registrar.process.log().lines().count();
    let (over, changes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicUsize>::default(),
    );
    let begun = Instant::now();
    let noise = {
        let (over, changes, cluster) = (over.clone(), changes.clone(), ground.cluster.clone());
        tokio::spawn(async move {
            let each = Duration::from_secs_f64(1.0 / (NOISY * CHANGES) as f64);
            stream::iter(0..)
                .take_while(|_| std::future::ready(!over.load(Ordering::Relaxed)))
                .map(|at: u32| {
                    let (n, turn) = (at as usize % NOISY, at as usize / NOISY + 1);
                    let (cluster, changes) = (cluster.clone(), changes.clone());
                    async move {
                        tokio::time::sleep_until((begun + each * at).into()).await;
                        let value = value(n, turn);
                        let name = name(n);
                        changes.fetch_add(1, Ordering::Relaxed);
                        cluster
                            .annotate("bench-1", &name, load::ANNOTATION, Some(&value))
                            .await
                    }
                })
                .buffer_unordered(16)
                .try_for_each(|()| std::future::ready(Ok(())))
                .await
        })
    };
    // The bare client beside the same noise: what the machine has left.
    let bare = ground
        .bare
        .single(ground.entries(0, COUNT), Some(RATE))
        .await?;
    let noisy = ground.series(COUNT, Some(RATE)).await?;
    over.store(true, Ordering::Relaxed);
    noise.await??;
    let took = begun.elapsed().as_secs_f64();
    let noisy = noisy.after_delivery.percentile(99.0);
    let rate = changes.load(Ordering::Relaxed) as f64 / took;
    report.add(Figure {
        what: "hostile neighbour, p99 of others' new pods beside quiet".into(),
        pods: ground.pods,
        unit: "times".into(),
        value: noisy / quiet,
        beside: format!(
            "p99 {noisy:.1} ms, quiet {quiet:.1} ms, bare RPC beside the same noise {:.1} ms; {rate:.0} changes a \
             second of {NOISY} pods, {INVALID} of them invalid",
            bare.percentile(99.0)
        ),
        target: "<= 3 times".into(),
        met: noisy <= 3.0 * quiet,
    });
    let log = registrar.process.log();
    let per_second = (log.lines().count() - lines) as f64 / took;
    let held = log
        .lines()
        .skip(lines)
        .filter(|l| l.contains("not//legal"))
        .count();
    let events = ground.cluster.events("bench-1", &name(0)).await?.len();
    report.add(Figure {
        what: "hostile neighbour, log lines about what is invalid".into(),
        pods: ground.pods,
        unit: "a second".into(),
        value: held as f64 / took,
        beside: format!(
            "{per_second:.0} lines a second in all; {events} Events about one invalid pod"
        ),
        target: "<= 10, Events <= 10 a pod".into(),
        met: held as f64 <= 10.0 * took && events <= 10,
    });
    Ok(())
}
