//! `make bench`: measures what the registrar costs beside the raw limits of SPIRE and Kubernetes, in one run.
//!
//! `bench simulate` runs decoding and the step machine alone, without servers: `N=100000,1000000` by default.
//!
//! `bench publish` puts the files of runs together into docs/benchmark.md: all in `target/bench/runs`, or those that are named.
//!
//! `N=1000,10000` says for how many pods, `RUNS=3` how often, `ROWS=sync,rest,latency,restart` which rows (by default all; a
//! name that is none shows them). Rows under stress are measured once. Writes `target/bench/REPORT.md` with charts, and the
//! figures to `target/bench/runs/<time>.json`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail, ensure};
use registrar_tests::{
    bench::{
        admission::admission,
        bare::Shape,
        ground::{Ground, Mode},
        neighbour::neighbour,
        plan::plan,
        probe,
        publish::{publish, runs_in},
        report::Report,
        simulate::simulate,
        standby::take_over,
        stress::{disturbances, storm},
    },
    control_plane::programs,
    registrar::program,
};

/// Memory that a control plane with so many pods needs, in GiB.
fn needed_gib(pods: usize) -> f64 {
    2.0 + pods as f64 / 10_000.0
}

fn numbers(name: &str, default: &str) -> anyhow::Result<Vec<usize>> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split(',')
        .map(|n| {
            n.trim().parse().with_context(|| {
                format!("{name}={text:?} is not a list of numbers, such as 1000,10000")
            })
        })
        .collect()
}

fn machine(runs: usize, took: Duration) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown processor", |l| {
            l.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "k8s-workload-registrar {}{}, default settings; {model}, {cores} cores, shared by everything: etcd, kube-apiserver, \
         spire-server (SQLite), the registrar and the bench; {runs} run(s) in {:.0} minutes.",
        env!("CARGO_PKG_VERSION"),
        if RELEASE {
            ""
        } else {
            " (not built for release)"
        },
        took.as_secs_f64() / 60.0
    )
}

const RELEASE: bool = !cfg!(debug_assertions);

/// Puts the runs that were named, or all, together into our documents.
fn publication(named: Vec<PathBuf>, runs: &Path) -> anyhow::Result<()> {
    let runs = match named.is_empty() {
        true => runs_in(runs)?,
        false => named,
    };
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    publish(&runs, &docs)?;
    println!("{} run(s) are in docs/benchmark.md now", runs.len());
    Ok(())
}

fn simulation() -> anyhow::Result<()> {
    for pods in numbers("N", "100000,1000000")? {
        let it = simulate(pods)?;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / pods as f64;
        println!(
            "{pods} pods of {} bytes: decoding {:.1} us a pod, steps {:.1} us a pod, {:.0} MiB ({:.2} KiB a pod)",
            it.text,
            each(it.decoding),
            each(it.steps),
            it.memory.0,
            (it.memory.0 - it.memory.1) * 1024.0 / pods as f64
        );
    }
    Ok(())
}

/// What `ROWS` names, in the order in which it is measured.
const ROWS: [&str; 10] = [
    "sync",
    "rest",
    "latency",
    "restart",
    "drift",
    "standby",
    "storm",
    "neighbour",
    "plan",
    "crd",
];
/// The mode that has rows of its own.
const WEBHOOK: &str = "webhook";
/// Rows under stress are measured once, with at most so many pods.
const STRESSED: usize = 10_000;

fn rows() -> anyhow::Result<Vec<String>> {
    let all = || ROWS.iter().chain([&WEBHOOK]);
    let Ok(text) = std::env::var("ROWS") else {
        return Ok(all().map(ToString::to_string).collect());
    };
    let rows: Vec<String> = text.split(',').map(|row| row.trim().to_owned()).collect();
    for row in &rows {
        let names: Vec<&str> = all().copied().collect();
        ensure!(
            names.contains(&row.as_str()),
            "ROWS={text:?} names {row:?}, which is none of {}",
            names.join(", ")
        );
    }
    Ok(rows)
}

