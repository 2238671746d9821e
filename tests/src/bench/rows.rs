//! The rows of the benchmark for one number of pods, in reconcile mode.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    bare::{Bare, best_shape, pod_entry},
    latency, load,
    numbers::Samples,
    probe,
    report::{Figure, Report},
    store::Store,
};
use crate::{Cluster, ControlPlane, Options, Registrar};

/// Pods of a series made one after the other.
const SERIES: usize = 200;
/// Seconds of a series at a rate.
const RATE_SECONDS: f64 = 10.0;
/// Rest before anything at rest is measured, and how long it is measured for.
const SETTLE: Duration = Duration::from_secs(15);
const REST: Duration = Duration::from_secs(30);

/// One control plane with its pods.
pub struct Ground {
    plane: ControlPlane,
    cluster: Cluster,
    bare: Bare,
    store: Store,
    database: PathBuf,
    pods: usize,
    /// Numbers of pods and entries that were not used yet.
    next: usize,
}

impl Ground {
    /// Starts one with nodes, namespaces and `pods` pods; no registrar yet.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(pods: usize) -> anyhow::Result<Self> {
        let plane = ControlPlane::start(Options {
            controller_manager: false,
            ..Options::default()
        })
        .await?;
        let cluster = plane.cluster().await?;
        load::ground(&cluster).await?;
        let took = load::pods(&cluster, 0, pods).await?;
        println!("   {pods} pods loaded in {:.1} s", took.as_secs_f64());
        let database = plane.dir().join("spire/db.sqlite3");
        Ok(Self {
            bare: Bare::new(&plane.spire_socket())?,
            store: Store::open(&database)?,
            database,
            plane,
            cluster,
            pods,
            next: pods,
        })
    }

    fn entries(&self, from: usize, to: usize) -> Vec<crate::entries::Entry> {
        (from..to)
            .map(|n| {
                let (namespace, name, node) = load::place(n);
                pod_entry(&namespace, &format!("bare-{name}"), &node)
            })
            .collect()
    }

    async fn until_entries(
        &self,
        count: usize,
        registrar: &mut Registrar,
    ) -> anyhow::Result<Instant> {
        loop {
            let found = self.store.entries()?;
            if found >= count {
                return Ok(Instant::now());
            }
            registrar
                .process
                .must_run()
                .with_context(|| format!("{found} of {count} entries"))?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn registrar(&self, extra: &str) -> anyhow::Result<Registrar> {
        // Logs as an operator has them; debug lines would be measured too.
        Registrar::start(
            &self.plane,
            "bench",
            &format!("log_level = \"info\"\n{extra}"),
        )
    }

    /// Cold sync: from the start of the program to the last entry, beside a bare client.
    ///
    /// # Errors
    /// If something fails.
    pub async fn cold_sync(&self, report: &mut Report) -> anyhow::Result<Registrar> {
        let some = |n: usize| self.entries(0, n);
        let (shape, _) = best_shape(&self.bare, some).await?;
        let (ids, bare) = self.bare.create(self.entries(0, self.pods), shape).await?;
        self.bare.delete(&ids).await?;
        let begun = Instant::now();
        let mut registrar = self.registrar("")?;
        let wanted = self.pods + load::NODES;
        let done = self.until_entries(wanted, &mut registrar).await?;
        let ours = done - begun;
        // The registrar also makes the nodes' entries: per entry, both did the same work.
        let bare_rate = self.pods as f64 / bare.as_secs_f64();
        let our_rate = wanted as f64 / ours.as_secs_f64();
        report.add(Figure {
            what: "cold sync, share of a bare client",
            pods: self.pods,
            unit: "%",
            value: our_rate / bare_rate * 100.0,
            beside: format!(
                "bare {bare_rate:.0}/s (batches of {}, {} in flight), ours {our_rate:.0}/s from program start",
                shape.batch, shape.in_flight
            ),
            target: ">= 95 %",
            met: our_rate / bare_rate >= 0.95,
        });
        registrar.ready().await;
        Ok(registrar)
    }

    /// One pod at a time, and at rates, beside bare RPCs.
    ///
    /// # Errors
    /// If a pod gets no entry.
    pub async fn latencies(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let bare = self.bare.single(self.entries(0, SERIES), None).await?;
        let from = self.take(SERIES);
        let seen =
            latency::measure(&self.cluster, &self.database, (from, from + SERIES), None).await?;
        for (what, percent, target, limit) in [
            (
                "one pod alone, beyond bare RPC and watch, p50",
                50.0,
                "<= 2 ms",
                2.0,
            ),
            (
                "one pod alone, beyond bare RPC and watch, p99",
                99.0,
                "<= 10 ms",
                10.0,
            ),
        ] {
            let (rpc, whole) = (bare.percentile(percent), seen.whole.percentile(percent));
            let delivery = seen.delivery.percentile(percent);
            // What is beyond, sample by sample: the entry after its delivery, less what a bare create takes.
            let beyond = seen.after_delivery.percentile(percent) - bare.median();
            report.add(Figure {
                what,
                pods: self.pods,
                unit: "ms",
                value: beyond.max(0.0),
                beside: format!("whole {whole:.1}, watch {delivery:.1}, bare RPC {rpc:.1}"),
                target,
                met: beyond <= limit,
            });
        }
        self.forget(from, from + SERIES).await?;
        for (what, wanted) in [
            ("at 20 pods/s, p99 beside the bare RPC", 20.0),
            ("at 200 pods/s, p99 beside the bare RPC", 200.0),
        ] {
            // Or 80 % of what the server can create one by one.
            let capacity = 1000.0 / bare.median();
            let rate = f64::min(wanted, capacity * 0.8);
            let count = (rate * RATE_SECONDS) as usize;
            // The bare client works while as many pods are made, so that both have the same machine left.
            let (beside, load) = tokio::join!(
                self.bare.single(self.entries(0, count), Some(rate)),
                load::unbound(&self.cluster, count, rate),
            );
            let beside = beside?;
            load?;
            let from = self.take(count);
            let range = (from, from + count);
            let seen = latency::measure(&self.cluster, &self.database, range, Some(rate)).await?;
            let (ours, limit) = (
                seen.after_delivery.percentile(99.0),
                beside.percentile(99.0),
            );
            report.add(Figure {
                what,
                pods: self.pods,
                unit: "times",
                value: ours / limit,
                beside: format!(
                    "{rate:.0}/s: ours p50 {:.1}, p99 {ours:.1} ms; bare p50 {:.1}, p99 {limit:.1} ms",
                    seen.after_delivery.median(),
                    beside.median()
                ),
                target: "<= 3 times",
                met: ours <= 3.0 * limit,
            });
            self.forget(range.0, range.1).await?;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> usize {
        self.next += count;
        self.next - count
    }

    /// Deletes pods of a series, and waits for their entries to go.
    async fn forget(&self, from: usize, to: usize) -> anyhow::Result<()> {
        load::delete(&self.cluster, from, to).await?;
        let begun = Instant::now();
        while self.store.entries()? > self.pods + load::NODES {
            if begun.elapsed() > Duration::from_secs(120) {
                bail!("entries of deleted pods stay");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Writes, processor time and memory at rest.
    ///
    /// # Errors
    /// If a process is gone.
    pub async fn at_rest(
        &self,
        registrar: &mut Registrar,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        tokio::time::sleep(SETTLE).await;
        let ours = registrar.process.id().context("the registrar runs")?;
        let server = self.plane.spire_server.id().context("the server runs")?;
        let cpu = || anyhow::Ok((probe::cpu_seconds(ours)?, probe::cpu_seconds(server)?));
        let events = self.plane.entry_events()?;
        let before = cpu()?;
        tokio::time::sleep(REST).await;
        let after = cpu()?;
        let writes = self.plane.entry_events()? - events;
        let (rss, peak) = probe::memory_mib(ours)?;
        registrar.process.freeze();
        let alone = probe::cpu_seconds(server)?;
        tokio::time::sleep(REST).await;
        let alone = probe::cpu_seconds(server)? - alone;
        registrar.process.thaw();
        let percent = |seconds: f64| seconds / REST.as_secs_f64() * 100.0;
        let caused = percent(after.1 - before.1 - alone).max(0.0);
        let own = percent(after.0 - before.0);
        report.add(Figure {
            what: "writes at rest",
            pods: self.pods,
            unit: "in 30 s",
            value: writes as f64,
            beside: "the server's own count of changes".into(),
            target: "0",
            met: writes == 0,
        });
        report.add(Figure {
            what: "CPU at rest, ours and what it causes",
            pods: self.pods,
            unit: "% of a core",
            value: own + caused,
            beside: format!(
                "ours {own:.2}, caused {caused:.2}, server alone {:.2}",
                percent(alone)
            ),
            target: "<= 0.2 %",
            met: own + caused <= 0.2,
        });
        let allowed = 15.0 + self.pods as f64 / 1024.0;
        report.add(Figure {
            what: "resident memory at rest",
            pods: self.pods,
            unit: "MiB",
            value: rss,
            beside: format!("allowed {allowed:.0}, peak {peak:.0}"),
            target: "<= 15 MiB + 1 KiB a pod",
            met: rss <= allowed,
        });
        Ok(())
    }

    /// Restart with everything in place, beside a bare list of both sides.
    ///
    /// # Errors
    /// If something fails.
    pub async fn restart(
        &self,
        mut registrar: Registrar,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        registrar.process.kill();
        let mut lists = Samples::default();
        for _ in 0..3 {
            let (_, entries) = self.bare.list().await?;
            let pods = list_pods(&self.cluster).await?;
            lists.add((entries + pods).as_secs_f64());
        }
        let events = self.plane.entry_events()?;
        let begun = Instant::now();
        let mut registrar = self.registrar("")?;
        registrar.ready().await;
        let ready = begun.elapsed().as_secs_f64();
        let writes = self.plane.entry_events()? - events;
        report.add(Figure {
            what: "restart to ready, beside bare lists",
            pods: self.pods,
            unit: "times",
            value: ready / lists.median(),
            beside: format!(
                "ready in {ready:.2} s, lists {:.2} s, {writes} writes",
                lists.median()
            ),
            target: "<= 1.5 times, no writes",
            met: ready <= 1.5 * lists.median() && writes == 0,
        });
        Ok(())
    }
}

/// Reads all pods in pages of 500, as text; how long it took.
async fn list_pods(cluster: &Cluster) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut next = String::new();
    loop {
        let request = http::Request::get(format!("/api/v1/pods?limit=500&continue={next}"))
            .body(Vec::new())?;
        let text = cluster.client().request_text(request).await?;
        // Near the beginning: a bare client would not parse the pods.
        let head = text.get(..4096).unwrap_or(&text);
        next = match head.split_once("\"continue\":\"") {
            Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
            None => return Ok(begun.elapsed()),
        };
    }
}
