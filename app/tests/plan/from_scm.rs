//! `plan -from-scm`: what another controller's resources give, beside what this configuration gives.

use serde_json::Value;

use crate::{
    desk::{BOUND, Desk, NODE, pod, text},
    schema::objections,
};

const SCM: &str = r#"
apiVersion: spire.spiffe.io/v1alpha1
kind: ControllerManagerConfig
clusterName: demo
trustDomain: example.org
ignoreNamespaces: [hidden]
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: {name: accounts}
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}"
  ttl: 10m
  namespaceSelector: {matchExpressions: [{key: tier, operator: In, values: [apps]}]}
  podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [special, logic]}]}
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: {name: special}
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/special/{{ .PodMeta.Name }}"
  podSelector: {matchLabels: {role: special}}
  admin: true
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: {name: logic}
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/{{ if true }}x{{ end }}"
  podSelector: {matchLabels: {role: logic}}
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterStaticEntry
metadata: {name: by-hand}
spec: {spiffeID: "spiffe://example.org/by-hand", parentID: "spiffe://example.org/x", selectors: ["unix:uid:0"]}
---
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {tier: apps}}
---
apiVersion: v1
kind: Namespace
metadata: {name: hidden-one, labels: {tier: apps}}
---
apiVersion: v1
kind: Namespace
metadata: {name: "off"}
---
"#;

#[test]
fn what_another_controller_gives_is_compared_pod_by_pod_and_the_nearest_settings_are_named() {
    let desk = Desk::new("disabled_namespaces = [\"off\"]");
    let of = |namespace: &str, name: &str, role: &str| {
        let labels = format!("  labels: {{role: {role}}}\n{BOUND}");
        pod(name, &labels).replace("namespace: apps", &format!("namespace: {namespace}"))
    };
    let pods = [
        of("apps", "same", "plain"),
        of("apps", "changed", "special"),
        of("apps", "untold", "logic"),
        of("hidden-one", "added", "plain"),
        of("off", "lost", "special"),
    ];
    desk.file("scm.yaml", &format!("{SCM}{NODE}{}", pods.concat()));
    let (json, code) = desk.json(&["-from-scm", "scm.yaml"], "");
    assert_eq!(code, Some(0), "{json:#}");
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/json/from-scm.schema.json"))
            .expect("JSON");
    assert_eq!(objections(&json, &schema, &schema, "comparison"), [""; 0]);
    let fates: Vec<String> = json["pods"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| format!("{} {} {}", p["object"]["name"], p["fate"], p["entry"]).replace('"', ""))
        .collect();
    assert_eq!(
        fates,
        [
            "changed changed beside",
            "same same beside",
            "untold unknown null",
            "added added new",
            "lost lost none"
        ],
        "{json:#}"
    );
    let output = desk.plan(&["-from-scm", "scm.yaml"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = text(&output.stdout);
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    insta::assert_snapshot!(shown);
    for args in [
        &["-from-scm", "-"][..],
        &["-from-scm", "registrar.conf"][..],
    ] {
        let output = desk.plan(args, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn entries_of_exactly_the_same_form_are_said_to_stand_in_the_way() {
    let desk = Desk::new("parent = \"agent\"\npod_selectors = [\"pod-uid\"]");
    let labelled = pod("same", &format!("  labels: {{role: plain}}\n{BOUND}"));
    desk.file("scm.yaml", &format!("{SCM}{NODE}{labelled}"));
    let (json, _) = desk.json(&["-from-scm", "scm.yaml"], "");
    assert_eq!(json["pods"][0]["fate"], "same", "{json:#}");
    assert_eq!(json["pods"][0]["entry"], "in_the_way", "{json:#}");
    let shown = text(&desk.plan(&["-from-scm", "scm.yaml"], "").stdout);
    assert!(shown.contains("stand in the way"), "{shown}");
}
