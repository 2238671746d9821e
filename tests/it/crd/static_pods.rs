//! Static pods: the API server has only their mirrors, whose UIDs no kubelet knows.

use registrar_tests::{Options, PodSpec, entries};
use serde_json::json;

use super::bench::{OWN, ROOT, bench, id};

#[tokio::test]
async fn a_static_pod_is_selected_by_its_name_and_gets_no_identity_from_a_service_account() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    c.node("node-1").await.expect("a node");
    let mirror = PodSpec::new("apps", "proxy-node-1").mirror();
    let uid = c
        .pod(&mirror.label("app", "proxy"))
        .await
        .expect("a mirror pod");
    c.pod(&PodSpec::new("apps", "web").label("app", "web"))
        .await
        .expect("a pod");
    // By default the identity is the service account's.
    let mut registrar = b.registrar("").await;
    b.one("/ns/apps/sa/default").await;
    b.standing(OWN, "node-1", "True", "Registered").await;
    let none = b.ids.get("apps", "proxy-node-1").await.expect("answers");
    assert_eq!(none, None, "it has no service account");
    registrar.process.kill();

    let _registrar = b.registrar("pod_label = \"app\"").await;
    let resource = b
        .standing("apps", "proxy-node-1", "True", "Registered")
        .await;
    assert_eq!(
        resource["spec"]["selector"],
        json!({"namespace": "apps", "podName": "proxy-node-1"})
    );
    assert_eq!(resource["metadata"]["labels"], json!({"podUid": uid}));
    let entry = b.one("/proxy").await;
    assert_eq!(
        entries::line(&entry),
        format!("/proxy <- {ROOT}/node-1 [k8s:pod-name:proxy-node-1 k8s:ns:apps]")
    );
    assert_eq!(resource["spec"]["spiffeId"], id("/proxy"));
    assert_eq!(resource["status"]["entryId"], entry.id);

    // A static pod whose manifest changed comes back as another object of the same name.
    c.delete_pod("apps", "proxy-node-1").await.expect("deleted");
    b.none("/proxy").await;
    b.gone("apps", "proxy-node-1").await;
    let again = PodSpec::new("apps", "proxy-node-1").mirror();
    c.pod(&again.label("app", "proxy-2")).await.expect("again");
    let entry = b.one("/proxy-2").await;
    assert_eq!(
        entries::line(&entry),
        format!("/proxy-2 <- {ROOT}/node-1 [k8s:pod-name:proxy-node-1 k8s:ns:apps]")
    );
}
