//! What ends: the definition, namespaces, the registrar itself.

use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{Options, PodSpec, eventually, steadily};
use std::time::Duration;

use super::bench::{OWN, all, bare_bench, bench, by_hand};

#[tokio::test]
async fn without_its_definition_it_stays_up_says_so_and_begins_when_it_appears() {
    let b = bare_bench(Options::default()).await;
    b.private
        .cluster
        .pod(&PodSpec::new("apps", "blog"))
        .await
        .expect("a pod");
    let mut registrar = b.start("");
    eventually("readiness says what is missing", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let (status, text) = registrar.get("/readyz").await.map_err(|e| e.to_string())?;
        match status == 503 && text.contains("is not installed") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    assert!(registrar.process.log().contains("not installed"));
    let metric = registrar.metric("spiffe_id_definition").await;
    assert_eq!(metric.expect("metrics"), 0.0);
    b.ids
        .install(CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    registrar.ready().await;
    b.one("/ns/apps/sa/default").await;
    eventually("the metric says so", async || {
        match registrar.metric("spiffe_id_definition").await {
            Ok(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn the_definition_goes_at_once_no_entry_goes_with_it_and_all_is_made_again_on_them() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    for n in 0..5 {
        c.pod(&PodSpec::new("apps", &format!("p-{n}")))
            .await
            .expect("a pod");
    }
    let mut registrar = b.registrar("drift_interval = \"3s\"").await;
    b.ids
        .create(OWN, "payments", by_hand("/payments", "payments"))
        .await
        .expect("made");
    b.standing(OWN, "payments", "True", "Registered").await;
    for n in 0..5 {
        b.standing("apps", &format!("p-{n}"), "True", "Registered")
            .await;
    }
    let before = all(&b).await.expect("entries");
    assert_eq!(before.len(), 5 + 2 + 1, "pods, nodes, one by hand");
    b.ids.uninstall().await.expect("asked");
    eventually("the definition is gone", async || {
        match b.ids.is_installed().await? {
            false => Ok(()),
            true => Err("still there"),
        }
        .map_err(str::to_owned)
    })
    .await;
    steadily(Duration::from_secs(8), "every entry stays", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let now = all(&b).await?;
        match now == before {
            true => Ok(()),
            false => Err(format!("{now:#?}")),
        }
    })
    .await;
    b.ids
        .install(CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    b.ids
        .create(OWN, "payments", by_hand("/payments", "payments"))
        .await
        .expect("made");
    b.standing(OWN, "payments", "True", "Registered").await;
    for n in 0..5 {
        b.standing("apps", &format!("p-{n}"), "True", "Registered")
            .await;
    }
    assert_eq!(all(&b).await.expect("entries"), before, "the same entries");
}

#[tokio::test]
async fn the_definition_goes_also_while_spire_is_away_and_nobody_loses_an_entry() {
    let mut b = bench(Options::default()).await;
    for n in 0..5 {
        let pod = PodSpec::new("apps", &format!("p-{n}"));
        b.private.cluster.pod(&pod).await.expect("a pod");
    }
    let _registrar = b.registrar("drift_interval = \"3s\"").await;
    for n in 0..5 {
        b.standing("apps", &format!("p-{n}"), "True", "Registered")
            .await;
    }
    let before = all(&b).await.expect("entries");
    b.private.plane.spire_server.kill();
    b.ids.uninstall().await.expect("asked");
    eventually("the definition is gone", async || {
        match b.ids.is_installed().await? {
            false => Ok(()),
            true => Err("still there".to_owned()),
        }
    })
    .await;
    b.private.plane.spire_server.start_again().expect("starts");
    b.private.plane.spire_ready().await.expect("ready");
    b.ids
        .install(CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    for n in 0..5 {
        b.standing("apps", &format!("p-{n}"), "True", "Registered")
            .await;
    }
    assert_eq!(all(&b).await.expect("entries"), before, "the same entries");
}

#[tokio::test]
async fn a_namespace_with_many_pods_waits_for_spire_and_then_goes_in_seconds() {
    let mut b = bench(Options::default()).await;
    b.private.cluster.namespace("crowd").await.expect("made");
    for n in 0..50 {
        b.private
            .cluster
            .pod(&PodSpec::new("crowd", &format!("p-{n}")))
            .await
            .expect("a pod");
    }
    let mut registrar = b.registrar("").await;
    for n in 0..50 {
        b.standing("crowd", &format!("p-{n}"), "True", "Registered")
            .await;
    }
    b.private.plane.spire_server.kill();
    b.private
        .cluster
        .delete_namespace("crowd")
        .await
        .expect("asked");
    b.private.cluster.delete_pods("crowd").await.expect("asked");
    steadily(Duration::from_secs(3), "it waits for SPIRE", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        match b.private.cluster.namespace_exists("crowd").await? {
            true => Ok(()),
            false => Err("gone".to_owned()),
        }
    })
    .await;
    b.private.plane.spire_server.start_again().expect("starts");
    eventually("the namespace is gone", async || {
        match b.private.cluster.namespace_exists("crowd").await? {
            false => Ok(()),
            true => Err("still there".to_owned()),
        }
    })
    .await;
    b.none("/ns/crowd/sa/default").await;
}

#[tokio::test]
async fn killed_again_and_again_it_loses_no_entry_and_leaves_none() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let mut registrar = b.registrar("drift_interval = \"3s\"").await;
    for round in 0..6u64 {
        for n in 0..4 {
            let name = format!("p-{round}-{n}");
            c.pod(&PodSpec::new("apps", &name)).await.expect("a pod");
            b.ids
                .create(OWN, &name, by_hand(&format!("/hand/{name}"), "x"))
                .await
                .expect("made");
        }
        if round > 0 {
            for n in 0..2 {
                let name = format!("p-{}-{n}", round - 1);
                c.delete_pod("apps", &name).await.expect("deleted");
                b.ids.delete(OWN, &name).await.expect("deleted");
            }
        }
        // Another moment of the work each time.
        tokio::time::sleep(Duration::from_millis(15 * round)).await;
        registrar.process.kill();
        registrar.process.start_again().expect("starts");
        tokio::time::sleep(Duration::from_millis(600 + 40 * round)).await;
        registrar.process.kill();
        registrar.process.start_again().expect("starts");
    }
    registrar.ready().await;
    // The controller manager collects SpiffeIDs of pods once it knows the kind; that may take half a minute.
    eventually("exactly what lives has entries", async || {
        let all = b.private.entries.all().await.map_err(|e| e.to_string())?;
        let hand = all.iter().filter(|e| path(e).starts_with("/hand/")).count();
        let pods = all
            .iter()
            .filter(|e| path(e) == "/ns/apps/sa/default")
            .count();
        let wanted = 6 * 4 - 5 * 2;
        match hand == wanted && pods == wanted && all.len() == 2 * wanted + 2 {
            true => Ok(()),
            false => Err(format!(
                "{hand} by hand, {pods} of pods, {} in all",
                all.len()
            )),
        }
    })
    .await;
}

fn path(entry: &registrar_tests::entries::Entry) -> &str {
    entry.spiffe_id.as_ref().map_or("", |id| &id.path)
}
