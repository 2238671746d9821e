//! What reviews alone cannot do.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{Api, api::PostParams};
use registrar_tests::eventually;
use serde_json::json;

use super::{entries_of, settles, shared, unbound};

#[tokio::test]
async fn the_entry_of_a_pod_that_is_refused_after_its_review_goes() {
    let b = shared("refused").await;
    let quotas: Api<ResourceQuota> = Api::namespaced(b.cluster.client(), "refused");
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let quota = serde_json::from_value(quota).expect("a quota");
    quotas
        .create(&PostParams::default(), &quota)
        .await
        .expect("made");
    // Without the controller that counts, a quota is in force as soon as its status says so.
    let status = json!({"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
    let patch = kube::api::Patch::Merge(status);
    quotas
        .patch_status("none", &kube::api::PatchParams::default(), &patch)
        .await
        .expect("in force");
    eventually("the quota refuses the pod", async || {
        match b.cluster.pod(&unbound("refused", "a")).await {
            Err(error) if format!("{error:#}").contains("quota") => Ok(()),
            Err(error) => Err(format!("{error:#}")),
            Ok(_) => {
                let _ = b.cluster.delete_pod("refused", "a").await;
                Err("admitted".to_owned())
            }
        }
    })
    .await;
    settles(&b.entries, "refused", &[]).await;
}

#[tokio::test]
async fn an_entry_that_someone_deletes_is_made_again() {
    let b = shared("missing").await;
    b.cluster.pod(&unbound("missing", "a")).await.expect("pod");
    let [entry] = &entries_of(&b.entries, "missing").await.expect("listed")[..] else {
        panic!("one entry");
    };
    b.entries.delete(&entry.id).await.expect("deleted");
    settles(&b.entries, "missing", &[b.right("a")]).await;
}

#[tokio::test]
async fn a_changed_annotation_reaches_the_entry() {
    let b = shared("annotated").await;
    b.entries
        .set_bundle("webhook-friend.test")
        .await
        .expect("a bundle");
    b.cluster
        .pod(&unbound("annotated", "a"))
        .await
        .expect("pod");
    let key = "spiffe.io/federatesWith";
    let federates = async |wanted: &[&str]| {
        eventually("the entry federates as the annotation says", async || {
            let found = entries_of(&b.entries, "annotated").await?;
            match &found[..] {
                [one] if one.federates_with == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    let friend = Some("webhook-friend.test, unknown.test");
    b.cluster
        .annotate("annotated", "a", key, friend)
        .await
        .expect("annotated");
    federates(&["webhook-friend.test"]).await;
    b.cluster
        .annotate("annotated", "a", key, None)
        .await
        .expect("annotated");
    federates(&[]).await;
}

#[tokio::test]
async fn the_rights_that_are_shipped_are_enough_and_metrics_count_reviews() {
    let b = shared("counted").await;
    let log = b.registrar.process.log();
    assert!(log.contains("Sweep on"), "{log}");
    assert!(
        !log.contains("status=403") && !log.contains("forbidden"),
        "{log}"
    );
    b.cluster.pod(&unbound("counted", "a")).await.expect("pod");
    let answered = b
        .registrar
        .metric("admission_requests_total{outcome=\"answered\"}")
        .await;
    assert!(answered.expect("a metric") >= 1.0);
    let timed = b.registrar.metric("admission_seconds_count").await;
    assert!(timed.expect("a metric") >= 1.0);
}
