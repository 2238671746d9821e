//! One soak from beginning to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::{
    NAMESPACE, NODES, ROOT,
    churn::{self, Done},
    faults::Injector,
    observer,
    replica::Replica,
    right,
    summary::{Memory, Summary},
};
use crate::{
    Cluster, ControlPlane, Entries, Options,
    entries::{Entry, entry, line},
};

/// How long it may take after the last fault until everything is right.
const SETTLE_WITHIN: Duration = Duration::from_secs(180);
/// How long nothing may be written once everything is right: several comparisons with the server.
const REST: Duration = Duration::from_secs(15);
const TURN: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How long things fail.
    pub length: Duration,
    /// Repeats the faults.
    pub seed: u64,
    /// Pods made, changed or deleted a second.
    pub per_second: f64,
}

/// Entries that are not ours, of every kind that could be taken for ours.
fn foreign() -> Vec<Entry> {
    let pod = |n: usize| format!("k8s:pod-name:pod-{n}");
    let mut all = Vec::new();
    for n in 0..4 {
        let selectors = ["k8s:ns:soak".to_owned(), pod(n)];
        let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
        for parent in [
            "/spire-k8s-registrar/other/node/node-0",
            "/somewhere",
            "/k8s-workload-registrar/soak/node",
        ] {
            all.push(entry(parent, &format!("/team-{n}/app-{n}"), &selectors));
        }
        // An operator's own, on a node of ours: its selectors are none that we make.
        let mut own = entry(
            &format!("{ROOT}/node-{n}"),
            "/operators/own",
            &["unix:uid:1000"],
        );
        own.x509_svid_ttl = 77;
        own.hint = "hint".into();
        own.dns_names = vec!["own.example.org".into()];
        all.push(own);
    }
    for (n, entry) in all.iter_mut().enumerate() {
        entry.id = format!("foreign-{n}");
    }
    all
}

async fn foreign_now(entries: &Entries) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let all = entries.all().await?;
    let foreign = all.into_iter().filter(|e| e.id.starts_with("foreign"));
    Ok(foreign.map(|e| (e.id.clone(), bytes(&e))).collect())
}

/// The whole of it, as it is sent.
fn bytes(entry: &Entry) -> Vec<u8> {
    use prost::Message as _;
    entry.encode_to_vec()
}

