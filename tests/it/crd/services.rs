//! Names of Services, on slices as the control plane's own controller makes them.

use registrar_tests::{
    Options, PodSpec, dynamic::apply_yaml, entries::Entry, eventually, steadily,
};
use serde_json::{Value, json};
use std::time::Duration;

use super::bench::{Bench, OWN, bench, id};

/// A Service that selects the pods with this label, with an address of its own or without (headless).
async fn service(b: &Bench, name: &str, app: &str, headless: bool) {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "apps", "name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
    });
    if headless {
        object["spec"]["clusterIP"] = json!("None");
    }
    let client = b.private.cluster.client();
    apply_yaml(&client, &object.to_string())
        .await
        .expect("applied");
}

async fn ready(b: &Bench, pod: &str, ready: bool) {
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}],
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
    }});
    b.private
        .cluster
        .pod_status("apps", pod, status)
        .await
        .expect("written");
}

async fn names(b: &Bench, path: &str, wanted: &[&str]) -> Entry {
    eventually(&format!("{path} has the names {wanted:?}"), async || {
        let found = b.with_id(path).await?;
        match found.as_slice() {
            [entry] if entry.dns_names == wanted => Ok(entry.clone()),
            _ => Err(format!("{found:#?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_headless_service_names_its_pods_like_any_other() {
    let b = bench(Options::default()).await;
    service(&b, "db", "db", true).await;
    service(&b, "db-any", "db", false).await;
    let pod = PodSpec::new("apps", "db-0").label("app", "db");
    b.private
        .cluster
        .pod(&pod.hostname("db-0", "db"))
        .await
        .expect("a pod");
    ready(&b, "db-0", true).await;
    let _registrar = b.registrar("dns_name_templates = []").await;
    // As the original: nothing of the pod's hostname.
    names(
        &b,
        "/ns/apps/sa/default",
        &["db-any.apps.svc", "db.apps.svc"],
    )
    .await;
}

#[tokio::test]
async fn without_the_pod_controller_services_name_the_spiffe_ids_of_others() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    service(&b, "store", "store", false).await;
    let uid = c
        .pod(&PodSpec::new("apps", "db").label("app", "store"))
        .await
        .expect("a pod");
    c.namespace("others").await.expect("a namespace");
    let mut registrar = b.start("pod_controller = false\ndrift_interval = \"3s\"");
    registrar.ready().await;
    let written = |namespace: &str, path: &str| {
        json!({
            "metadata": {"name": "any-name", "namespace": namespace, "labels": {"podUid": uid}},
            "spec": {
                "parentId": id("/nodes/demo"), "spiffeId": id(path),
                "selector": {"namespace": namespace, "podUid": uid},
                "dnsNames": ["by-hand.example.org"],
            },
        })
    };
    let of = |namespace: &'static str, path: &'static str| {
        let object = written(namespace, path);
        let ids = &b.ids;
        async move { ids.create_object(namespace, object).await.expect("made") }
    };
    of("apps", "/db").await;
    of("others", "/other").await;
    names(&b, "/db", &["by-hand.example.org"]).await;
    names(&b, "/other", &["by-hand.example.org"]).await;

    ready(&b, "db", true).await;
    let named = names(&b, "/db", &["by-hand.example.org", "store.apps.svc"]).await;
    let resource = b.standing("apps", "any-name", "True", "Registered").await;
    assert_eq!(
        resource["spec"]["dnsNames"],
        json!(["by-hand.example.org", "store.apps.svc"])
    );

    // Not ready for a moment: the name stays, and nothing is written.
    let settled = async || -> Result<(Value, f64), String> {
        let now = b.ids.get("apps", "any-name").await?.ok_or("gone")?;
        let writes = registrar.writes().await.map_err(|e| e.to_string())?;
        Ok((now["metadata"]["resourceVersion"].clone(), writes))
    };
    let before = settled().await.expect("both");
    ready(&b, "db", false).await;
    eventually("the slice says so", async || {
        let slices: Value = c
            .client()
            .request(
                http::Request::get("/apis/discovery.k8s.io/v1/namespaces/apps/endpointslices")
                    .body(Vec::new())
                    .expect("a request"),
            )
            .await
            .map_err(|e| e.to_string())?;
        match slices["items"][0]["endpoints"][0]["conditions"]["ready"] == json!(false) {
            true => Ok(()),
            false => Err(format!("{slices:#}")),
        }
    })
    .await;
    steadily(Duration::from_secs(4), "nothing is written", async || {
        let now = settled().await?;
        match now == before {
            true => Ok(()),
            false => Err(format!("{now:?}, was {before:?}")),
        }
    })
    .await;

    // A person adds a name of their own; then the pod leaves the Service, and its name alone goes.
    b.ids
        .apply_names("apps", "any-name", &["more.example.org"])
        .await
        .expect("applied");
    names(
        &b,
        "/db",
        &["by-hand.example.org", "store.apps.svc", "more.example.org"],
    )
    .await;
    c.patch_pod("apps", "db", json!({"labels": {"app": "none"}}))
        .await
        .expect("changed");
    let after = names(&b, "/db", &["by-hand.example.org", "more.example.org"]).await;
    assert_eq!(after.id, named.id, "in place");
    names(&b, "/other", &["by-hand.example.org"]).await;
    for (namespace, wanted) in [("apps", 1), ("others", 1), (OWN, 0)] {
        let all = b.ids.list(namespace).await.expect("all");
        assert_eq!(
            all.len(),
            wanted,
            "none is made for pods and nodes: {all:#?}"
        );
    }
    registrar.process.must_run().expect("runs");
}
