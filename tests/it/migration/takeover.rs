//! The original registrar, taken over in place: nothing is written, and the SVID keeps its serial number.

use std::time::Duration;

use registrar_tests::{
    Registrar,
    entries::{Entry, entry},
    webhook::Webhook,
};
use serde_json::json;

use super::{CRD, POD, ROOT, Scene, WEBHOOK, node_entry, scene, scene_with};

/// Whatever was there stays as it is, field by field and revision by revision, and the workload keeps its certificate.
async fn stays(scene: &Scene, start: impl AsyncFnOnce() -> Registrar) {
    let before = scene.svids(1).await.remove(0);
    let entries = scene.all().await;
    let watched = scene.watch(Some(before.clone()));
    let registrar = start().await;
    // Some comparisons with the server, and two syncs of the agent.
    tokio::time::sleep(Duration::from_secs(4)).await;
    watched.saw_no_gap().await;
    assert_eq!(
        scene.svids(1).await,
        [before],
        "the same certificate, serial number included"
    );
    let after = scene.all().await;
    let kept: Vec<&Entry> = after
        .iter()
        .filter(|a| entries.iter().any(|e| e.id == a.id))
        .collect();
    assert_eq!(
        kept,
        entries.iter().collect::<Vec<_>>(),
        "no field and no revision changed"
    );
    let web = |e: &&Entry| {
        e.spiffe_id
            .as_ref()
            .is_some_and(|id| id.path == "/ns/apps/sa/default")
    };
    assert_eq!(
        after.iter().filter(web).count(),
        1,
        "and none was made beside it"
    );
    drop(registrar);
}

#[tokio::test]
async fn the_originals_reconcile_mode_is_taken_over_in_place_and_the_svid_stays() {
    let Some(scene) = scene().await else { return };
    // As the original leaves them: server-made IDs, the selectors in its order.
    scene
        .make([
            node_entry(ROOT, "node-1", "k8s_psat:agent_node_name:node-1"),
            entry(&format!("{ROOT}/node-1"), "/ns/apps/sa/default", &POD),
        ])
        .await;
    stays(&scene, async || {
        scene.registrar("drift_interval = \"1s\"").await
    })
    .await;
}

#[tokio::test]
async fn the_originals_webhook_mode_is_taken_over_in_place_and_the_svid_stays() {
    let webhook = Webhook::generate("ignore").expect("generated");
    let Some(scene) = scene_with(webhook.options()).await else {
        return;
    };
    scene
        .make([
            node_entry(WEBHOOK, "", ""),
            entry(WEBHOOK, "/ns/apps/sa/default", &POD),
        ])
        .await;
    let extra = format!("{}drift_interval = \"1s\"", webhook.config());
    stays(&scene, async || scene.registrar(&extra).await).await;
}

#[tokio::test]
async fn the_originals_crd_mode_is_taken_over_in_place_and_the_svid_stays() {
    let Some(scene) = scene().await else { return };
    let ids = scene.spiffe_ids().await;
    let (pod, node) = (&scene.pod_uid, &scene.node_uid);
    let parent = format!("{WEBHOOK}/node-1");
    let selectors = [
        format!("k8s:pod-uid:{pod}"),
        "k8s:ns:apps".into(),
        "k8s:node-name:node-1".into(),
    ];
    let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
    let agents = [
        "k8s_psat:cluster:demo".to_owned(),
        format!("k8s_psat:agent_node_uid:{node}"),
    ];
    let agents: Vec<&str> = agents.iter().map(String::as_str).collect();
    let of_pod = Entry {
        dns_names: vec!["web".into()],
        ..entry(&parent, "/ns/apps/sa/default", &selectors)
    };
    let of_node = entry("/spire/server", &parent, &agents);
    let id = |path: &str| format!("spiffe://example.org{path}");
    let made = [
        (
            "apps",
            "web",
            of_pod,
            json!({
                "finalizers": ["finalizers.spiffeid.spiffe.io"], "labels": {"podUid": pod},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": pod,
                    "controller": true, "blockOwnerDeletion": false}],
            }),
            json!({
                "parentId": id(&parent), "spiffeId": id("/ns/apps/sa/default"), "dnsNames": ["web"],
                "selector": {"podUid": pod, "namespace": "apps", "nodeName": "node-1"},
            }),
        ),
        (
            "spire",
            "node-1",
            of_node,
            json!({
                "finalizers": ["finalizers.spiffeid.spiffe.io"], "labels": {"nodeUid": node},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": node,
                    "controller": true, "blockOwnerDeletion": false}],
            }),
            json!({
                "parentId": id("/spire/server"), "spiffeId": id(&parent),
                "selector": {"cluster": "demo", "agent_node_uid": node},
            }),
        ),
    ];
    for (namespace, name, entry, mut metadata, spec) in made {
        let entry_id = scene.p.entries.create(entry).await.expect("created");
        metadata["name"] = name.into();
        let object = json!({"metadata": metadata, "spec": spec});
        ids.create_object(namespace, object).await.expect("made");
        let status = json!({"entryId": entry_id});
        ids.patch_status(namespace, name, status)
            .await
            .expect("its status");
    }
    let extra = format!("{CRD}drift_interval = \"1s\"");
    stays(&scene, async || scene.registrar(&extra).await).await;
}
