//! Which entries pods and nodes get in reconcile mode, field for field as the original made them.

use registrar_tests::{PodSpec, Registrar, entries::line, eventually};

use crate::plane::shared;

#[tokio::test]
async fn a_pod_gets_the_entry_of_its_service_account_and_loses_it_with_its_object() {
    let bench = shared("sa-mode").await;
    let mut registrar = Registrar::start(bench.plane, "sa-mode", "").expect("starts");
    registrar.ready().await;
    bench
        .cluster
        .service_account("sa-mode", "blog")
        .await
        .expect("account");
    bench
        .cluster
        .pod(&PodSpec::new("sa-mode", "web-1").service_account("blog"))
        .await
        .expect("pod");
    let root = "/spire-k8s-registrar/sa-mode/node";
    let selectors = ["k8s:ns:sa-mode"];
    let found = eventually("the pod has its entry", async || {
        let found = bench
            .entries
            .selecting(root, &selectors)
            .await
            .map_err(|e| e.to_string())?;
        (found.len() == 1)
            .then(|| found[0].clone())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await;
    assert_eq!(
        line(&found),
        format!("/ns/sa-mode/sa/blog <- {root}/node-1 [k8s:ns:sa-mode k8s:pod-name:web-1]")
    );
    bench
        .cluster
        .delete_pod("sa-mode", "web-1")
        .await
        .expect("deleted");
    eventually("its entry is gone", async || {
        let found = bench
            .entries
            .selecting(root, &selectors)
            .await
            .map_err(|e| e.to_string())?;
        found.is_empty().then_some(()).ok_or(format!("{found:?}"))
    })
    .await;
}
