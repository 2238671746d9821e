//! From one mode or root of ours to another, and back: the pod's new entry is there before the old one goes.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, api::DeleteParams};
use registrar_tests::{PodSpec, entries::entry, eventually, webhook::Webhook};

use super::{CRD, POD, ROOT, WEBHOOK, node_entry, retire, scene};
use crate::plane::private;

#[tokio::test]
async fn from_webhook_mode_to_reconcile_mode_without_a_gap() {
    let Some(scene) = scene().await else { return };
    scene
        .make([
            node_entry(WEBHOOK, "", ""),
            entry(WEBHOOK, "/ns/apps/sa/default", &POD),
            // A pod that the original never saw go.
            entry(
                WEBHOOK,
                "/ns/apps/sa/default",
                &["k8s:ns:apps", "k8s:pod-name:gone"],
            ),
            entry(WEBHOOK, "/by/hand", &["k8s:container-name:x"]),
        ])
        .await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(Some(old.clone()));
    let mut registrar = scene.registrar("").await;
    let both = scene.svids(2).await;
    watched.saw_no_gap().await;
    registrar.process.kill();

    // While a pod has no entry of ours, nothing goes, not even with -apply.
    scene
        .p
        .cluster
        .pod(&PodSpec::new("apps", "new"))
        .await
        .expect("pod");
    scene
        .make([entry(
            WEBHOOK,
            "/ns/apps/sa/default",
            &["k8s:ns:apps", "k8s:pod-name:new"],
        )])
        .await;
    let before = scene.all().await;
    let (output, text) = retire(registrar.config(), WEBHOOK, &["-apply"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("REFUSED") && text.contains("pod apps/new"),
        "{text}"
    );
    assert_eq!(scene.all().await, before);

    registrar.process.start_again().expect("started");
    registrar.ready().await;
    let (output, text) = retire(registrar.config(), WEBHOOK, &[]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("nothing was removed; add -apply"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    let new = both.into_iter().find(|s| *s != old).expect("a second one");
    let watched = scene.watch(Some(new.clone()));
    let (output, text) = retire(registrar.config(), WEBHOOK, &["-apply"]);
    assert!(
        output.status.success() && text.contains("removed 3 entries"),
        "{text}"
    );
    assert_eq!(
        scene.svids(1).await,
        [new],
        "the old one is gone, ours is the same"
    );
    watched.saw_no_gap().await;
    let left = scene.p.entries.under(WEBHOOK).await.expect("listed");
    let left: Vec<String> = left.iter().map(registrar_tests::entries::line).collect();
    assert_eq!(
        left.len(),
        2,
        "an operator's entry stays, and the node's under it: {left:#?}"
    );
}

/// The documentation that the original came with ends its webhook mode by deleting this object by its name. What that line
/// asks of the API server is asked here.
#[tokio::test]
async fn the_documented_deletion_of_the_webhooks_object_lets_pods_be_made_again() {
    let webhook = Webhook::generate("fail").expect("generated");
    let p = private(webhook.options()).await;
    webhook.install(&p.cluster).await.expect("installed");
    let mut count = 0;
    eventually(
        "no pod can be made: nobody answers the webhook",
        async || {
            count += 1;
            let pod = PodSpec::new("apps", &format!("probe-{count}"));
            match p.cluster.pod(&pod).await {
                Ok(_) => Err("it was made".to_owned()),
                Err(why) if format!("{why:#}").contains("k8s-workload-registrar") => Ok(()),
                Err(why) => Err(format!("{why:#}")),
            }
        },
    )
    .await;
    let api: Api<ValidatingWebhookConfiguration> = Api::all(p.cluster.client());
    api.delete("k8s-workload-registrar-webhook", &DeleteParams::default())
        .await
        .expect("it has the documented name");
    eventually("pods can be made again", async || {
        count += 1;
        let pod = PodSpec::new("apps", &format!("probe-{count}"));
        p.cluster.pod(&pod).await.map_err(|why| format!("{why:#}"))
    })
    .await;
}

#[tokio::test]
async fn from_one_controller_name_to_another_without_a_gap() {
    let Some(scene) = scene().await else { return };
    let mut first = scene.registrar("controller_name = \"first\"").await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(None);
    let second = scene.registrar("controller_name = \"second\"").await;
    scene.svids(2).await;
    first.process.kill();
    scene.retires(&second, "/first/demo/node", &old).await;
    watched.saw_no_gap().await;
}

#[tokio::test]
async fn from_reconcile_mode_to_crd_mode_and_back_without_a_gap() {
    let Some(scene) = scene().await else { return };
    let ids = scene.spiffe_ids().await;
    let mut reconcile = scene.registrar("").await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(None);
    let mut crd = scene.registrar(CRD).await;
    scene.svids(2).await;
    reconcile.process.kill();
    let of_crd = scene.retires(&crd, ROOT, &old).await;

    let reconcile = scene.registrar("").await;
    scene.svids(2).await;
    // While the definition goes, its SpiffeIDs are released and no entry is deleted: that is left to retire.
    ids.uninstall().await.expect("deleted");
    eventually(
        "the definition is gone, and with it all SpiffeIDs",
        async || match ids.is_installed().await? {
            true => Err("it waits for a finalizer".to_owned()),
            false => Ok(()),
        },
    )
    .await;
    crd.process.kill();
    scene.retires(&reconcile, WEBHOOK, &of_crd).await;
    watched.saw_no_gap().await;
}

#[tokio::test]
async fn crd_mode_takes_back_what_it_made_for_pods_when_its_pod_controller_is_off() {
    let Some(scene) = scene().await else { return };
    let ids = scene.spiffe_ids().await;
    let spec = serde_json::json!({
        "parentId": format!("spiffe://example.org{WEBHOOK}/node-1"),
        "spiffeId": "spiffe://example.org/by-hand", "selector": {"namespace": "spire"},
    });
    ids.create("spire", "by-hand", spec).await.expect("made");
    let mut crd = scene.registrar(CRD).await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(None);
    let _reconcile = scene.registrar("").await;
    let both = scene.svids(2).await;
    let new = both.into_iter().find(|s| *s != old).expect("a second one");
    crd.process.kill();
    let _crd = scene
        .registrar(&format!("{CRD}pod_controller = false"))
        .await;
    for (namespace, name) in [("apps", "web"), ("spire", "node-1")] {
        ids.delete(namespace, name).await.expect("deleted");
        eventually("its finalizer leaves", async || {
            match ids.get(namespace, name).await? {
                None => Ok(()),
                Some(resource) => Err(format!("{resource:#}")),
            }
        })
        .await;
    }
    assert_eq!(scene.svids(1).await, [new], "its entry went with it");
    watched.saw_no_gap().await;
    let by_hand = scene.all().await;
    let by_hand = by_hand
        .iter()
        .filter(|e| e.spiffe_id.as_ref().is_some_and(|id| id.path == "/by-hand"));
    assert_eq!(by_hand.count(), 1, "what people wrote stays");
}