/// The rows that are measured for every number of pods in every run.
async fn usual(
    mode: Mode,
    pods: usize,
    has: &impl Fn(&str) -> bool,
    shape: &mut Option<Shape>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if ["sync", "latency", "restart"].into_iter().any(has) {
        let mut ground = Ground::start(mode, pods).await?;
        let registrar = match has("sync") {
            true => ground.cold_sync(shape, report).await?,
            false => ground.synced().await?,
        };
        if has("latency") {
            ground.latencies(report).await?;
        }
        if has("restart") {
            ground.restart(registrar, report).await?;
        }
    }
    if has("rest") {
        let ground = Ground::still(mode, pods).await?;
        let mut registrar = ground.synced().await?;
        ground.at_rest(&mut registrar, report).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let runs_dir = dir.join("runs");
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("simulate") => return simulation(),
        Some("publish") => return publication(arguments.map(PathBuf::from).collect(), &runs_dir),
        Some(other) => bail!("{other:?} is neither simulate nor publish"),
        None => {}
    }
    let sizes = numbers("N", "1000,10000")?;
    let runs = numbers("RUNS", "1")?.into_iter().next().unwrap_or(1);
    let rows = rows()?;
    let has = |row: &str| rows.iter().any(|r| r == row);
    programs()?;
    program()?;
    let stressed = sizes
        .iter()
        .copied()
        .max()
        .unwrap_or(STRESSED)
        .min(STRESSED);
    for pods in &sizes {
        let (needed, free) = (needed_gib(*pods), probe::available_gib()?);
        ensure!(
            free >= needed,
            "{pods} pods need {needed:.0} GiB of free memory, this machine has {free:.1}: choose a smaller N"
        );
    }
    let cores = std::thread::available_parallelism()?.get();
    ensure!(
        cores > 1 || !has("neighbour"),
        "the row neighbour needs two cores, this machine has one: name the other rows with ROWS"
    );
    let begun = Instant::now();
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut report = Report::new(RELEASE);
    let run_file = runs_dir.join(format!("{}.json", since_1970.as_secs()));
    // After each part: what was measured is not lost if a later part fails.
    let save = |report: &mut Report| {
        report.machine = machine(runs, begun.elapsed());
        report.write(&dir, &run_file)
    };
    let (mut shape, mut crd_shape) = (None, None);
    for run in 1..=runs {
        for pods in &sizes {
            if ["sync", "rest", "latency", "restart"].into_iter().any(has) {
                println!("== run {run} of {runs}: {pods} pods");
                usual(Mode::Reconcile, *pods, &has, &mut shape, &mut report).await?;
                save(&mut report)?;
            }
            if has("crd") && run == 1 {
                println!("== {pods} pods, crd mode");
                usual(Mode::Crd, *pods, &|_| true, &mut crd_shape, &mut report).await?;
                save(&mut report)?;
            }
            if has(WEBHOOK) && run == 1 {
                println!("== {pods} pods, webhook mode at rest");
                let ground = Ground::still(Mode::Webhook, *pods).await?;
                let mut registrar = ground.swept().await?;
                ground.at_rest(&mut registrar, &mut report).await?;
                save(&mut report)?;
            }
        }
        if has(WEBHOOK) {
            println!("== run {run} of {runs}: reviews of webhook mode");
            admission(&mut report).await?;
            save(&mut report)?;
        }
    }
    for (row, word) in [("drift", "disturbed"), ("standby", "a standby takes over")] {
        if has(row) {
            println!("== {stressed} pods, {word}");
            let mut ground = Ground::start(Mode::Reconcile, stressed).await?;
            let registrar = ground.synced().await?;
            match row {
                "drift" => disturbances(&mut ground, registrar, &mut report).await?,
                _ => take_over(&mut ground, registrar, &mut report).await?,
            }
            save(&mut report)?;
        }
    }
    if has("storm") {
        println!("== a storm");
        storm(&mut report).await?;
        save(&mut report)?;
    }
    if has("neighbour") {
        println!("== a hostile neighbour");
        neighbour(&mut report).await?;
        save(&mut report)?;
    }
    if has("plan") {
        println!("== plans of dumps");
        for pods in [10_000, 100_000] {
            plan(pods, &dir, &mut report)?;
        }
    }
    save(&mut report)?;
    println!("\n{}", std::fs::read_to_string(dir.join("REPORT.md"))?);
    println!("written to {} and {}", dir.display(), run_file.display());
    Ok(())
}
