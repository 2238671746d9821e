//! What tenants may not have is refused by the controller itself, where no webhook, no admission policy and no rule of the schema
//! stands before it.

use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{Options, PodSpec, entries, eventually, spiffe_ids::registered};
use serde_json::{Value, json};

use super::bench::{OWN, ROOT, all, bench_with, by_hand, id};

/// The definition without any of its checks.
fn without_checks() -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for check in [
                    "pattern",
                    "x-kubernetes-validations",
                    "minLength",
                    "maxLength",
                    "minProperties",
                    "maxProperties",
                    "minItems",
                    "maxItems",
                ] {
                    map.remove(check);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut definition: Value = serde_yaml::from_str(CUSTOM_RESOURCE_DEFINITION).expect("YAML");
    strip(&mut definition);
    definition.to_string()
}

fn fair() -> Value {
    json!({
        "parentId": id("/nodes/demo"),
        "spiffeId": id("/fair"),
        "selector": {"namespace": "apps"},
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut spec = fair();
    spec[key] = value;
    spec
}

fn refused() -> Vec<(Value, &'static str)> {
    let node = id(&format!("{ROOT}/node-1"));
    let elsewhere = |parent: &str, spiffe_id: &str| {
        let mut spec = fair();
        spec["parentId"] = json!(parent);
        spec["spiffeId"] = json!(spiffe_id);
        spec
    };
    let mut another_pod = with(
        "selector",
        json!({"namespace": "apps", "podUid": "u", "nodeName": "node-2"}),
    );
    another_pod["parentId"] = json!(node);
    vec![
        // Workloads that are not the tenant's.
        (
            with("selector", json!({"namespace": OWN})),
            "OtherNamespace",
        ),
        (
            with("selector", json!({"podName": "blog"})),
            "OtherNamespace",
        ),
        (with("selector", json!({})), "EmptySelector"),
        (
            with("selector", json!({"namespace": "apps", "cluster": "demo"})),
            "AgentSelector",
        ),
        (
            with(
                "selector",
                json!({"namespace": "apps", "agent_node_uid": "u"}),
            ),
            "AgentSelector",
        ),
        // Parents that are not theirs.
        (with("parentId", json!(node)), "ReservedParent"),
        (with("parentId", json!(id(ROOT))), "ReservedParent"),
        (
            with("parentId", json!(id("/spire/server"))),
            "ReservedParent",
        ),
        (
            with("parentId", json!(id("/spire/agent/k8s_psat/demo/u"))),
            "ReservedParent",
        ),
        (another_pod, "ReservedParent"),
        // Identities of others.
        (with("spiffeId", json!(node)), "ReservedPath"),
        (
            with("spiffeId", json!(id("/spire/agent/k8s_psat/demo/u"))),
            "ReservedPath",
        ),
        (
            with(
                "spiffeId",
                json!(id("/k8s-workload-registrar/demo/webhook")),
            ),
            "ReservedPath",
        ),
        (with("spiffeId", json!(id("/admin"))), "ReservedPath"),
        (with("spiffeId", json!(id("/ops/x"))), "ReservedPath"),
        (
            elsewhere("spiffe://other.test/x", "spiffe://other.test/y"),
            "OtherTrustDomain",
        ),
        (
            with("spiffeId", json!("spiffe://other.test/y")),
            "OtherTrustDomain",
        ),
        (
            with("parentId", json!("spiffe://example.orgevil/x")),
            "OtherTrustDomain",
        ),
        (with("downstream", json!(true)), "Downstream"),
        // What is none at all.
        (with("spiffeId", json!("nothing")), "OtherTrustDomain"),
        (with("spiffeId", json!(id("/a//b"))), "IllegalId"),
        (with("parentId", json!(id("/a/../b"))), "IllegalId"),
        (with("spiffeId", json!("spiffe://example.org")), "IllegalId"),
        (
            with("spiffeId", json!(id(&format!("/{}", "a".repeat(300))))),
            "IllegalId",
        ),
    ]
}

#[tokio::test]
async fn what_a_tenant_may_not_have_is_refused_by_the_controller_alone() {
    let b = bench_with(Options::default(), &without_checks()).await;
    let c = &b.private.cluster;
    c.pod(&PodSpec::new("apps", "blog")).await.expect("a pod");
    let foreign = entries::entry("/elsewhere", "/operator", &["k8s:ns:ops"]);
    b.private.entries.create(foreign).await.expect("made");
    let _registrar = b
        .registrar("reserved_paths = [\"/admin\", \"/ops/*\"]")
        .await;
    b.ids
        .create(OWN, "payments", by_hand("/payments", "payments"))
        .await
        .expect("made");
    b.standing(OWN, "payments", "True", "Registered").await;
    b.standing("apps", "blog", "True", "Registered").await;
    let before = all(&b).await.expect("entries");
    assert_eq!(
        before.len(),
        5,
        "two nodes, a pod, one by hand, the operator's"
    );

    let cases = refused();
    for (n, (spec, _)) in cases.iter().enumerate() {
        let name = format!("refused-{n}");
        b.ids
            .create("apps", &name, spec.clone())
            .await
            .expect("nothing else refuses it");
    }
    for (n, (_, reason)) in cases.iter().enumerate() {
        let resource = b
            .standing("apps", &format!("refused-{n}"), "False", reason)
            .await;
        assert!(resource["status"]["entryId"].is_null(), "{resource:#}");
    }
    assert_eq!(
        all(&b).await.expect("entries"),
        before,
        "no entry came or changed"
    );

    // A name that no server takes costs that name and not the identity.
    let mut names = with("dnsNames", json!(["ok.example.org", "bad name"]));
    names["spiffeId"] = json!(id("/names"));
    b.ids.create("apps", "names", names).await.expect("made");
    let resource = b.standing("apps", "names", "True", "Registered").await;
    let (.., message) = registered(&resource).expect("a condition");
    assert!(message.contains("\"bad name\""), "{message}");
    assert_eq!(b.one("/names").await.dns_names, ["ok.example.org"]);

    // A status that names the entry of another: a pod's, a node's, that of another namespace, the operator's.
    for (n, (victim, _)) in before.iter().enumerate() {
        let name = format!("greedy-{n}");
        let mut spec = fair();
        spec["spiffeId"] = json!(id(&format!("/greedy/{n}")));
        b.ids.create("apps", &name, spec).await.expect("made");
        b.standing("apps", &name, "True", "Registered").await;
        b.ids
            .patch_status("apps", &name, json!({"entryId": victim}))
            .await
            .expect("tenants may write status");
        b.standing("apps", &name, "False", "EntryNotOurs").await;
    }
    // All of it goes, and takes nothing along.
    for resource in b.ids.list("apps").await.expect("all") {
        let name = resource["metadata"]["name"].as_str().expect("a name");
        if name != "blog" {
            b.ids.delete("apps", name).await.expect("deleted");
        }
    }
    eventually("only the pod's is left", async || {
        let left = b.ids.list("apps").await?;
        match left.len() {
            1 => Ok(()),
            n => Err(n.to_string()),
        }
    })
    .await;
    assert_eq!(
        all(&b).await.expect("entries"),
        before,
        "what is others' was not touched"
    );
}
