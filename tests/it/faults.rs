//! Whatever is killed, frozen or restarted: afterwards exactly the living pods have entries, and no process ended by itself.

use registrar_tests::{Options, PodSpec, Registrar, entries::line, eventually, steadily};
use std::{collections::BTreeSet, time::Duration};

use crate::plane::{Private, private};

fn no_agents() -> Options {
    Options {
        controller_manager: false,
        ..Options::default()
    }
}

const ROOT: &str = "/spire-k8s-registrar/faults/node";

async fn make(p: &Private, from: usize, to: usize) {
    for n in from..to {
        p.cluster
            .pod(&PodSpec::new("apps", &format!("p-{n}")))
            .await
            .expect("pod");
    }
}

async fn exactly(p: &Private, registrar: &mut Registrar, numbers: impl Iterator<Item = usize>) {
    let wanted: BTreeSet<String> = numbers
        .map(|n| format!("/ns/apps/sa/default <- {ROOT}/node-1 [k8s:ns:apps k8s:pod-name:p-{n}]"))
        .collect();
    eventually("exactly the living pods have entries", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let found = p
            .entries
            .selecting(ROOT, &["k8s:ns:apps"])
            .await
            .map_err(|e| e.to_string())?;
        let lines: BTreeSet<String> = found.iter().map(line).collect();
        if found.len() == lines.len() && lines == wanted {
            return Ok(());
        }
        let missing: Vec<_> = wanted.difference(&lines).take(5).collect();
        let extra: Vec<_> = lines.difference(&wanted).take(5).collect();
        Err(format!(
            "{} found; missing {missing:?}; too many {extra:?}",
            found.len()
        ))
    })
    .await;
}

#[tokio::test]
async fn spire_killed_and_frozen_in_a_burst_loses_and_leaves_nothing() {
    let mut p = private(no_agents()).await;
    let mut registrar =
        Registrar::start(&p.plane, "faults", "drift_interval = \"5s\"").expect("starts");
    registrar.ready().await;
    make(&p, 0, 30).await;
    exactly(&p, &mut registrar, 0..30).await;
    make(&p, 30, 80).await;
    p.plane.spire_server.kill();
    make(&p, 80, 120).await;
    for n in 0..30 {
        p.cluster
            .delete_pod("apps", &format!("p-{n}"))
            .await
            .expect("deleted");
    }
    p.plane.spire_server.start_again().expect("starts");
    make(&p, 120, 150).await;
    p.plane.spire_server.freeze();
    make(&p, 150, 180).await;
    // Long enough for calls under way to pass their deadline.
    tokio::time::sleep(Duration::from_secs(5)).await;
    p.plane.spire_server.thaw();
    exactly(&p, &mut registrar, 30..180).await;
}

#[tokio::test]
async fn the_registrar_killed_in_a_burst_finishes_it_after_its_restart() {
    let p = private(no_agents()).await;
    let mut registrar = Registrar::start(&p.plane, "faults", "").expect("starts");
    registrar.ready().await;
    make(&p, 0, 60).await;
    registrar.process.kill();
    make(&p, 60, 80).await;
    for n in 0..8 {
        p.cluster
            .delete_pod("apps", &format!("p-{n}"))
            .await
            .expect("deleted");
    }
    registrar.process.start_again().expect("starts");
    registrar.ready().await;
    exactly(&p, &mut registrar, 8..80).await;
}

