//! Several replicas, and the mass-delete breaker.

use registrar_tests::{Options, PodSpec, Registrar, entries::entry, eventually, steadily};
use std::{collections::BTreeSet, time::Duration};

use super::bench::{Bench, ROOT, bench};

const ELECTED: &str = "leader_election = true";
const ID: &str = "/ns/apps/sa/default";

async fn pods(b: &Bench, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let pod = PodSpec::new("apps", &format!("p-{n}"));
        b.private.cluster.pod(&pod).await.expect("a pod");
    }
}

/// Exactly so many pods have one entry each, and each SpiffeID says so.
async fn registered(b: &Bench, wanted: usize) {
    eventually(&format!("{wanted} pods have an entry each"), async || {
        let found = b.with_id(ID).await?;
        let ids: BTreeSet<String> = found.into_iter().map(|e| e.id).collect();
        let named: BTreeSet<String> = b
            .ids
            .list("apps")
            .await?
            .iter()
            .filter_map(|r| r["status"]["entryId"].as_str().map(str::to_owned))
            .collect();
        match ids.len() == wanted && ids == named {
            true => Ok(()),
            false => Err(format!("{ids:?}, and SpiffeIDs name {named:?}")),
        }
    })
    .await;
}

async fn leads(registrar: &Registrar, wanted: f64) {
    eventually(
        &format!("its metric leader is {wanted}"),
        async || match registrar.metric("leader").await {
            Ok(found) if found == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn a_replica_that_ends_or_dies_is_followed_by_another_which_writes_nothing_twice() {
    let b = bench(Options::default()).await;
    let mut first = b.registrar(ELECTED).await;
    leads(&first, 1.0).await;
    let mut second = b.registrar(ELECTED).await;
    pods(&b, 0..10).await;
    registered(&b, 10).await;
    leads(&second, 0.0).await;
    assert_eq!(second.writes().await.expect("metrics"), 0.0);

    first.process.terminate();
    pods(&b, 10..20).await;
    leads(&second, 1.0).await;
    registered(&b, 20).await;
    let ended = eventually("the first one ends", async || {
        first.process.ended().ok_or("still running")
    })
    .await;
    assert_eq!(ended.code(), Some(0));

    // It comes back as a standby, and the leader is killed in a burst.
    first.process.start_again().expect("starts");
    first.ready().await;
    pods(&b, 20..30).await;
    second.process.kill();
    pods(&b, 30..40).await;
    leads(&first, 1.0).await;
    registered(&b, 40).await;
    let revisions = b.with_id(ID).await.expect("entries");
    assert!(
        revisions.iter().all(|e| e.revision_number == 0),
        "each was written once: {revisions:#?}"
    );
}

#[tokio::test]
async fn entries_whose_spiffe_ids_vanished_go_only_when_someone_confirms_it() {
    const ORPHANS: usize = 30;
    let b = bench(Options::default()).await;
    pods(&b, 0..1).await;
    for n in 0..ORPHANS {
        let selectors = [
            format!("k8s:pod-uid:gone-{n}"),
            "k8s:ns:apps".to_owned(),
            "k8s:node-name:node-1".to_owned(),
        ];
        let selectors = selectors.each_ref().map(String::as_str);
        let orphan = entry(&format!("{ROOT}/node-1"), "/gone", &selectors);
        b.private.entries.create(orphan).await.expect("created");
    }
    let registrar = b.registrar("").await;
    eventually("the breaker trips", async || {
        match registrar.metric("breaker_tripped").await {
            Ok(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let log = registrar.process.log();
    assert!(log.contains("confirm-deletes: "), "{log}");
    // Everything else goes on, and a SpiffeID that is deleted takes its entry along.
    pods(&b, 1..2).await;
    registered(&b, 2).await;
    b.private
        .cluster
        .delete_pod("apps", "p-1")
        .await
        .expect("deleted");
    b.ids.delete("apps", "p-1").await.expect("deleted");
    b.gone("apps", "p-1").await;
    registered(&b, 1).await;
    steadily(Duration::from_secs(2), "the others stay", async || match b
        .with_id("/gone")
        .await?
        .len()
    {
        ORPHANS => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    registrar.process.user_signal();
    b.none("/gone").await;
    registered(&b, 1).await;
}
