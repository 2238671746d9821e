//! The README's steps, as far as a machine without a kubelet goes: its commands, then what `kubectl apply -k` applies; and the
//! program as the Deployment or the sidecar runs it, with what that mounts. Only addresses and paths are this machine's.

use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use kube::Client;
use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{
    PodSpec, SpiffeIds,
    agent::Agent,
    control_plane::programs,
    dynamic,
    entries::id,
    eventually,
    process::{Process, free_port},
    registrar::program,
    webhook::Webhook,
};
use serde_json::{Value, json};

use super::{
    deploy,
    manifests::{beside_a_server, built},
};
use crate::plane::{Private, private};

/// The README's `spire-server entry create` commands, word by word.
fn entry_commands() -> Vec<Vec<String>> {
    let text = include_str!("../../../README.md").replace("\\\n", " ");
    let lines = text.lines().filter_map(|l| l.strip_prefix("$ "));
    lines
        .filter(|l| l.starts_with("spire-server entry create"))
        .map(|l| l.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Runs them, with selectors that fit a process outside of every pod.
fn make_entries(p: &Private) {
    let commands = entry_commands();
    assert_eq!(commands.len(), 2, "{commands:#?}");
    for command in commands {
        let words = command.iter().map(|word| match word.as_str() {
            "k8s:ns:spire" => "unix:uid:0",
            "k8s:sa:k8s-workload-registrar" => "unix:gid:0",
            word => word,
        });
        let mut words = words.skip(1);
        let output = std::process::Command::new(programs().expect("built").join("spire-server"))
            .args(words.by_ref().take(2))
            .arg("-socketPath")
            .arg(p.plane.spire_socket())
            .args(words)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}

/// A container of the program, and the volumes of its pod, as the API server has them.
async fn container(client: &Client, objects: &[Value]) -> (Value, Value) {
    let workload = objects
        .iter()
        .find(|o| o["kind"] == "Deployment" || o["kind"] == "StatefulSet")
        .expect("one of them");
    let stored = dynamic::get(client, workload).await.expect("answers");
    let pod = stored.expect("applied").data["spec"]["template"]["spec"].clone();
    let containers = pod["containers"].as_array().expect("containers").iter();
    let ours = |c: &&Value| c["name"] == "k8s-workload-registrar";
    let container = containers.clone().find(ours).expect("ours").clone();
    assert_eq!(pod["serviceAccountName"], "k8s-workload-registrar");
    (container, pod["volumes"].clone())
}

/// Puts into a folder what a volume holds. A socket is this machine's.
async fn fill(client: &Client, dir: &Path, volume: &Value, sockets: &[(&str, PathBuf)]) {
    std::fs::create_dir_all(dir).expect("a folder");
    let (kind, name) = match (
        &volume["configMap"]["name"],
        &volume["secret"]["secretName"],
    ) {
        (Value::String(name), _) => ("ConfigMap", name),
        (_, Value::String(name)) => ("Secret", name),
        _ => {
            for (file, socket) in sockets {
                std::os::unix::fs::symlink(socket, dir.join(file)).expect("linked");
            }
            return;
        }
    };
    let object =
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "spire", "name": name}});
    let object = dynamic::get(client, &object).await.expect("answers");
    let object = object.unwrap_or_else(|| panic!("{kind} {name} is mounted and not there"));
    for (file, value) in object.data["data"].as_object().expect("data") {
        let bytes = match kind {
            "Secret" => serde_json::from_value(value.clone()).map(|ByteString(b)| b),
            _ => serde_json::from_value(value.clone()).map(String::into_bytes),
        };
        let bytes = bytes.expect("what a volume can hold");
        std::fs::write(dir.join(file), bytes).expect("written");
    }
}

struct Steps {
    p: Private,
    client: Client,
    kubeconfig: PathBuf,
    webhook: Webhook,
}

