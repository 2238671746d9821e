//! SPIRE away, the registrar away.

use std::time::Instant;

use registrar_tests::{
    Cluster, ControlPlane, Entries, PodSpec, Registrar, eventually, webhook::Webhook,
};

use super::{asked, entries_of, lines, right, settles, unbound};
use crate::plane::{Private, private};

struct Alone {
    /// Before the folder with its log, which a failed test shows.
    registrar: Registrar,
    private: Private,
    webhook: Webhook,
}

impl Alone {
    async fn with(failure_policy: &str) -> Self {
        let webhook = Webhook::generate(failure_policy).expect("generated");
        let private = private(webhook.options()).await;
        let mut registrar =
            Registrar::start(&private.plane, "webhook", &webhook.config()).expect("starts");
        registrar.ready().await;
        webhook.install(&private.cluster).await.expect("installed");
        asked(&private.cluster, &private.entries).await;
        Self {
            private,
            webhook,
            registrar,
        }
    }

    fn parts(&mut self) -> (&mut ControlPlane, &Cluster, &Entries) {
        let Private {
            plane,
            cluster,
            entries,
            ..
        } = &mut self.private;
        (plane, cluster, entries)
    }
}

#[tokio::test]
async fn with_fail_the_person_sees_why_and_pods_are_admitted_again_when_spire_is_back() {
    let mut alone = Alone::with("fail").await;
    let (plane, cluster, entries) = alone.parts();
    cluster.pod(&unbound("apps", "before")).await.expect("pod");
    plane.spire_server.kill();
    let refused = cluster.pod(&unbound("apps", "meanwhile")).await;
    let text = format!("{:#}", refused.expect_err("refused"));
    assert!(text.contains("unable to register the pod"), "{text}");
    assert!(text.contains("the SPIRE Server does not answer"), "{text}");
    plane.spire_server.start_again().expect("starts");
    plane.spire_ready().await.expect("answers");
    eventually("pods are admitted again", async || {
        let made = cluster.pod(&unbound("apps", "after")).await;
        made.map_err(|e| format!("{e:#}"))
    })
    .await;
    let found = lines(entries, "apps").await.expect("listed");
    assert!(found.contains(&right("apps", "after")), "{found:#?}");
    assert!(!found.contains(&right("apps", "meanwhile")), "{found:#?}");
}

#[tokio::test]
async fn with_ignore_pods_are_admitted_and_registered_when_spire_and_the_registrar_are_back() {
    let mut alone = Alone::with("ignore").await;
    let (plane, cluster, entries) = alone.parts();
    cluster
        .pod(&PodSpec::new("apps", "old"))
        .await
        .expect("pod");
    plane.spire_server.kill();
    cluster
        .pod(&unbound("apps", "spire-away"))
        .await
        .expect("admitted");
    plane.spire_server.start_again().expect("starts");
    plane.spire_ready().await.expect("answers");
    let both = [right("apps", "old"), right("apps", "spire-away")];
    settles(entries, "apps", &both).await;
    // The registrar ends well, and is away while pods come and go.
    alone.registrar.process.terminate();
    let status = eventually("the registrar ends", async || {
        alone.registrar.process.ended().ok_or("it runs")
    })
    .await;
    assert!(status.success(), "{status}");
    let (_, cluster, entries) = alone.parts();
    cluster
        .pod(&unbound("apps", "registrar-away"))
        .await
        .expect("admitted");
    cluster
        .pod(&unbound("apps", "brief"))
        .await
        .expect("admitted");
    cluster.delete_pod("apps", "brief").await.expect("deleted");
    cluster.delete_pod("apps", "old").await.expect("deleted");
    let old = entries_of(entries, "apps").await.expect("listed");
    assert_eq!(old.len(), 2, "nobody has seen it");
    let config = alone.webhook.config();
    let begun = Instant::now();
    let mut again = Registrar::start(&alone.private.plane, "webhook", &config).expect("starts");
    let left = [right("apps", "registrar-away"), right("apps", "spire-away")];
    // Not the minute that an orphan's entry stays otherwise: the ceiling is that minute.
    eventually("what happened meanwhile is made good", async || {
        again.process.must_run().map_err(|e| e.to_string())?;
        match lines(&alone.private.entries, "apps").await? {
            found if found == left => Ok(()),
            found => Err(found.join("\n")),
        }
    })
    .await;
    eprintln!("made good {:?} after the start", begun.elapsed());
}