#[tokio::test]
async fn an_api_server_that_restarts_and_a_watch_that_expired_lose_nothing() {
    let mut p = private(no_agents()).await;
    let mut registrar = Registrar::start(&p.plane, "faults", "").expect("starts");
    registrar.ready().await;
    make(&p, 0, 10).await;
    exactly(&p, &mut registrar, 0..10).await;
    // While the registrar sleeps, things happen and their history is compacted away: its watches cannot be resumed.
    registrar.process.freeze();
    p.plane.api_server.kill();
    p.plane.api_server.start_again().expect("starts");
    p.plane.api_ready().await.expect("ready");
    make(&p, 10, 20).await;
    for n in 0..5 {
        p.cluster
            .delete_pod("apps", &format!("p-{n}"))
            .await
            .expect("deleted");
    }
    p.plane.compact_etcd().await.expect("compacted");
    p.plane.api_server.kill();
    p.plane.api_server.start_again().expect("starts");
    p.plane.api_ready().await.expect("ready");
    registrar.process.thaw();
    exactly(&p, &mut registrar, 5..20).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_for_long_is_waited_for_and_the_probes_stay_true() {
    let mut p = private(no_agents()).await;
    let extra = "leader_election = true\nnamespace = \"apps\"\ndrift_interval = \"2s\"";
    let mut registrar = Registrar::start(&p.plane, "faults", extra).expect("starts");
    registrar.ready().await;
    make(&p, 0, 10).await;
    exactly(&p, &mut registrar, 0..10).await;
    p.plane.api_server.kill();
    let before = p.entries.selecting(ROOT, &["k8s:ns:apps"]).await;
    let before = before.expect("listed");
    let gone = &before[0].id;
    p.entries.delete(gone).await.expect("deleted");
    eventually("it does not lead any more", async || {
        match registrar.metric("leader").await {
            Ok(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let writes = registrar.writes().await.expect("answers");
    // Longer than any pause between two attempts: more of the same would follow.
    let away = Duration::from_secs(25);
    steadily(away, "it stays, says so, and writes nothing", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let live = registrar.get("/livez").await.map_err(|e| e.to_string())?;
        let leader = registrar
            .metric("leader")
            .await
            .map_err(|e| e.to_string())?;
        let now = registrar.writes().await.map_err(|e| e.to_string())?;
        match (live.0, leader, now == writes) {
            (200, 0.0, true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for metric in ["watch_failures_total{kind=\"Pod\"}", "lease_failures_total"] {
        let failures = registrar.metric(metric).await.expect("answers");
        assert!(failures >= 3.0, "{metric}: {failures}");
    }
    p.plane.api_server.start_again().expect("starts");
    p.plane.api_ready().await.expect("ready");
    for n in 0..3 {
        p.cluster
            .delete_pod("apps", &format!("p-{n}"))
            .await
            .expect("deleted");
    }
    make(&p, 10, 20).await;
    exactly(&p, &mut registrar, 3..20).await;
    registrar.ready().await;
    assert_eq!(registrar.metric("leader").await.expect("answers"), 1.0);
}

#[tokio::test]
async fn either_side_may_be_away_at_the_start() {
    let mut p = private(no_agents()).await;
    make(&p, 0, 3).await;
    p.plane.spire_server.kill();
    p.plane.api_server.kill();
    let mut registrar = Registrar::start(&p.plane, "faults", "").expect("starts");
    eventually("the probes say what is missing", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        match registrar.get("/readyz").await {
            Ok((503, text)) if text.contains("SPIRE Server") && text.contains("Pod") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(registrar.get("/livez").await.expect("answers").0, 200);
    p.plane.api_server.start_again().expect("starts");
    p.plane.spire_server.start_again().expect("starts");
    p.plane.api_ready().await.expect("ready");
    registrar.ready().await;
    exactly(&p, &mut registrar, 0..3).await;
}

#[tokio::test]
async fn sigterm_ends_what_is_under_way_and_exits_with_0() {
    let p = private(no_agents()).await;
    let mut registrar = Registrar::start(&p.plane, "faults", "").expect("starts");
    registrar.ready().await;
    make(&p, 0, 20).await;
    registrar.process.terminate();
    let status = eventually("the registrar ends", async || {
        registrar.process.ended().ok_or("still running")
    })
    .await;
    assert_eq!(status.code(), Some(0), "{}", registrar.process.log_tail());
    for entry in p
        .entries
        .selecting(ROOT, &["k8s:ns:apps"])
        .await
        .expect("listed")
    {
        assert!(entry.revision_number == 0, "{}", line(&entry));
    }
}

#[tokio::test]
async fn a_server_of_another_trust_domain_is_refused_clearly() {
    let p = private(no_agents()).await;
    let mut registrar =
        Registrar::start(&p.plane, "faults", "trust_domain = \"other.test\"").expect("starts");
    let status = eventually("the registrar ends", async || {
        registrar.process.ended().ok_or("still running")
    })
    .await;
    assert_eq!(status.code(), Some(1));
    let log = registrar.process.log();
    assert!(
        log.contains("other.test") && log.contains("example.org"),
        "{log}"
    );
}