impl Steps {
    /// The program as the container runs it.
    async fn run(&self, what: &str, objects: &[Value]) -> Process {
        for object in objects {
            let text = serde_yaml::to_string(object).expect("YAML");
            dynamic::apply_yaml(&self.client, &text)
                .await
                .unwrap_or_else(|e| panic!("{what}: {e:#}"));
        }
        let (container, volumes) = container(&self.client, objects).await;
        let root = self.p.plane.dir().join(what.replace('/', "-"));
        let sockets = [
            ("api.sock", self.p.plane.spire_socket()),
            (
                "spire-agent.sock",
                Agent::socket_of(&self.p.plane, "node-1"),
            ),
        ];
        let mut args: Vec<String> =
            serde_json::from_value(container["args"].clone()).expect("args");
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            let path = mount["mountPath"].as_str().expect("a path");
            let volume = volumes.as_array().into_iter().flatten();
            let volume = volume.clone().find(|v| v["name"] == mount["name"]);
            let here = root.join(path.trim_start_matches('/'));
            fill(&self.client, &here, volume.expect("a volume"), &sockets).await;
        }
        for arg in &mut args {
            if arg.starts_with('/') {
                *arg = root.join(arg.trim_start_matches('/')).display().to_string();
                self.adapt(Path::new(&*arg), &root);
            }
        }
        let env: Vec<&str> = container["env"]
            .as_array()
            .expect("variables")
            .iter()
            .map(|v| {
                assert_eq!(
                    v["valueFrom"]["fieldRef"]["fieldPath"],
                    "metadata.namespace"
                );
                v["name"].as_str().expect("a name")
            })
            .collect();
        let env: Vec<(&str, &str)> = env.into_iter().map(|name| (name, "spire")).collect();
        args.extend([
            "-kubeconfig".to_owned(),
            self.kubeconfig.display().to_string(),
        ]);
        Process::start(&program().expect("built"), args, &env, &root.join("log")).expect("starts")
    }

    /// What in a configuration is the cluster's becomes this machine's: paths, addresses and nothing else.
    fn adapt(&self, config: &Path, root: &Path) {
        let text = std::fs::read_to_string(config).expect("the mounted configuration");
        let here = format!("\"{}/", root.display());
        let server = format!("127.0.0.1:{}", self.p.plane.spire_port());
        let metrics = format!("\"127.0.0.1:{}\"", free_port().expect("a port"));
        let webhook = format!("\"127.0.0.1:{}\"", self.webhook.port());
        let text = text
            .replace("\"/", &here)
            .replace("spire-server.spire:8081", &server)
            .replace("\":8080\"", &metrics)
            .replace("\":8443\"", &webhook);
        std::fs::write(config, text).expect("written");
    }

    /// Waits until the pod has the entry of its service account under this parent.
    async fn registers(&self, what: &str, process: &mut Process, pod: &str, parent: &str) {
        let selectors = |e: &registrar_tests::entries::Entry| {
            e.selectors
                .iter()
                .any(|s| s.value == format!("pod-name:{pod}"))
                || e.dns_names.iter().any(|n| n == pod)
        };
        eventually(&format!("{what}: pod {pod} has its entry"), async || {
            process.must_run().map_err(|e| e.to_string())?;
            let all = self.p.entries.all().await.map_err(|e| e.to_string())?;
            let right = all.iter().any(|e| {
                e.parent_id == Some(id(parent))
                    && e.spiffe_id == Some(id("/ns/apps/sa/default"))
                    && selectors(e)
            });
            match right {
                true => Ok(()),
                false => Err(format!("{all:#?}\n{}", process.log_tail())),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_documented_steps_lead_to_entries_in_every_mode_and_place() {
    let webhook = Webhook::generate("ignore").expect("generated");
    let p = private(webhook.options()).await;
    let _agent = Agent::start(&p.plane, "demo", "node-1")
        .await
        .expect("an agent");
    make_entries(&p);
    let client = p.plane.client().await.expect("a client");
    p.cluster.namespace("spire").await.expect("a namespace");
    SpiffeIds::new(client.clone())
        .install(CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("the definition");
    for file in ["certs-configmap.yaml", "secret.yaml"] {
        let text = std::fs::read_to_string(webhook.dir().join(file)).expect("text");
        dynamic::apply_yaml(&client, &text).await.expect("applied");
    }
    let account = std::fs::read_to_string(deploy().join("base/reconcile/rbac.yaml"));
    let account = account.expect("text");
    dynamic::apply_yaml(&client, &account)
        .await
        .expect("applied");
    let token = p
        .cluster
        .token("spire", "k8s-workload-registrar", None, None);
    let token = token.await.expect("a token");
    let kubeconfig = p
        .plane
        .kubeconfig_for("registrar", &token)
        .expect("written");
    let steps = Steps {
        p,
        client,
        kubeconfig,
        webhook,
    };
    let on_node = "/k8s-workload-registrar/demo/node/node-1";
    for (mode, parent) in [
        ("reconcile", "/spire-k8s-registrar/demo/node/node-1"),
        ("crd", on_node),
        ("webhook", "/k8s-workload-registrar/demo/node"),
    ] {
        let beside = beside_a_server(mode);
        let standalone = deploy().join("standalone").join(mode);
        for (place, dir) in [("standalone", &*standalone), ("sidecar", beside.path())] {
            let what = format!("{place}/{mode}");
            let mut process = steps.run(&what, &built(dir)).await;
            let pod = format!("{place}-{mode}");
            let made = steps.p.cluster.pod(&PodSpec::new("apps", &pod)).await;
            made.expect("a pod");
            steps.registers(&what, &mut process, &pod, parent).await;
            process.terminate();
            eventually("it ends", async || process.ended().ok_or("still running")).await;
        }
    }
}
