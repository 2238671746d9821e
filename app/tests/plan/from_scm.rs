//! `plan -from-scm`: what another controller's resources give, beside what this configuration gives.

use serde_json::Value;

use crate::{
    desk::{BOUND, Desk, NODE, entry, pod, text},
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

/// `<field> <theirs> <ours>` of the only pod in the plan.
fn differences(json: &Value) -> Vec<String> {
    let pods = json["pods"].as_array().expect("a list");
    assert_eq!(pods.len(), 1, "{json:#}");
    let all = pods[0]["differences"].as_array().expect("a list");
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    all.iter()
        .map(|d| {
            let (field, theirs, ours) = (text(&d["field"]), text(&d["theirs"]), text(&d["ours"]));
            format!("{field}: {theirs} | {ours}")
        })
        .collect()
}

const ALIAS: &str = "spiffe://example.org/spire-k8s-registrar/demo/node/node-1";

#[test]
fn entries_of_one_spiffe_id_are_compared_field_by_field_as_far_as_their_templates_tell() {
    let desk = Desk::new("jwt_svid_ttl = \"5m\"\nhint = \"internal\"");
    let labelled = pod("same", &format!("  labels: {{app: web}}\n{BOUND}"));
    let scm = r#"
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: {name: old, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}"
  ttl: 1h30m
  dnsNameTemplates: ["{{ index .PodMeta.Labels \"app\" }}.example.org"]
  workloadSelectorTemplates: ["k8s:ns:{{ .PodMeta.Namespace }}"]
  federatesWith: [other.test]
  hint: internal
  downstream: true
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterSPIFFEID
metadata: {name: young, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}"
  workloadSelectorTemplates: ["k8s:ns:{{ .PodMeta.Namespace }}"]
  hint: of no account
---
"#;
    desk.file("scm.yaml", &format!("{scm}{NODE}{labelled}"));
    let (json, _) = desk.json(&["-from-scm", "scm.yaml"], "");
    assert_eq!(json["pods"][0]["fate"], "same", "{json:#}");
    let agent = "spiffe://example.org/spire/agent/k8s_psat/demo/uid-node-1";
    let parents = format!("parent_id: {agent} | {ALIAS}");
    let expected = [
        parents.as_str(),
        "selectors: k8s:ns:apps, k8s:pod-uid:uid-same | k8s:ns:apps, k8s:pod-name:same",
        "dns_names: web.example.org | ",
        "federates_with: other.test | ",
        "x509_svid_ttl: 5400 s | default",
        "jwt_svid_ttl: default | 300 s",
        "downstream: true | false",
    ];
    assert_eq!(differences(&json), expected, "{json:#}");
    let of_nothing = &json["settings"][0];
    assert_eq!(of_nothing["of"], "no ControllerManagerConfig", "{json:#}");
    let shown = text(&desk.plan(&["-from-scm", "scm.yaml"], "").stdout);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let words = words.join(" ");
    for part in [
        "dns_names: web.example.org dns_names: none",
        "x509_svid_ttl (1)",
    ] {
        assert!(words.contains(part), "{part:?} in {shown}");
    }

    // What cannot be told is said to be so.
    let without_node = scm.replace("ttl: 1h30m", "ttl: soon\n  autoPopulateDNSNames: true");
    desk.file("scm.yaml", &format!("{without_node}{labelled}"));
    let (json, _) = desk.json(&["-from-scm", "scm.yaml"], "");
    let unknown: Vec<String> = differences(&json)
        .into_iter()
        .filter(|d| d.contains("not known"))
        .collect();
    let parents = format!("parent_id: not known: node \"node-1\" is not in the files | {ALIAS}");
    let expected = [
        parents.as_str(),
        "dns_names: not known: autoPopulateDNSNames: the names of its Services | ",
        "x509_svid_ttl: not known: \"soon\" is no lifetime | default",
    ];
    assert_eq!(unknown, expected, "{json:#}");
}

#[test]
fn with_the_servers_entries_theirs_are_taken_as_they_are_there() {
    let desk = Desk::new("");
    let logic = pod("logic", &format!("  labels: {{role: logic}}\n{BOUND}"));
    desk.file("scm.yaml", &format!("{SCM}{NODE}{logic}"));
    let agent = "/spire/agent/k8s_psat/demo/uid-node-1";
    let by_uid = ["k8s:pod-uid:uid-logic"];
    let mut theirs = entry("theirs", "/ns/apps/sa/sa", agent, &by_uid);
    theirs["x509_svid_ttl"] = 600.into();
    theirs["admin"] = true.into();
    let ours = entry(
        "ours",
        "/ns/apps/sa/sa",
        "/spire-k8s-registrar/demo/node/node-1",
        &["k8s:ns:apps", "k8s:pod-uid:uid-logic"],
    );
    let of_another = entry("other", "/other", agent, &["k8s:pod-uid:uid-other"]);
    let entries = serde_json::json!({"entries": [theirs, ours, of_another]});
    desk.file("entries.json", &entries.to_string());
    let args = ["-from-scm", "-entries", "entries.json", "scm.yaml"];
    let (json, code) = desk.json(&args, "");
    assert_eq!(code, Some(0), "{json:#}");
    assert_eq!(
        json["pods"][0]["fate"], "same",
        "no template is followed: {json:#}"
    );
    let parents = format!("parent_id: spiffe://example.org{agent} | {ALIAS}");
    let expected = [
        parents.as_str(),
        "selectors: k8s:pod-uid:uid-logic | k8s:ns:apps, k8s:pod-name:logic",
        "x509_svid_ttl: 600 s | default",
        "admin: true | false",
    ];
    assert_eq!(differences(&json), expected, "{json:#}");
}
