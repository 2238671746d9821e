//! Rights that are missing are told of with verb, resource and the manifest that grants them.

use registrar_tests::{PodSpec, Registrar, SpiffeIds, dynamic, eventually, process::free_port};
use serde_json::{Value, json};

use super::{
    deploy, documents,
    rights::{Audited, audited},
};

impl Audited {
    /// The mode's own roles, but for the verbs of these resources, which are these instead.
    async fn grant_only(&self, mode: &str, instead: &[(&str, &[&str])]) {
        let client = self.p.plane.client().await.expect("a client");
        for mut role in documents(&deploy().join(format!("base/{mode}/rbac.yaml"))) {
            let mut split = Vec::new();
            for rule in role["rules"].as_array_mut().into_iter().flatten() {
                let resources = std::mem::take(&mut rule["resources"]);
                for resource in resources.as_array().into_iter().flatten() {
                    let mut rule = rule.clone();
                    rule["resources"] = json!([resource]);
                    if let Some((_, verbs)) = instead.iter().find(|(r, _)| resource == r) {
                        rule["verbs"] = json!(verbs);
                    }
                    split.push(rule);
                }
            }
            if split.is_empty() {
                continue;
            }
            role["rules"] = Value::Array(split);
            let text = serde_yaml::to_string(&role).expect("text");
            dynamic::apply_yaml(&client, &text).await.expect("applied");
        }
    }
}

async fn told_with_the_manifest(registrar: &mut Registrar, verb: &str, resource: &str) {
    let words = [
        format!("cannot {verb} "),
        resource.to_owned(),
        "role needs".to_owned(),
        "deploy/base/<mode>/rbac.yaml".to_owned(),
    ];
    eventually(&format!("a line of the log has {words:?}"), async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        // Without the escapes of a quotation in a quotation.
        let log = registrar.process.log().replace('\\', "");
        match log.lines().any(|l| words.iter().all(|w| l.contains(w))) {
            true => Ok(()),
            false => Err(registrar.process.log_tail()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_is_told_with_verb_resource_and_manifest() {
    let a = audited("reconcile").await;
    a.p.cluster
        .pod(&PodSpec::new("apps", "bad").annotation("spiffe.io/id", "a//b"))
        .await
        .expect("pod");
    let none: &[&str] = &["patch"];
    let lacking = [("nodes", none), ("leases", none), ("configmaps", none)];
    a.grant_only("reconcile", &lacking).await;
    let mut registrar = a.start("reconcile", "pod_annotation = \"spiffe.io/id\"");
    for (verb, resource) in [
        ("list", "\"nodes\""),
        ("get", "\"leases\""),
        ("list", "k8s-workload-registrar-control"),
    ] {
        told_with_the_manifest(&mut registrar, verb, resource).await;
    }
    // A list alone is not enough, and the rights that were missing take effect without a restart.
    let lacking = [("nodes", &["list"][..]), ("events", none)];
    a.grant_only("reconcile", &lacking).await;
    told_with_the_manifest(&mut registrar, "watch", "\"nodes\"").await;
    registrar.ready().await;
    told_with_the_manifest(&mut registrar, "create", "\"events\"").await;
}

#[tokio::test]
async fn a_right_that_crd_mode_lacks_is_told_with_verb_resource_and_manifest() {
    let a = audited("crd").await;
    let client = a.p.plane.client().await.expect("a client");
    SpiffeIds::new(client)
        .install(registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    a.p.cluster
        .pod(&PodSpec::new("apps", "web"))
        .await
        .expect("pod");
    let lacks = async |resource, verbs: &[&str]| a.grant_only("crd", &[(resource, verbs)]).await;
    lacks("customresourcedefinitions", &["list"]).await;
    let mut registrar = a.start("crd", "");
    told_with_the_manifest(&mut registrar, "get", "\"customresourcedefinitions\"").await;
    lacks("spiffeids", &["list", "watch"]).await;
    told_with_the_manifest(&mut registrar, "patch", "\"spiffeids\"").await;
    lacks("spiffeids/status", &["get"]).await;
    told_with_the_manifest(&mut registrar, "patch", "\"spiffeids/status\"").await;
    let port = free_port().expect("a port");
    let reviewed = format!(
        "webhook_enabled = true\nwebhook_port = {port}\nwebhook_cert_dir = \"{}\"",
        a.p.plane.dir().join("certs").display()
    );
    lacks("validatingwebhookconfigurations", &["get"]).await;
    let mut registrar = a.start("crd", &reviewed);
    let resource = "\"validatingwebhookconfigurations\"";
    told_with_the_manifest(&mut registrar, "list", resource).await;
}
