//! Manifests that the API server takes, and that fit together.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use registrar_tests::{Options, dynamic, webhook::Webhook};
use serde_json::{Value, json};

use super::{deploy, documents};
use crate::plane::private;

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

/// The files of a kustomization, of the ones that it builds on, too.
fn files(dir: &Path) -> Vec<PathBuf> {
    let kustomization = &documents(&dir.join("kustomization.yaml"))[0];
    let mut found = Vec::new();
    for resource in kustomization["resources"].as_array().into_iter().flatten() {
        let path = dir.join(resource.as_str().expect("a path"));
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn every_manifest_is_one_that_the_api_server_takes() {
    let p = private(Options::default()).await;
    p.cluster.namespace("spire").await.expect("a namespace");
    let client = p.plane.client().await.expect("a client");
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
    dynamic::apply_yaml(&client, &server.to_string())
        .await
        .expect("a spire-server");
    let mut configs = 0;
    for shape in ["standalone", "sidecar"] {
        for mode in ["reconcile", "crd", "webhook"] {
            let dir = deploy().join(shape).join(mode);
            for file in files(&dir) {
                let text = std::fs::read_to_string(&file).expect("a file");
                let applied = dynamic::apply_yaml(&client, &text).await;
                applied.unwrap_or_else(|e| panic!("{}: {e:#}", file.display()));
                for object in documents(&file) {
                    if let Some(text) = object["data"]["k8s-workload-registrar.conf"].as_str() {
                        let read = registrar_adapters::config::parse("config", text.to_owned());
                        let (config, problems) =
                            read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                        assert!(problems.list.is_empty(), "{}: {problems}", file.display());
                        assert_eq!(config.mode.name(), mode);
                        configs += 1;
                    }
                }
            }
            if shape == "sidecar" {
                let patch = documents(&dir.join("container.yaml")).remove(0);
                let request = http::Request::patch(
                    "/apis/apps/v1/namespaces/spire/statefulsets/spire-server?dryRun=All&fieldValidation=Strict",
                )
                .header("Content-Type", "application/strategic-merge-patch+json")
                .body(patch.to_string().into_bytes())
                .expect("a request");
                let patched = client.request_text(request).await;
                let patched: Value =
                    serde_json::from_str(&patched.expect("the patch fits")).expect("an object");
                let containers = patched["spec"]["template"]["spec"]["containers"].as_array();
                assert_eq!(
                    containers.map(Vec::len),
                    Some(2),
                    "beside the server, not instead of it"
                );
            }
        }
    }
    assert_eq!(configs, 6);
}
