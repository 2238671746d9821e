//! Without the right to read pods, the mode works by reviews alone.

use std::time::Duration;

use registrar_tests::{
    PodSpec, Registrar,
    entries::entry,
    steadily,
    webhook::{Webhook, delete_review},
};

use super::{asked, lines, right, unbound};
use crate::plane::private;

#[tokio::test]
async fn without_rights_reviews_alone_make_and_remove_entries() {
    let webhook = Webhook::generate("fail").expect("generated");
    let p = private(webhook.options()).await;
    p.cluster
        .service_account("apps", "no-rights")
        .await
        .expect("account");
    let token = p
        .cluster
        .token("apps", "no-rights", None, None)
        .await
        .expect("a token");
    let kubeconfig = p
        .plane
        .kubeconfig_for("no-rights", &token)
        .expect("written");
    let socket = p.plane.spire_socket();
    let config = webhook.config();
    let mut registrar =
        Registrar::start_with(&p.plane, &kubeconfig, &socket, "webhook", &config).expect("starts");
    registrar.ready().await;
    let log = registrar.process.log();
    let told = log.lines().find(|l| l.contains("Sweep off")).expect("told");
    for words in [
        "cannot list pods",
        "role needs",
        "deploy/base/<mode>/rbac.yaml",
    ] {
        assert!(told.contains(words), "{told}");
    }
    webhook.install(&p.cluster).await.expect("installed");
    asked(&p.cluster, &p.entries).await;
    let now = async || lines(&p.entries, "apps").await.expect("listed");

    let foreign = entry(
        "/k8s-workload-registrar/other/node",
        "/ns/apps/sa/default",
        &["k8s:ns:apps", "k8s:pod-name:a"],
    );
    let foreign = p.entries.create(foreign).await.expect("made");
    p.cluster
        .pod(&PodSpec::new("apps", "a"))
        .await
        .expect("pod");
    assert_eq!(now().await, [right("apps", "a")]);
    // The beginning of a grace period removes nothing; the end does, before the API server's answer.
    p.cluster.end_pod("apps", "a", 30).await.expect("ends");
    steadily(Duration::from_secs(2), "the entry stays", async || {
        let found = lines(&p.entries, "apps").await?;
        if found == [right("apps", "a")] {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    })
    .await;
    p.cluster.delete_pod("apps", "a").await.expect("gone");
    assert!(now().await.is_empty(), "{:?}", now().await);
    let all = p.entries.all().await.expect("listed");
    assert!(all.iter().any(|e| e.id == foreign), "the foreign one stays");
    // A pod that no node has is gone at once; a collection names no pod.
    for n in 0..5 {
        p.cluster
            .pod(&unbound("apps", &format!("p-{n}")))
            .await
            .expect("pod");
    }
    assert_eq!(now().await.len(), 5);
    p.cluster.delete_pods("apps").await.expect("deleted");
    assert!(now().await.is_empty(), "{:?}", now().await);
    // One name, again and again.
    for _ in 0..10 {
        p.cluster.pod(&unbound("apps", "db-0")).await.expect("pod");
        assert_eq!(now().await, [right("apps", "db-0")]);
        p.cluster.delete_pod("apps", "db-0").await.expect("deleted");
        assert!(now().await.is_empty());
    }
    // A delete of a former pod that comes after its successor's create takes nothing from that.
    let asker = webhook.asker(webhook.port()).await.expect("a client");
    asker.create("apps", "late").await.expect("granted");
    let late = delete_review("apps", "late", "of a former pod");
    let late = asker.send(late.to_string().into_bytes()).await;
    assert!(late.expect("answered").contains("\"allowed\":true"));
    assert_eq!(now().await, [right("apps", "late")]);
    let own = delete_review("apps", "late", "late").to_string();
    asker.send(own.into_bytes()).await.expect("answered");
    assert!(now().await.is_empty(), "{:?}", now().await);
}
