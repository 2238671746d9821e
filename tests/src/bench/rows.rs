//! The rows of the benchmark for one number of pods.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{
    bare::{Shape, best_shape},
    ground::{Ground, Mode},
    latency, load,
    numbers::Samples,
    probe,
    report::{Figure, Report, allowed_mib},
};
use crate::{Cluster, Registrar};

/// Pods of a series made one after the other.
const SERIES: usize = 200;
/// Seconds of a series at a rate, and how many there are of the bare client and of ours, in turns: SPIRE reads its tables
/// anew every five seconds, and which of ten seconds' calls that hits is chance.
const RATE_SECONDS: f64 = 10.0;
const RATE_TURNS: usize = 3;
/// Rest before anything at rest is measured, how long it is measured for, with the registrar and without it, and how often.
const SETTLE: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(10);
const TURNS: usize = 6;
/// How long a registrar that was stopped makes up for what came meanwhile.
const THAW: Duration = Duration::from_secs(2);

impl Ground {
    /// Cold sync: from the start of the program to the last entry, beside a bare client.
    ///
    /// # Errors
    /// If something fails.
    pub async fn cold_sync(
        &self,
        shape: &mut Option<Shape>,
        report: &mut Report,
    ) -> anyhow::Result<Registrar> {
        let shape = match *shape {
            Some(known) => known,
            None => {
                let some = |n: usize| self.entries(0, n);
                *shape.insert(best_shape(&self.bare, some).await?)
            }
        };
        let (ids, bare) = self.bare.create(self.entries(0, self.pods), shape).await?;
        self.bare.delete(&ids).await?;
        let begun = Instant::now();
        let mut registrar = self.registrar("")?;
        let wanted = self.pods + self.load.nodes();
        let done = self.until_entries(wanted, &mut registrar).await?;
        let ours = done - begun;
        // The registrar also makes the nodes' entries: per entry, both did the same work.
        let bare_rate = self.pods as f64 / bare.as_secs_f64();
        let our_rate = wanted as f64 / ours.as_secs_f64();
        report.add(Figure {
            what: format!("{}cold sync, share of a bare client", self.mode.word()),
            pods: self.pods,
            unit: "%".into(),
            value: our_rate / bare_rate * 100.0,
            beside: format!(
                "bare {bare_rate:.0}/s (batches of {}, {} in flight), ours {our_rate:.0}/s from program start",
                shape.batch, shape.in_flight
            ),
            target: ">= 95 %".into(),
            met: our_rate / bare_rate >= 0.95,
        });
        self.ready(&mut registrar).await?;
        Ok(registrar)
    }

