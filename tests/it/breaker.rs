//! The mass-delete breaker: what was not watched object by object stops, until someone confirms it.

use registrar_tests::{
    PodSpec, Registrar, control_plane::TRUST_DOMAIN, entries::entry, eventually, steadily,
};
use serde_json::json;
use std::time::Duration;

use crate::plane::{Bench, shared};

const ORPHANS: usize = 30;

/// Entries of pods that vanished while no registrar ran, and one living pod.
async fn with_orphans(name: &'static str) -> Bench {
    let b = shared(name).await;
    for n in 0..ORPHANS {
        let selectors = [format!("k8s:ns:{name}"), format!("k8s:pod-name:gone-{n}")];
        let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
        let parent = format!("{}/node-1", b.root());
        b.entries
            .create(entry(&parent, "/ns/x/sa/y", &selectors))
            .await
            .expect("created");
    }
    b.cluster
        .pod(&PodSpec::new(name, "living"))
        .await
        .expect("pod");
    b
}

async fn trips(b: &Bench, registrar: &Registrar) -> String {
    eventually("the breaker trips", async || {
        let open = registrar
            .metric("breaker_tripped")
            .await
            .map_err(|e| e.to_string())?;
        if open == 1.0 {
            Ok(())
        } else {
            Err(open.to_string())
        }
    })
    .await;
    assert_eq!(
        b.pods().await.expect("listed").len(),
        ORPHANS + 1,
        "nothing is deleted"
    );
    let log = registrar.process.log();
    let line = log
        .lines()
        .find(|l| l.contains("breaker tripped"))
        .expect("a log line tells it");
    let (_, rest) = line
        .split_once("confirm-deletes: ")
        .expect("and how to confirm");
    rest.split([' ', '"'])
        .next()
        .expect("the trip's ID")
        .to_owned()
}

#[tokio::test]
async fn too_many_deletes_stop_until_the_config_map_confirms_them() {
    let b = with_orphans("breaker-map").await;
    b.cluster
        .namespace("breaker-home")
        .await
        .expect("namespace");
    let registrar = b.registrar("namespace = \"breaker-home\"").await;
    let trip = trips(&b, &registrar).await;
    eventually("an Event tells it", async || {
        let events = b
            .cluster
            .events("breaker-home", "k8s-workload-registrar-control")
            .await;
        let told = events
            .map_err(|e| e.to_string())?
            .iter()
            .any(|(r, n)| r == "MassDelete" && n.contains(&trip));
        if told { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    // Everything else goes on: new pods register, and a pod whose own deletion was watched loses its entry.
    b.cluster
        .pod(&PodSpec::new("breaker-map", "another"))
        .await
        .expect("pod");
    let count = async |wanted: usize| {
        let found = b.pods().await?.len();
        if found == wanted {
            Ok(())
        } else {
            Err(found.to_string())
        }
    };
    eventually("the new pod is registered", async || {
        count(ORPHANS + 2).await
    })
    .await;
    b.cluster
        .delete_pod("breaker-map", "another")
        .await
        .expect("deleted");
    eventually("its entry goes", async || count(ORPHANS + 1).await).await;
    let confirm = |id: &str| json!({"confirm-deletes": id});
    let map = "k8s-workload-registrar-control";
    b.cluster
        .config_map("breaker-home", map, confirm("wrong-1"))
        .await
        .expect("written");
    steadily(
        Duration::from_secs(2),
        "a wrong ID confirms nothing",
        async || count(ORPHANS + 1).await,
    )
    .await;
    b.cluster
        .config_map("breaker-home", map, confirm(&trip))
        .await
        .expect("written");
    b.settles(&[("/ns/breaker-map/sa/default", "node-1", "living")])
        .await;
}

#[tokio::test]
async fn too_many_deletes_stop_until_a_signal_confirms_them() {
    let b = with_orphans("breaker-signal").await;
    let registrar = b.registrar("").await;
    trips(&b, &registrar).await;
    registrar.process.user_signal();
    b.settles(&[("/ns/breaker-signal/sa/default", "node-1", "living")])
        .await;
}

#[tokio::test]
async fn a_pause_in_the_config_map_stops_all_writing() {
    let b = shared("paused").await;
    b.cluster.namespace("paused-home").await.expect("namespace");
    let map = "k8s-workload-registrar-control";
    let registrar = b.registrar("namespace = \"paused-home\"").await;
    b.cluster
        .pod(&PodSpec::new("paused", "before"))
        .await
        .expect("pod");
    let before = [("/ns/paused/sa/default", "node-1", "before")];
    b.settles(&before).await;
    b.cluster
        .config_map("paused-home", map, json!({"pause": "true"}))
        .await
        .expect("written");
    eventually("the registrar says so", async || {
        let log = registrar.process.log();
        if log.contains("paused=true") {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    eventually("its metrics show it", async || {
        match registrar.metric("paused").await {
            Ok(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    b.cluster
        .pod(&PodSpec::new("paused", "meanwhile"))
        .await
        .expect("pod");
    steadily(Duration::from_secs(2), "nothing is written", async || {
        let found = b.pods().await?.len();
        if found == 1 {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    b.cluster
        .config_map("paused-home", map, json!({}))
        .await
        .expect("written");
    b.settles(&[before[0], ("/ns/paused/sa/default", "node-1", "meanwhile")])
        .await;
}

#[tokio::test]
async fn watched_deletions_are_never_stopped() {
    let b = shared("watched-deletes").await;
    let registrar = b.registrar("max_deletes = 1").await;
    for n in 0..40 {
        b.cluster
            .pod(&PodSpec::new("watched-deletes", &format!("p-{n}")))
            .await
            .expect("pod");
    }
    eventually("all are registered", async || match b.pods().await?.len() {
        40 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    b.cluster
        .delete_pods("watched-deletes")
        .await
        .expect("deleted");
    b.settles(&[]).await;
    assert_eq!(
        registrar.metric("breaker_tripped").await.expect("a metric"),
        0.0,
        "{TRUST_DOMAIN}"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_write_and_writes_nothing() {
    let b = shared("dry").await;
    let registrar = b.registrar("dry_run = true").await;
    b.cluster.pod(&PodSpec::new("dry", "a")).await.expect("pod");
    eventually("the log names what would be written", async || {
        let log = registrar.process.log();
        if log.contains("would write") && log.contains("pod dry/a") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert!(b.entries.under(&b.root()).await.expect("listed").is_empty());
}
