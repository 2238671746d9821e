//! The API server is away for long: the registrars stay, their probes are true, and nobody writes.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{faults::Injector, replica::Replica};

/// By when nobody leads any more, and one that was started meanwhile answers.
const SOON: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_secs(5);

/// What was seen of it.
#[derive(Debug, Clone)]
pub struct Outage {
    /// How long it was.
    pub length: Duration,
    /// What `/readyz` of each registrar said at its end.
    pub ready: Vec<String>,
}

/// Keeps the API server away for so long, and starts the last registrar again meanwhile.
///
/// # Errors
/// If a registrar ends, does not say that it lives, does not say what is missing, leads, or writes.
pub async fn api_server_away(injector: &mut Injector, length: Duration) -> anyhow::Result<Outage> {
    injector.note("begins: the API server is away for long");
    let begun = Instant::now();
    injector.plane.api_server.kill();
    let last = injector.replicas.last_mut().context("a registrar")?;
    last.registrar.process.kill();
    last.registrar.process.start_again()?;
    tokio::time::sleep(SOON.min(length / 2)).await;
    let events = injector.plane.entry_events()?;
    let mut ready = Vec::new();
    while begun.elapsed() < length {
        ready.clear();
        let count = injector.replicas.len();
        for (n, replica) in injector.replicas.iter_mut().enumerate() {
            let is_new = n + 1 == count;
            let said = probe(replica, is_new).await;
            ready.push(said.with_context(|| format!("registrar {}", n + 1))?);
        }
        tokio::time::sleep(EVERY).await;
    }
    let written = injector.plane.entry_events()? - events;
    ensure!(
        written == 0,
        "{written} writes while the API server was away"
    );
    injector.plane.api_server.start_again()?;
    injector.plane.api_ready().await?;
    injector.note("ends:   the API server is away for long");
    Ok(Outage { length, ready })
}

/// What `/readyz` says; one that has seen nothing yet must say what is missing.
async fn probe(replica: &mut Replica, is_new: bool) -> anyhow::Result<String> {
    replica.registrar.process.must_run()?;
    let (live, text) = replica.registrar.get("/livez").await?;
    ensure!(live == 200, "/livez says {live}: {text}");
    let leader = replica.registrar.metric("leader").await?;
    ensure!(leader == 0.0, "it leads without the API server");
    let (status, text) = replica.registrar.get("/readyz").await?;
    let text = text.trim();
    let says_why = status == 503 && text.starts_with("not ready: ");
    let is_true = says_why || (!is_new && status == 200);
    ensure!(is_true, "/readyz says {status}: {text}");
    Ok(format!("{status} {text}"))
}
