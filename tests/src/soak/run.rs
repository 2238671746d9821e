//! One soak from beginning to end.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;

use super::{
    NAMESPACE, NODES,
    churn::{self, Done},
    faults::Injector,
    mode::Mode,
    observer, others,
    outage::{Outage, api_server_away},
    replica::Replica,
    reviews::Reviews,
    right::is_right,
    summary::{Memory, Summary},
    told::Told,
};
use crate::{Cluster, ControlPlane, Options, SpiffeIds};

/// How long it may take after the last fault until everything is right.
const SETTLE_WITHIN: Duration = Duration::from_secs(180);
/// How long nothing may be written once everything is right: several comparisons with the server.
const REST: Duration = Duration::from_secs(15);
const TURN: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Of the registrars.
    pub mode: Mode,
    /// How long things fail.
    pub length: Duration,
    /// How long the API server is away after that.
    pub outage: Duration,
    /// Repeats the faults.
    pub seed: u64,
    /// Pods made, changed or deleted a second.
    pub per_second: f64,
}

/// Runs one.
///
/// # Errors
/// If anything is not as it should be at the end. What happened when, and the registrars' logs, are kept in `keep`.
pub async fn run(plan: Plan, keep: &Path) -> anyhow::Result<()> {
    let Plan { mode, seed, .. } = plan;
    println!(
        "== a control plane and two registrars; MODE={} SEED={seed}",
        mode.name()
    );
    let (plane, cluster, reviews) = servers(mode).await?;
    let entries = plane.entries()?;
    let foreign = others::plant(&entries, mode).await?;
    let replicas = registrars(&plane, mode, seed, reviews.as_ref()).await?;
    if let Some(reviews) = &reviews {
        let ports: Vec<u16> = replicas.iter().map(|r| r.port).collect();
        reviews.begin(&cluster, &ports).await?;
    }
    let seen = observer::Shared::default();
    let database = plane.dir().join("spire/db.sqlite3");
    let observing = observer::begin(plane.client().await?, &database, mode, seen.clone())?;
    std::fs::create_dir_all(keep)?;
    let timeline = keep.join("timeline");
    let seeded = (mode, seed);
    let mut injector = Injector::new(plane, replicas, reviews, seeded, seen.clone(), &timeline)?;
    let done = Arc::new(Done::default());
    let churning = churn::begin(cluster.clone(), seed + 3, plan.per_second, done.clone());
    let mut told = Told::default();
    let begun: anyhow::Result<_> = async {
        let before = warm(&plan, &mut injector).await?;
        fail(&plan, &mut injector, &mut told, &seen).await?;
        let outage = match plan.outage {
            Duration::ZERO => None,
            length => Some(away(&mut injector, length).await?),
        };
        Ok((before, outage))
    }
    .await;
    churning.abort();
    let ended: anyhow::Result<_> = async {
        let (before, outage) = begun?;
        let healed = Instant::now();
        println!("== nothing fails any more, no pod comes or goes");
        let count = loop {
            match is_right(&cluster.client(), &entries, mode).await {
                Ok(count) => break count,
                Err(error) if healed.elapsed() > SETTLE_WITHIN => {
                    let within = SETTLE_WITHIN.as_secs();
                    return Err(error.context(format!("not right {within} s after the last fault")));
                }
                Err(_) => tokio::time::sleep(TURN).await,
            }
            told.ask(&injector).await;
        };
        let settled = healed.elapsed();
        told.ask(&injector).await;
        let events = injector.plane.entry_events()?;
        tokio::time::sleep(REST).await;
        is_right(&cluster.client(), &entries, mode).await?;
        let written = injector.plane.entry_events()? - events;
        ensure!(written == 0, "{written} writes at rest");
        ensure!(
            others::now(&entries).await? == foreign,
            "foreign entries are not as they were"
        );
        Ok((before, outage, settled, count))
    }
    .await;
    observing.abort();
    keep_logs(&injector, keep)?;
    let (before, outage, settled, count) = ended?;
    let after = memories(&injector)?;
    let memory = before.into_iter().zip(after);
    let replicas = &injector.replicas;
    let summary = Summary {
        plan,
        outage,
        faults: injector.counts(),
        calls: replicas.iter().map(|r| r.relay.fates().met()).sum(),
        requests: replicas.iter().map(|r| r.objects.met()).sum(),
        repairs: told.repairs(),
        trips: told.trips,
        settled,
        entries: count,
        foreign: foreign.len(),
        memory: memory
            .map(|(before, after)| Memory { before, after })
            .collect(),
    };
    let seen = lock(&seen);
    println!("{}", summary.table(&done, &seen));
    if !seen.lost.is_empty() {
        println!("lost meanwhile: {:?}", seen.lost);
    }
    Ok(())
}

