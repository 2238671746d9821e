//! What cannot be listed is not absent: nothing is deleted for it.

use registrar_tests::{PodSpec, Registrar, entries::entry, eventually, steadily};
use std::time::Duration;

use crate::plane::shared;

#[tokio::test]
async fn nothing_is_deleted_while_the_api_server_forbids_a_list() {
    let b = shared("forbidden").await;
    b.cluster
        .service_account("forbidden", "powerless")
        .await
        .expect("account");
    let token = b
        .cluster
        .token("forbidden", "powerless", None, None)
        .await
        .expect("token");
    let kubeconfig = b
        .plane
        .kubeconfig_for("powerless", &token)
        .expect("a kubeconfig");
    b.cluster
        .pod(&PodSpec::new("forbidden", "a"))
        .await
        .expect("pod");
    let selectors = ["k8s:ns:forbidden", "k8s:pod-name:unknown"];
    let parent = format!("{}/node-1", b.root());
    b.entries
        .create(entry(&parent, "/ns/x/sa/y", &selectors))
        .await
        .expect("created");
    let mut registrar = Registrar::start_with(
        b.plane,
        &kubeconfig,
        &b.plane.spire_socket(),
        "forbidden",
        "",
    )
    .expect("starts");
    eventually(
        "the log names what is forbidden, and the remedy",
        async || {
            registrar.process.must_run().map_err(|e| e.to_string())?;
            let log = registrar.process.log();
            let told = log.contains("forbidden") && log.contains("role needs list and watch on");
            if told { Ok(()) } else { Err(log) }
        },
    )
    .await;
    steadily(Duration::from_secs(2), "nothing is deleted", async || {
        let found = b.pods().await?.len();
        if found == 1 {
            Ok(())
        } else {
            Err(found.to_string())
        }
    })
    .await;
    let (status, text) = registrar.get("/readyz").await.expect("answers");
    assert!(
        status == 503 && text.contains("Pod objects are not listed yet"),
        "{status} {text}"
    );
}
