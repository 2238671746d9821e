//! `make bench`: measures what the registrar costs beside the raw limits of SPIRE and Kubernetes, in one run.
//!
//! `bench simulate` runs decoding and the step machine alone, without servers: `N=100000,1000000` by default.
//!
//! `N=1000,10000` says for how many pods, `RUNS=3` how often. Writes `target/bench/REPORT.md`, `report.json` and charts.

use std::path::Path;

use anyhow::{Context, ensure};
use registrar_tests::{
    bench::{admission::admission, probe, report::Report, rows::Ground, simulate::simulate},
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

fn machine(runs: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown processor", |l| {
            l.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "k8s-workload-registrar {}, reconcile mode, defaults; {model}, {cores} cores, shared by everything: etcd, \
         kube-apiserver, spire-server (SQLite), the registrar and the bench. {runs} run(s); a row shows the median. \
         Warm-up: the bare client's nine shapes are tried with 1,000 entries each before anything is measured.",
        env!("CARGO_PKG_VERSION")
    )
}

fn simulation() -> anyhow::Result<()> {
    for pods in numbers("N", "100000,1000000")? {
        let it = simulate(pods)?;
        let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / pods as f64;
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("simulate") {
        return simulation();
    }
    let sizes = numbers("N", "1000,10000")?;
    let runs = numbers("RUNS", "1")?.into_iter().next().unwrap_or(1);
    programs()?;
    program()?;
    for pods in &sizes {
        let (needed, free) = (needed_gib(*pods), probe::available_gib()?);
        ensure!(
            free >= needed,
            "{pods} pods need {needed:.0} GiB of free memory, this machine has {free:.1}: choose a smaller N"
        );
    }
    let mut report = Report::default();
    for run in 1..=runs {
        for pods in &sizes {
            println!("== run {run} of {runs}: {pods} pods");
            let mut ground = Ground::start(*pods).await?;
            let mut registrar = ground.cold_sync(&mut report).await?;
            ground.at_rest(&mut registrar, &mut report).await?;
            ground.latencies(&mut report).await?;
            ground.restart(registrar, &mut report).await?;
        }
        println!("== run {run} of {runs}: reviews of webhook mode");
        admission(&mut report).await?;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let machine = machine(runs);
    let charts = [
        "one pod alone, beyond bare RPC and watch, p50",
        "resident memory at rest",
    ];
    report.write(&dir, &machine, &charts)?;
    println!("\n{}", report.table(&machine));
    println!("written to {}", dir.display());
    Ok(())
}