    /// One pod at a time, and at rates, beside bare RPCs.
    ///
    /// # Errors
    /// If a pod gets no entry.
    pub async fn latencies(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let bare = latency::bare(&self.cluster, &self.bare, self.entries(0, SERIES)).await?;
        let seen = self.series(SERIES, None).await?;
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
                what: format!("{}{what}", self.mode.word()),
                pods: self.pods,
                unit: "ms".into(),
                value: beyond.max(0.0),
                beside: format!("whole {whole:.1}, watch {delivery:.1}, bare RPC {rpc:.1}"),
                target: target.into(),
                met: beyond <= limit,
            });
        }
        // Or 80 % of what the server can create one by one.
        let capacity = 1000.0 / bare.median();
        for (what, wanted) in [
            ("at 20 pods/s, p99 beside the bare RPC", 20.0),
            ("at 200 pods/s, p99 beside the bare RPC", 200.0),
        ] {
            let rate = f64::min(wanted, capacity * 0.8);
            self.at_rate(what, rate, report).await?;
        }
        Ok(())
    }

    async fn at_rate(&mut self, what: &str, rate: f64, report: &mut Report) -> anyhow::Result<()> {
        let count = (rate * RATE_SECONDS) as usize;
        let (mut bare, mut ours) = (Samples::default(), Samples::default());
        for _ in 0..RATE_TURNS {
            // The bare client works while as many pods are made, so that both have the same machine left.
            let (beside, load) = tokio::join!(
                self.bare.single(self.entries(0, count), Some(rate)),
                load::unbound(&self.cluster, count, rate),
            );
            load?;
            bare.append(beside?);
            ours.append(self.series(count, Some(rate)).await?.after_delivery);
        }
        let (seen, limit) = (ours.percentile(99.0), bare.percentile(99.0));
        report.add(Figure {
            what: format!("{}{what}", self.mode.word()),
            pods: self.pods,
            unit: "times".into(),
            value: seen / limit,
            beside: format!(
                "{rate:.0}/s: ours p50 {:.1}, p99 {seen:.1} ms; bare p50 {:.1}, p99 {limit:.1} ms; {RATE_TURNS} times \
                 {RATE_SECONDS:.0} s each in turns",
                ours.median(),
                bare.median()
            ),
            target: "<= 3 times".into(),
            met: seen <= 3.0 * limit,
        });
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
        let events = self.plane.entry_events()?;
        let begun = Instant::now();
        let (mut own, mut with, mut without) =
            (Samples::default(), Samples::default(), Samples::default());
        let percent = |seconds: f64| seconds / REST.as_secs_f64() * 100.0;
        // In turns, so that what the server does by itself falls out, however that changes.
        for _ in 0..TURNS {
            let before = (probe::cpu_seconds(ours)?, probe::cpu_seconds(server)?);
            tokio::time::sleep(REST).await;
            own.add(percent(probe::cpu_seconds(ours)? - before.0));
            with.add(percent(probe::cpu_seconds(server)? - before.1));
            registrar.process.freeze();
            let before = probe::cpu_seconds(server)?;
            tokio::time::sleep(REST).await;
            without.add(percent(probe::cpu_seconds(server)? - before));
            registrar.process.thaw();
            // What came meanwhile is made up for.
            tokio::time::sleep(THAW).await;
        }
        let writes = self.plane.entry_events()? - events;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let memory = probe::memory(ours)?;
        let (own, alone) = (own.median(), without.median());
        let caused = (with.median() - alone).max(0.0);
        let (least, most) = without.spread();
        report.add(Figure {
            what: format!("{}writes at rest", self.mode.word()),
            pods: self.pods,
            unit: "a minute".into(),
            value: writes as f64 / minutes,
            beside: format!("the server's own count of changes in {minutes:.1} minutes"),
            target: "0".into(),
            met: writes == 0,
        });
        report.add(Figure {
            what: format!("{}CPU at rest, ours and what it causes", self.mode.word()),
            pods: self.pods,
            unit: "% of a core".into(),
            value: own + caused,
            beside: format!(
                "ours {own:.2}, caused {caused:.2}; server alone {alone:.2} ({least:.2} to {most:.2}), \
                 {TURNS} times {} s each in turns",
                REST.as_secs()
            ),
            target: "<= 0.2 %".into(),
            met: own + caused <= 0.2,
        });
        let allowed = allowed_mib(self.pods as f64);
        report.add(Figure {
            what: format!("{}resident memory at rest", self.mode.word()),
            pods: self.pods,
            unit: "MiB".into(),
            value: memory.resident,
            beside: format!(
                "allowed {allowed:.0}, peak {:.0}; heap and stacks {:.1}, pages of the program {:.1}",
                memory.peak, memory.own, memory.program
            ),
            target: "<= 15 MiB + 1 KiB a pod".into(),
            met: memory.resident <= allowed,
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
            let mut all = entries + list(&self.cluster, "/api/v1/pods").await?;
            if self.mode == Mode::Crd {
                all += list(&self.cluster, SPIFFE_IDS).await?;
            }
            lists.add(all.as_secs_f64());
        }
        let events = self.plane.entry_events()?;
        let begun = Instant::now();
        let mut registrar = self.registrar("")?;
        let ready = (self.ready(&mut registrar).await? - begun).as_secs_f64();
        let writes = self.plane.entry_events()? - events;
        report.add(Figure {
            what: format!("{}restart to ready, beside bare lists", self.mode.word()),
            pods: self.pods,
            unit: "times".into(),
            value: ready / lists.median(),
            beside: format!(
                "ready in {ready:.2} s, lists {:.2} s, {writes} writes",
                lists.median()
            ),
            target: "<= 1.5 times, no writes".into(),
            met: ready <= 1.5 * lists.median() && writes == 0,
        });
        Ok(())
    }
}

/// Where the SpiffeIDs are, of which crd mode has one for each pod.
const SPIFFE_IDS: &str = "/apis/spiffeid.spiffe.io/v1beta1/spiffeids";

/// Reads all objects of a kind in pages of 500, as text; how long it took.
async fn list(cluster: &Cluster, kind: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut next = String::new();
    loop {
        let request =
            http::Request::get(format!("{kind}?limit=500&continue={next}")).body(Vec::new())?;
        let text = cluster.client().request_text(request).await?;
        // Near the beginning, or near the end where keys are sorted: a bare client would not parse the objects.
        let head = text.get(..4096).unwrap_or(&text);
        let tail = text.get(text.len().saturating_sub(4096)..);
        let mut either = [head, tail.unwrap_or(&text)].into_iter();
        let found = either.find_map(|part| part.split_once("\"continue\":\""));
        next = found
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_default()
            .to_owned();
        // The last page has none, or an empty one.
        if next.is_empty() {
            return Ok(begun.elapsed());
        }
    }
}
