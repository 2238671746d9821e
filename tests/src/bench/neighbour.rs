//! A tenant whose pods change all the time and ask for what is illegal; what others notice of it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    cores::Cores,
    ground::{Ground, Mode},
    load,
    report::{Figure, Report},
    stress::{COUNT, RATE},
};
use crate::{Cluster, PodSpec, Registrar, control_plane::client};

/// The neighbour's pods, the invalid ones among them, and changes a second of each that are tried.
const PODS: usize = 1_000;
const INVALID: usize = 500;
const CHANGES: usize = 5;
const NAMESPACE: &str = "bench-1";

fn name(n: usize) -> String {
    format!("noisy-{n:04}")
}

fn value(n: usize, turn: usize) -> String {
    match n < INVALID {
        true => format!("not//legal-{turn}"),
        false => format!("noisy/{}", turn % 2),
    }
}

/// Changes all of the neighbour's pods in turns until it is ended, in a thread of its own.
struct Noise {
    over: Arc<AtomicBool>,
    changes: Arc<AtomicUsize>,
    begun: Instant,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Noise {
    fn begin(kubeconfig: &Path, cores: Cores) -> Self {
        let over = Arc::<AtomicBool>::default();
        let changes = Arc::<AtomicUsize>::default();
        let (ends, counted, kubeconfig) = (over.clone(), changes.clone(), kubeconfig.to_owned());
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            cores.confine_this_thread()?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let cluster = Cluster::new(client(&kubeconfig).await?);
                let each = Duration::from_secs_f64(1.0 / (PODS * CHANGES) as f64);
                stream::iter(0..)
                    .take_while(|_| std::future::ready(!ends.load(Ordering::Relaxed)))
                    .map(|at: u32| {
                        let (n, turn) = (at as usize % PODS, at as usize / PODS + 1);
                        let (cluster, counted) = (&cluster, &counted);
                        async move {
                            tokio::time::sleep_until((begun + each * at).into()).await;
                            counted.fetch_add(1, Ordering::Relaxed);
                            let value = value(n, turn);
                            cluster
                                .annotate(NAMESPACE, &name(n), load::ANNOTATION, Some(&value))
                                .await
                        }
                    })
                    .buffer_unordered(16)
                    .try_for_each(|()| std::future::ready(Ok(())))
                    .await
            })
        });
        Self {
            over,
            changes,
            begun,
            thread,
        }
    }

    /// How long it lasted in seconds, and how many changes a second there were.
    fn end(self) -> anyhow::Result<(f64, f64)> {
        self.over.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        joined.map_err(|_| anyhow::anyhow!("the noise broke off"))??;
        let took = self.begun.elapsed().as_secs_f64();
        Ok((took, self.changes.load(Ordering::Relaxed) as f64 / took))
    }
}

/// A new pod's latency beside the neighbour, with everything on the same cores and with Kubernetes and the neighbour on others,
/// and what is said of the neighbour's pods meanwhile.
///
/// # Errors
/// If a pod gets no entry.
pub async fn neighbour(report: &mut Report) -> anyhow::Result<()> {
    let mut ground = Ground::start(Mode::Reconcile, 1_000).await?;
    let identity = format!("pod_annotation = \"{}\"", load::ANNOTATION);
    let mut registrar = ground.registrar(&identity)?;
    ground.ready(&mut registrar).await?;
    let alone = ground.others_p99().await?;
    stream::iter(0..PODS)
        .map(|n| {
            let pod = PodSpec::new(NAMESPACE, &name(n))
                .node_named("node-1")
                .annotation(load::ANNOTATION, &value(n, 0));
            let cluster = ground.cluster.clone();
            async move { cluster.pod(&pod).await.map(drop) }
        })
        .buffer_unordered(64)
        .try_collect::<()>()
        .await?;
    ground.pods += PODS - INVALID;
    let settled = ground.pods + ground.load.nodes();
    ground.until_entries(settled, &mut registrar).await?;
    let lines = registrar.process.log().lines().count();
    let took = ground.beside_noise("", alone, Cores::All, report).await?;
    said(&ground, &registrar, lines, took, report).await?;
    ground.confine(&registrar)?;
    let alone = ground.others_p99().await?;
    let word = ", Kubernetes and it on cores of their own";
    ground
        .beside_noise(word, alone, Cores::Lower, report)
        .await?;
    // What is measured next has them all again.
    Cores::All.confine(std::process::id())
}

impl Ground {
    /// How long there was noise, in seconds.
    async fn beside_noise(
        &mut self,
        word: &str,
        quiet: f64,
        cores: Cores,
        report: &mut Report,
    ) -> anyhow::Result<f64> {
        let noise = Noise::begin(&self.plane.kubeconfig(), cores);
        // The bare client beside the same noise: what the machine has left.
        let entries = self.entries(0, COUNT);
        let bare = self.bare.single(entries, Some(RATE)).await?;
        let noisy = self.others_p99().await?;
        let (took, rate) = noise.end()?;
        report.add(Figure {
            what: format!("hostile neighbour{word}, p99 of others' new pods beside quiet"),
            pods: self.pods,
            unit: "times".into(),
            value: noisy / quiet,
            beside: format!(
                "p99 {noisy:.1} ms, quiet {quiet:.1} ms, bare RPC beside the same noise {:.1} ms; {rate:.0} changes a \
                 second of {PODS} pods, {INVALID} of them invalid",
                bare.percentile(99.0)
            ),
            target: "<= 3 times".into(),
            met: noisy <= 3.0 * quiet,
        });
        Ok(took)
    }

    /// Gives Kubernetes one half of the cores, and SPIRE, the registrar and what measures them the other.
    fn confine(&self, registrar: &Registrar) -> anyhow::Result<()> {
        let of = |process: Option<u32>| process.context("it runs");
        Cores::Lower.confine(of(self.plane.etcd.id())?)?;
        Cores::Lower.confine(of(self.plane.api_server.id())?)?;
        Cores::Upper.confine(of(self.plane.spire_server.id())?)?;
        Cores::Upper.confine(of(registrar.process.id())?)?;
        Cores::Upper.confine(std::process::id())
    }
}

async fn said(
    ground: &Ground,
    registrar: &Registrar,
    lines: usize,
    took: f64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let log = registrar.process.log();
    let per_second = (log.lines().count() - lines) as f64 / took;
    let held = log
        .lines()
        .skip(lines)
        .filter(|l| l.contains("not//legal"))
        .count();
    let events = ground.cluster.events(NAMESPACE, &name(0)).await?.len();
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
