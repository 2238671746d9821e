//! Federation: an identity is never refused because of it, and is complete seconds after a bundle arrives.

use registrar_adapters::spire::pb::bundle::batch_delete_federated_bundle_request::Mode;
use registrar_tests::{PodSpec, eventually, wait::eventually_within};
use std::time::Duration;

use crate::plane::{Bench, shared};

const KEY: &str = "spiffe.io/federatesWith";

async fn federates(b: &Bench, within: Duration, expected: &[&str]) {
    eventually_within(
        within,
        &format!("federates with {expected:?}"),
        async || {
            let found = b.pods().await?;
            let mut with = found.first().ok_or("no entry")?.federates_with.clone();
            with.sort();
            if with == expected {
                Ok(())
            } else {
                Err(format!("{with:?}"))
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_trust_domain_without_a_bundle_is_added_when_the_bundle_comes() {
    let b = shared("fed").await;
    let _registrar = b.registrar("").await;
    b.entries
        .set_bundle("fed-known.test")
        .await
        .expect("bundle");
    let value = " fed-known.test, fed-later.test,,spiffe://fed-known.test,example.org,UPPER, fed-never.test ";
    b.cluster
        .pod(&PodSpec::new("fed", "a").annotation(KEY, value))
        .await
        .expect("pod");
    let minute = Duration::from_secs(60);
    federates(&b, minute, &["fed-known.test"]).await;
    eventually("Events tell what was left out, and why", async || {
        let events = b
            .cluster
            .events("fed", "a")
            .await
            .map_err(|e| e.to_string())?;
        let told = |part: &str| events.iter().any(|(_, note)| note.contains(part));
        let all = told("no bundle") && told("this trust domain itself") && told("UPPER");
        if all {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
    b.entries
        .set_bundle("fed-later.test")
        .await
        .expect("bundle");
    federates(&b, minute, &["fed-known.test", "fed-later.test"]).await;
    b.cluster
        .annotate("fed", "a", KEY, Some("fed-later.test"))
        .await
        .expect("annotated");
    federates(&b, minute, &["fed-later.test"]).await;
    b.cluster
        .annotate("fed", "a", KEY, None)
        .await
        .expect("annotated");
    federates(&b, minute, &[]).await;
}

#[tokio::test]
async fn a_bundle_that_goes_takes_no_identity_with_it() {
    let b = shared("fed-gone").await;
    let _registrar = b.registrar("").await;
    for (mode, td) in [
        (Mode::Dissociate, "dissociated.test"),
        (Mode::Delete, "deleted.test"),
    ] {
        b.entries.set_bundle(td).await.expect("bundle");
        b.cluster
            .pod(&PodSpec::new("fed-gone", "a").annotation(KEY, td))
            .await
            .expect("pod");
        federates(&b, Duration::from_secs(60), &[td]).await;
        // In mode DELETE the server removes the entry itself.
        b.entries.delete_bundle(td, mode).await.expect("gone");
        federates(&b, Duration::from_secs(60), &[]).await;
        b.cluster
            .delete_pod("fed-gone", "a")
            .await
            .expect("deleted");
        b.settles(&[]).await;
    }
}
