//! Manifests that the API server takes, and that fit together.

use std::{collections::BTreeSet, path::Path, process::Command};

use kube::Client;
use registrar_tests::{Options, dynamic, webhook::Webhook};
use serde_json::{Value, json};

use super::{deploy, documents, parsed};
use crate::plane::{private, shared};

/// The names of what pods of this template mount: ConfigMaps, and Secrets.
fn mounted(template: &Value) -> BTreeSet<&str> {
    let volumes = template["spec"]["volumes"].as_array().into_iter().flatten();
    let names = volumes.filter_map(|v| {
        let secret = v["secret"]["secretName"].as_str();
        secret.or(v["configMap"]["name"].as_str())
    });
    names.collect()
}

#[test]
fn what_generate_config_makes_fits_the_manifests_of_webhook_mode() {
    let made = Webhook::generate("ignore").expect("generated");
    let read = |file: &str| documents(&made.dir().join(file)).remove(0);
    let service = documents(&deploy().join("base/webhook/service.yaml")).remove(0);
    for manifest in [
        "standalone/webhook/deployment.yaml",
        "sidecar/webhook/container.yaml",
    ] {
        let template = &documents(&deploy().join(manifest))[0]["spec"]["template"];
        for file in ["certs-configmap.yaml", "secret.yaml"] {
            let object = read(file);
            let name = object["metadata"]["name"].as_str().expect("a name");
            assert!(mounted(template).contains(name), "{manifest}: {name}");
            let namespace = &object["metadata"]["namespace"];
            assert_eq!(*namespace, service["metadata"]["namespace"]);
        }
        for (key, value) in service["spec"]["selector"].as_object().expect("a selector") {
            assert_eq!(template["metadata"]["labels"][key], *value, "{manifest}");
        }
        let ports = template["spec"]["containers"][0]["ports"].to_string();
        let target = &service["spec"]["ports"][0]["targetPort"];
        assert!(ports.contains(&target.to_string()), "{manifest}: {ports}");
    }
}

/// What `kustomize build` makes of a folder.
pub fn built(dir: &Path) -> Vec<Value> {
    let output = Command::new("go")
        .args(["tool", "kustomize", "build"])
        .arg(dir)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/kustomize"))
        .output()
        .expect("go runs: it is needed for the control plane too");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", dir.display());
    let warnings = said.lines().filter(|l| !l.starts_with("go: downloading"));
    assert_eq!(warnings.count(), 0, "{}: {said}", dir.display());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    parsed(&text).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

/// The kustomization of someone who has a StatefulSet `spire-server` and adds the sidecar of this mode to it.
pub fn beside_a_server(mode: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let server = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"namespace": "spire", "name": "spire-server"},
        "spec": {
            "serviceName": "spire-server", "selector": {"matchLabels": {"app": "spire-server"}},
            "template": {"metadata": {"labels": {"app": "spire-server"}}, "spec": {
                "containers": [{"name": "spire-server", "image": "spire-server",
                    "volumeMounts": [{"name": "spire-server-socket", "mountPath": "/tmp/spire-server/private"}]}],
                "volumes": [{"name": "spire-server-socket", "emptyDir": {}}],
            }},
        },
    });
    std::fs::write(dir.path().join("server.yaml"), server.to_string()).expect("written");
    let component = deploy().join("sidecar").join(mode);
    let component = component.canonicalize().expect("a folder");
    let here = dir.path().canonicalize().expect("a folder");
    let up = "../".repeat(here.components().count() - 1);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["server.yaml"],
        "components": [format!("{up}{}", component.display().to_string().trim_start_matches('/'))],
    });
    std::fs::write(
        dir.path().join("kustomization.yaml"),
        kustomization.to_string(),
    )
    .expect("written");
    dir
}

/// The API server takes these objects, and knows every field of them.
async fn accepted(client: &Client, what: &str, objects: &[Value]) {
    for object in objects {
        let said = dynamic::dry_run(client, object).await;
        said.unwrap_or_else(|e| {
            panic!(
                "{what}: {} {}: {e}",
                object["kind"], object["metadata"]["name"]
            )
        });
    }
}

#[tokio::test]
async fn every_folder_builds_and_the_api_server_knows_every_field() {
    let p = private(Options::default()).await;
    p.cluster.namespace("spire").await.expect("a namespace");
    let client = p.plane.client().await.expect("a client");
    for mode in ["reconcile", "crd", "webhook"] {
        let base = built(&deploy().join("base").join(mode));
        accepted(&client, mode, &base).await;
        let beside = beside_a_server(mode);
        for dir in [&deploy().join("standalone").join(mode), beside.path()] {
            let objects = built(dir);
            let what = dir.display().to_string();
            accepted(&client, &what, &objects).await;
            for object in &base {
                let same = |o: &&Value| {
                    o["kind"] == object["kind"]
                        && o["metadata"]["name"] == object["metadata"]["name"]
                };
                assert!(
                    objects.iter().any(|o| same(&o)),
                    "{what}: {}",
                    object["metadata"]
                );
            }
            let texts = objects
                .iter()
                .filter_map(|o| o["data"]["k8s-workload-registrar.conf"].as_str());
            let texts: Vec<&str> = texts.collect();
            assert_eq!(texts.len(), 1, "{what}");
            let read = registrar_adapters::config::parse("config", texts[0].to_owned());
            let (config, problems) = read.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(problems.list.is_empty(), "{what}: {problems}");
            assert_eq!(config.mode.name(), mode);
        }
        let objects = built(beside.path());
        let server = objects.iter().find(|o| o["kind"] == "StatefulSet");
        let pod = &server.expect("the server")["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().map(Vec::len);
        assert_eq!(containers, Some(2), "beside the server, not instead of it");
    }
    let webhook = documents(&deploy().join("base/crd/webhook.yaml"));
    accepted(&client, "the webhook of SpiffeIDs", &webhook).await;
}

#[tokio::test]
async fn a_field_that_there_is_not_is_found() {
    let b = shared("dry-run").await;
    let client = b.plane.client().await.expect("a client");
    let mut policy = built(&deploy().join("standalone/reconcile"))
        .into_iter()
        .find(|o| o["kind"] == "PodDisruptionBudget")
        .expect("one");
    policy["metadata"]["namespace"] = json!(b.name);
    dynamic::dry_run(&client, &policy).await.expect("right");
    policy["spec"]["maxUnavailabel"] = json!(1);
    let said = dynamic::dry_run(&client, &policy).await.expect_err("wrong");
    assert!(said.contains("maxUnavailabel"), "{said}");
}
