//! `make soak`: two registrars on a real control plane under churn, while everything beneath them fails at random.
//!
//! `MODE=reconcile` is the registrars' mode, `SOAK=20m` says for how long, `SEED=n` repeats the faults of a run, `RATE=20` is
//! how many pods a second come, change or go, and `OUTAGE=10m` is how long the API server is away after that. Exit code 1 if
//! anything is not right afterwards. `target/soak/MODE` has a timeline of the faults and the registrars' logs.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use registrar_adapters::config::duration;
use registrar_tests::{
    control_plane::programs,
    registrar::program,
    soak::{
        mode::Mode,
        run::{Plan, run},
    },
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn plan() -> anyhow::Result<Plan> {
    let time = |name: &str, default: &str| {
        let text = variable(name).unwrap_or_else(|| default.into());
        duration(&text)
            .with_context(|| format!("{name}={text:?} is no duration, such as 90s or 20m"))
    };
    let mode = variable("MODE").unwrap_or_else(|| "reconcile".into());
    let mode = Mode::named(&mode)
        .with_context(|| format!("MODE={mode:?} is none of reconcile, webhook and crd"))?;
    let seed = match variable("SEED") {
        Some(seed) => seed
            .parse()
            .with_context(|| format!("SEED={seed:?} is no number"))?,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs(),
    };
    let rate = variable("RATE").unwrap_or_else(|| "20".into());
    let per_second = rate
        .parse()
        .ok()
        .filter(|rate| (0.1..=1000.0).contains(rate))
        .with_context(|| format!("RATE={rate:?} is not between 0.1 and 1000"))?;
    Ok(Plan {
        mode,
        length: time("SOAK", "20m")?,
        outage: time("OUTAGE", "0s")?,
        seed,
        per_second,
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let plan = plan()?;
    programs()?;
    program()?;
    let keep = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/soak");
    run(plan, &keep.join(plan.mode.name())).await
}