/// The control plane as the mode needs it, and nodes.
async fn servers(mode: Mode) -> anyhow::Result<(ControlPlane, Cluster, Option<Reviews>)> {
    let reviews = match mode {
        Mode::Webhook => Some(Reviews::prepare().await?),
        _ => None,
    };
    let options = match &reviews {
        Some(reviews) => reviews.options(),
        None => Options {
            // SpiffeIDs are collected with their pods.
            controller_manager: mode == Mode::Crd,
            ..Options::default()
        },
    };
    let plane = ControlPlane::start(options).await?;
    let cluster = plane.cluster().await?;
    cluster.namespace(NAMESPACE).await?;
    for n in 0..NODES {
        cluster.node(&format!("node-{n}")).await?;
    }
    if mode == Mode::Crd {
        let ids = SpiffeIds::new(plane.client().await?);
        ids.install(CUSTOM_RESOURCE_DEFINITION).await?;
    }
    Ok((plane, cluster, reviews))
}

async fn registrars(
    plane: &ControlPlane,
    mode: Mode,
    seed: u64,
    reviews: Option<&Reviews>,
) -> anyhow::Result<Vec<Replica>> {
    let mut replicas = Vec::new();
    for (n, name) in ["one", "two"].into_iter().enumerate() {
        let seed = seed + 1 + n as u64;
        let mut replica = Replica::start(plane, name, seed, mode, reviews).await?;
        replica.registrar.ready().await;
        replicas.push(replica);
    }
    Ok(replicas)
}

/// Churn without faults; the memory of the registrars afterwards.
async fn warm(plan: &Plan, injector: &mut Injector) -> anyhow::Result<Vec<f64>> {
    let warm_up = (plan.length / 4).min(Duration::from_secs(30));
    println!(
        "== {} pods a second; {} s to warm up",
        plan.per_second,
        warm_up.as_secs()
    );
    tokio::time::sleep(warm_up).await;
    injector.note("warm");
    memories(injector)
}

/// Lets everything fail at random for as long as planned, and heals it.
async fn fail(
    plan: &Plan,
    injector: &mut Injector,
    told: &mut Told,
    seen: &observer::Shared,
) -> anyhow::Result<()> {
    println!("== faults for {} s", plan.length.as_secs());
    let begun = Instant::now();
    let mut turns = 0_usize;
    while begun.elapsed() < plan.length {
        injector.turn().await?;
        turns += 1;
        if turns.is_multiple_of(25) {
            told.ask(injector).await;
            for (at, what) in std::mem::take(&mut lock(seen).notes) {
                injector.note_at(at, &what);
            }
        }
        if turns.is_multiple_of(300) {
            println!("   {} s: {}", begun.elapsed().as_secs(), injector.word());
        }
        tokio::time::sleep(TURN).await;
    }
    injector.heal().await
}

async fn away(injector: &mut Injector, length: Duration) -> anyhow::Result<Outage> {
    println!("== the API server is away for {} s", length.as_secs());
    let outage = api_server_away(injector, length).await;
    outage.context("while the API server was away")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn memories(injector: &Injector) -> anyhow::Result<Vec<f64>> {
    injector.replicas.iter().map(Replica::memory).collect()
}

fn keep_logs(injector: &Injector, keep: &Path) -> anyhow::Result<()> {
    let of_plane = ["kube-controller-manager.log", "kube-apiserver.log"];
    let of_plane = of_plane.map(|name| injector.plane.dir().join(name));
    let of_replicas = injector.replicas.iter().flat_map(Replica::logs);
    for log in of_replicas.chain(of_plane) {
        let Some(name) = log.file_name() else {
            continue;
        };
        // One that is not there has nothing to tell.
        let _ = std::fs::copy(&log, keep.join(name));
    }
    println!("timeline and logs: {}", keep.display());
    Ok(())
}
