//! What `crd` prints, on a real API server: SpiffeIDs that are right are taken, hostile ones are refused without any
//! webhook, and none of it stands in the way of a deletion.

use std::process::Command;

use kube::Client;
use registrar_tests::{
    Options,
    dynamic::{apply_yaml, create, delete, get, merge, respecify, spiffe_id},
    eventually,
    registrar::program,
    spiffe_ids::ORIGINAL_DEFINITION,
};
use serde_json::{Value, json};

use crate::plane::private;

/// What the program prints.
fn printed(args: &[&str]) -> String {
    let program = program().expect("the program is built");
    let output = Command::new(program).args(args).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Applies what `crd` prints for this configuration, and waits until it is in force.
async fn install(client: &Client, dir: &std::path::Path) {
    let config = dir.join("crd.conf");
    let text = "mode = \"crd\"\ntrust_domain = \"example.org\"\ncluster = \"demo\"\n\
                server_socket_path = \"/s\"\nreserved_paths = [\"/admin\", \"/ops/*\"]\n\
                downstream_namespaces = [\"subordinate\"]\n";
    std::fs::write(&config, text).expect("a file");
    let config = config.display().to_string();
    let definition = printed(&["crd", "-config", &config, "-namespace", "spire"]);
    apply_yaml(client, &definition)
        .await
        .expect("the API server takes it");
    let probe = spiffe_id(
        "apps",
        "probe",
        json!({"parentId": "spiffe://elsewhere.test/x", "spiffeId": "spiffe://elsewhere.test/y", "selector": {"namespace": "apps"}}),
    );
    eventually("the admission policy is in force", async || {
        match create(client, &probe).await {
            Err(text) if text.contains("spec.parentId must begin with") => Ok(()),
            Err(other) => Err(other),
            Ok(_) => {
                delete(client, &probe).await?;
                Err("not yet refused".to_owned())
            }
        }
    })
    .await;
}

fn plain() -> Value {
    json!({
        "parentId": "spiffe://example.org/nodes/demo",
        "spiffeId": "spiffe://example.org/blog",
        "selector": {"namespace": "apps"},
    })
}

/// [`plain`] with other properties; `null` removes one.
fn with(changes: Value) -> Value {
    let mut spec = plain();
    for (key, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(spec.as_object_mut().expect("an object").remove(key)),
            value => spec[key] = value.clone(),
        }
    }
    spec
}

const NODE: &str = "spiffe://example.org/k8s-workload-registrar/demo/node/n1";

/// What the API server says of a value that is too long; and the words that Kubernetes 1.30 had for it.
const TOO_LONG: &str = "may not be more than 255 bytes";
const TOO_LONG_BEFORE: &str = "Too long: may not be longer than 255";

fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let names = |name: &str| with(json!({"dnsNames": [name]}));
    vec![
        // By the schema, without any configuration.
        (
            "apps",
            with(json!({"parentId": null})),
            "spec.parentId: Required value",
        ),
        (
            "apps",
            with(json!({"spiffeId": "blog"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://Example.org/x"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/a//b"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/a\n"})),
            "spec.spiffeId in body should match",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/a/../b"})),
            "path cannot contain dot segments",
        ),
        (
            "apps",
            with(json!({"parentId": "spiffe://example.org/./b"})),
            "path cannot contain dot segments",
        ),
        (
            "apps",
            with(json!({"spiffeId": format!("spiffe://example.org/{}", "a".repeat(255))})),
            TOO_LONG,
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/spire/agent/x"})),
            "the path /spire and everything below it is reserved",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://other.test/x"})),
            "must be of one trust domain",
        ),
        (
            "apps",
            with(json!({"parentId": "spiffe://example.org/blog"})),
            "must differ",
        ),
        (
            "apps",
            with(json!({"selector": {}})),
            "should have at least 1 properties",
        ),
        (
            "apps",
            with(json!({"selector": {"namespace": ""}})),
            "should be at least 1 chars long",
        ),
        (
            "apps",
            with(json!({"selector": {"namespace": "apps", "podLabel": {}}})),
            "should have at least 1 properties",
        ),
        (
            "apps",
            with(json!({"selector": {"namespace": "apps", "arbitrary": [""]}})),
            "should be at least 1 chars long",
        ),
        (
            "apps",
            with(json!({"selector": "x"})),
            "must be of type object",
        ),
        (
            "apps",
            with(json!({"downstream": "yes"})),
            "must be of type boolean",
        ),
        ("apps", names("-a"), "should match"),
        ("apps", names("a..b"), "should match"),
        ("apps", names("a.*"), "should match"),
        ("apps", names("a b"), "should match"),
        ("apps", names("ä"), "should match"),
        ("apps", names(""), "should match"),
        ("apps", names(&"a".repeat(64)), "should match"),
        (
            "apps",
            with(json!({"dnsNames": ["a", "a"]})),
            "Duplicate value",
        ),
        (
            "apps",
            with(json!({"federatesWith": ["Other.test"]})),
            "should match",
        ),
        (
            "apps",
            with(json!({"federatesWith": ["a", "a"]})),
            "Duplicate value",
        ),
        // By the admission policy.
        (
            "apps",
            with(json!({"parentId": "spiffe://other.test/x", "spiffeId": "spiffe://other.test/y"})),
            "spec.parentId must begin with spiffe://example.org",
        ),
        (
            "apps",
            with(
                json!({"parentId": "spiffe://example.orgevil/x", "spiffeId": "spiffe://example.orgevil/y"}),
            ),
            "spec.parentId must begin with spiffe://example.org",
        ),
        (
            "apps",
            with(json!({"selector": {"cluster": "demo"}})),
            "can only be used by the k8s-workload-registrar",
        ),
        (
            "apps",
            with(json!({"selector": {"namespace": "apps", "agent_node_uid": "u"}})),
            "can only be used by the k8s-workload-registrar",
        ),
        (
            "apps",
            with(json!({"selector": {"namespace": "spire"}})),
            "spec.Selector.Namespace must match namespace of resource",
        ),
        (
            "apps",
            with(json!({"selector": {"podName": "x"}})),
            "spec.Selector.Namespace must match namespace of resource",
        ),
        (
            "spire",
            plain(),
            "spec.Selector.Namespace must match namespace of resource",
        ),
        (
            "apps",
            with(json!({"spiffeId": NODE})),
            "spec.spiffeId must not be reserved",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/k8s-workload-registrar/demo/webhook"})),
            "spec.spiffeId must not be reserved",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/admin"})),
            "spec.spiffeId must not be reserved",
        ),
        (
            "apps",
            with(json!({"spiffeId": "spiffe://example.org/ops/x"})),
            "spec.spiffeId must not be reserved",
        ),
        (
            "apps",
            with(json!({"parentId": NODE})),
            "spec.parentId must not be reserved",
        ),
        (
            "apps",
            with(json!({"parentId": "spiffe://example.org/spire/server"})),
            "spec.parentId must not be reserved",
        ),
        (
            "apps",
            with(json!({"parentId": "spiffe://example.org/spire/agent/k8s_psat/demo/u"})),
            "spec.parentId must not be reserved",
        ),
        (
            "apps",
            with(
                json!({"parentId": NODE, "selector": {"podUid": "u", "namespace": "apps", "nodeName": "n2"}}),
            ),
            "spec.parentId must not be reserved",
        ),
        (
            "apps",
            with(json!({"downstream": true})),
            "spec.downstream can only be used",
        ),
        (
            "spire",
            with(
                json!({"parentId": "spiffe://example.org/spire/server", "spiffeId": NODE, "selector": {"cluster": "other", "agent_node_uid": "u"}}),
            ),
            "spec.spiffeId must not be reserved",
        ),
    ]
}

fn taken() -> Vec<(&'static str, Value)> {
    vec![
        ("apps", plain()),
        (
            "apps",
            with(json!({
                "selector": {
                    "namespace": "apps", "podLabel": {"app.kubernetes.io/name": "blog"}, "podName": "p", "podUid": "u",
                    "serviceAccount": "s", "containerImage": "i", "containerName": "c", "nodeName": "n",
                    "arbitrary": ["pod-owner:Deployment:blog"],
                },
                "dnsNames": ["blog.example", "*.blog.example", "Blog_1"],
                "federatesWith": ["other.test", "spiffe://third.test"],
                "downstream": false,
            })),
        ),
        // What the registrar writes for pods and nodes.
        (
            "apps",
            with(
                json!({"parentId": NODE, "selector": {"podUid": "u", "namespace": "apps", "nodeName": "n1"}}),
            ),
        ),
        (
            "apps",
            with(
                json!({"parentId": NODE, "selector": {"podName": "etcd-n1", "namespace": "apps"}}),
            ),
        ),
        (
            "spire",
            with(
                json!({"parentId": "spiffe://example.org/spire/server", "spiffeId": NODE, "selector": {"cluster": "demo", "agent_node_uid": "u"}}),
            ),
        ),
        // What an operator writes in the registrar's namespace.
        (
            "spire",
            with(
                json!({"parentId": "spiffe://example.org/spire/server", "selector": {"cluster": "demo"}}),
            ),
        ),
        (
            "spire",
            with(
                json!({"parentId": NODE, "selector": {"namespace": "spire", "serviceAccount": "default"}}),
            ),
        ),
        (
            "subordinate",
            with(json!({"selector": {"namespace": "subordinate"}, "downstream": true})),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_spiffe_ids_are_refused_without_a_webhook() {
    let bench = private(Options::default()).await;
    let client = bench.cluster.client();
    for namespace in ["spire", "subordinate"] {
        bench
            .cluster
            .namespace(namespace)
            .await
            .expect("a namespace");
    }
    install(&client, bench.plane.dir()).await;
    let example = include_str!("../../examples/crd/spiffe-ids.yaml");
    apply_yaml(&client, example)
        .await
        .expect("the example is taken");
    let mut wrong = Vec::new();
    for (n, (namespace, spec)) in taken().into_iter().enumerate() {
        let object = spiffe_id(namespace, &format!("taken-{n}"), spec);
        if let Err(text) = create(&client, &object).await {
            wrong.push(format!("refused: {object}\n  {text}"));
        }
    }
    let ours = spiffe_id("apps", "taken-0", plain());
    for (n, (namespace, spec, expected)) in refused().into_iter().enumerate() {
        let object = spiffe_id(namespace, &format!("refused-{n}"), spec.clone());
        let mut verdicts = vec![create(&client, &object).await.map(drop)];
        if namespace == "apps" {
            verdicts.push(respecify(&client, &ours, spec).await);
        }
        for verdict in verdicts {
            match verdict {
                Err(text) if text.contains(expected) => {}
                Err(text) if expected == TOO_LONG && text.contains(TOO_LONG_BEFORE) => {}
                other => wrong.push(format!(
                    "{object}\n  wanted {expected:?}\n  found {other:?}"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    columns(&client).await;
}

/// What `kubectl get spiffeid` shows.
async fn columns(client: &Client) {
    let request = http::Request::get("/apis/spiffeid.spiffe.io/v1beta1/namespaces/apps/spiffeids")
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .expect("a request");
    let table: Value = client.request(request).await.expect("a table");
    let shown: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter(|c| c["priority"] == 0)
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(shown, ["Name", "SPIFFE ID", "Registered", "Reason", "Age"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_became_invalid_can_still_be_changed_elsewhere_and_deleted() {
    let bench = private(Options::default()).await;
    let client = bench.cluster.client();
    apply_yaml(&client, ORIGINAL_DEFINITION)
        .await
        .expect("the original's definition");
    let specs = [
        with(json!({"selector": {}})),
        with(json!({"spiffeId": "nothing", "parentId": ""})),
        with(json!({"dnsNames": ["-a", "b b", ""], "federatesWith": ["UPPER"]})),
        with(json!({"dnsNames": ["a", "a"]})),
        with(json!({"selector": {"namespace": "other", "arbitrary": [""]}})),
        Value::Null,
    ];
    let mut objects = Vec::new();
    for (n, spec) in specs.into_iter().enumerate() {
        let mut object = spiffe_id("apps", &format!("old-{n}"), spec.clone());
        if spec.is_null() {
            object.as_object_mut().expect("an object").remove("spec");
        }
        object["metadata"]["finalizers"] = json!(["finalizers.spiffeid.spiffe.io"]);
        eventually("the definition is served", async || {
            create(&client, &object).await
        })
        .await;
        objects.push(object);
    }
    install(&client, bench.plane.dir()).await;
    for object in &objects {
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        merge(&client, object, label)
            .await
            .unwrap_or_else(|e| panic!("label: {object}: {e}"));
        delete(&client, object).await.expect("deletion begins");
        let release = json!({"metadata": {"finalizers": null}});
        merge(&client, object, release)
            .await
            .unwrap_or_else(|e| panic!("finalizer: {object}: {e}"));
        assert!(
            get(&client, object).await.expect("an answer").is_none(),
            "{object} is still there"
        );
    }
}