/// Whether exactly the right entries are there; how many.
async fn is_right(cluster: &Cluster, entries: &Entries) -> anyhow::Result<usize> {
    let mut wanted: Vec<String> = right::nodes(&cluster.client()).await?;
    let pods = right::pods(&cluster.client()).await?;
    wanted.extend(pods.into_values().filter_map(|p| p.line));
    wanted.sort();
    let ours: Vec<Entry> = entries
        .under(ROOT)
        .await?
        .into_iter()
        .filter(|e| !e.id.starts_with("foreign"))
        .collect();
    if let Some(odd) = ours.iter().find(|e| !is_plain(e)) {
        bail!("an entry has what no pod asked for: {odd:?}");
    }
    let mut found: Vec<String> = ours.iter().map(line).collect();
    found.sort();
    if found == wanted {
        return Ok(found.len());
    }
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (wanted.iter().collect(), found.iter().collect());
    let some = |x: &BTreeSet<&String>, y: &BTreeSet<&String>| -> Vec<String> {
        x.difference(y).take(5).map(|l| (*l).clone()).collect()
    };
    bail!(
        "{} wanted, {} found; missing {:#?}; too many {:#?}",
        wanted.len(),
        found.len(),
        some(&a, &b),
        some(&b, &a)
    )
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

/// What the registrars tell of themselves, also those that were killed since.
#[derive(Default)]
struct Told {
    /// Trips of the breaker that were confirmed.
    trips: usize,
    /// Differences that each process found, and those of its predecessors.
    found: BTreeMap<usize, (f64, f64)>,
}

impl Told {
    /// Asks all that answer, and confirms, as an operator does, what the breaker asks for.
    async fn ask(&mut self, injector: &Injector) {
        for (n, replica) in injector.replicas.iter().enumerate() {
            let asked = replica.registrar.get("/metrics");
            let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
            let Ok(Ok((_, text))) = answer else { continue };
            let sum = |name: &str| -> f64 {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines
                    .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                    .sum()
            };
            let found = sum("k8s_workload_registrar_drift_found_total{");
            let (before, now) = self.found.entry(n).or_default();
            if found < *now {
                *before += *now;
            }
            *now = found;
            if sum("k8s_workload_registrar_breaker_tripped ") > 0.0 {
                replica.registrar.process.user_signal();
                self.trips += 1;
            }
        }
    }

    fn repairs(&self) -> usize {
        self.found
            .values()
            .map(|(before, now)| before + now)
            .sum::<f64>() as usize
    }
}

/// Runs one.
///
/// # Errors
/// If anything is not as it should be at the end. What happened when, and the registrars' logs, are kept in `keep`.
pub async fn run(plan: Plan, keep: &Path) -> anyhow::Result<()> {
    let Plan {
        length,
        seed,
        per_second,
    } = plan;
    println!("== a control plane and two registrars; SEED={seed}");
    let plane = ControlPlane::start(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await?;
    let cluster = plane.cluster().await?;
    let entries = plane.entries()?;
    cluster.namespace(NAMESPACE).await?;
    for n in 0..NODES {
        cluster.node(&format!("node-{n}")).await?;
    }
    for entry in foreign() {
        entries.create(entry).await?;
    }
    let foreign = foreign_now(&entries).await?;
    let mut replicas = Vec::new();
    for (n, name) in ["one", "two"].into_iter().enumerate() {
        let mut replica = Replica::start(&plane, name, seed + 1 + n as u64).await?;
        replica.registrar.ready().await;
        replicas.push(replica);
    }
    let seen = observer::Shared::default();
    let database = plane.dir().join("spire/db.sqlite3");
    let observing = observer::begin(plane.client().await?, &database, seen.clone())?;
    std::fs::create_dir_all(keep)?;
    let timeline = keep.join("timeline");
    let mut injector = Injector::new(plane, replicas, seed, seen.clone(), &timeline)?;
    let done = Arc::new(Done::default());
    let churning = churn::begin(cluster.clone(), seed + 3, per_second, done.clone());

    let warm_up = (length / 4).min(Duration::from_secs(30));
    println!(
        "== {per_second} pods a second; {} s to warm up",
        warm_up.as_secs()
    );
    tokio::time::sleep(warm_up).await;
    let before: Vec<f64> = memories(&injector)?;
    injector.note("warm");
    println!("== faults for {} s", length.as_secs());
    let begun = Instant::now();
    let mut told = Told::default();
    let mut turns = 0_usize;
    let failed: anyhow::Result<()> = async {
        while begun.elapsed() < length {
            injector.turn().await?;
            turns += 1;
            if turns.is_multiple_of(25) {
                told.ask(&injector).await;
                let gaps = std::mem::take(&mut lock(&seen).gaps);
                gaps.iter().for_each(|gap| injector.note(gap));
            }
            if turns.is_multiple_of(300) {
                println!("   {} s: {}", begun.elapsed().as_secs(), injector.word());
            }
            tokio::time::sleep(TURN).await;
        }
        injector.heal().await
    }
    .await;
    if let Err(error) = failed {
        keep_logs(&injector, keep)?;
        return Err(error);
    }
    churning.abort();
    let healed = Instant::now();
    println!("== nothing fails any more, no pod comes or goes");
    let count = loop {
        match is_right(&cluster, &entries).await {
            Ok(count) => break count,
            Err(error) if healed.elapsed() > SETTLE_WITHIN => {
                keep_logs(&injector, keep)?;
                return Err(error).with_context(|| {
                    format!(
                        "not right {} s after the last fault",
                        SETTLE_WITHIN.as_secs()
                    )
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        told.ask(&injector).await;
    };
    let settled = healed.elapsed();
    told.ask(&injector).await;
    let events = injector.plane.entry_events()?;
    tokio::time::sleep(REST).await;
    let checked: anyhow::Result<()> = async {
        is_right(&cluster, &entries).await?;
        let written = injector.plane.entry_events()? - events;
        ensure!(written == 0, "{written} writes at rest");
        ensure!(
            foreign_now(&entries).await? == foreign,
            "foreign entries are not as they were"
        );
        Ok(())
    }
    .await;
    observing.abort();
    if checked.is_err() {
        keep_logs(&injector, keep)?;
    }
    checked?;
    let memory = before
        .into_iter()
        .zip(memories(&injector)?)
        .map(|(before, after)| Memory { before, after })
        .collect();
    let summary = Summary {
        seed,
        length,
        faults: injector.counts(),
        calls: injector
            .replicas
            .iter()
            .map(|r| r.relay.fates().met())
            .sum(),
        requests: injector.replicas.iter().map(|r| r.objects.met()).sum(),
        repairs: told.repairs(),
        trips: told.trips,
        settled,
        entries: count,
        foreign: foreign.len(),
        memory,
    };
    let seen = lock(&seen);
    println!("{}", summary.table(&done, &seen));
    keep_logs(&injector, keep)?;
    if !seen.lost.is_empty() {
        println!("lost meanwhile: {:?}", seen.lost);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn memories(injector: &Injector) -> anyhow::Result<Vec<f64>> {
    injector.replicas.iter().map(Replica::memory).collect()
}

fn keep_logs(injector: &Injector, keep: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(keep)?;
    for log in injector.replicas.iter().flat_map(Replica::logs) {
        let Some(name) = log.file_name() else {
            continue;
        };
        // One that is not there has nothing to tell.
        let _ = std::fs::copy(&log, keep.join(name));
    }
    println!("timeline and logs of the registrars: {}", keep.display());
    Ok(())
}
