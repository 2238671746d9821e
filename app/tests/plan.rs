//! `plan` as a person runs it, offline.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_k8s-workload-registrar");

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// A folder with a configuration of reconcile mode and further lines.
    fn new(extra: &str) -> Self {
        let desk = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        desk.file(
            "registrar.conf",
            &format!(
                "mode = \"reconcile\"\ntrust_domain = \"example.org\"\ncluster = \"demo\"\n\
                 server_socket_path = \"/run/spire/api.sock\"\n{extra}\n"
            ),
        );
        desk
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn plan(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(["plan", "-config", "registrar.conf"])
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that has seen enough closes it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("ended")
    }

    fn json(&self, args: &[&str], input: &str) -> (Value, Option<i32>) {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let output = self.plan(&args, input);
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!("{e}: {output:?}");
        });
        (value, output.status.code())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn examples() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo");
    path.canonicalize().expect("there").display().to_string()
}

fn pod(name: &str, extra: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: apps\n  uid: uid-{name}\n{extra}\n---\n"
    )
}

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, uid: uid-node-1}\n---\n";
const BOUND: &str = "spec: {nodeName: node-1, serviceAccountName: sa}";

#[test]
fn the_examples_have_this_plan() {
    let output = Desk::new("").plan(&[&examples()], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(text(&output.stdout));
}

#[test]
fn the_examples_have_this_plan_as_json_and_the_same_as_yaml() {
    let desk = Desk::new("");
    let file = format!("{}/production.yaml", examples());
    let json = desk.plan(&[&file, "-o", "json"], "");
    insta::assert_snapshot!(text(&json.stdout));
    let yaml = desk.plan(&[&file, "-o", "yaml"], "");
    let from_yaml: Value = serde_yaml::from_slice(&yaml.stdout).expect("YAML");
    let from_json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(from_yaml, from_json);
}

#[test]
fn every_reason_to_skip_is_told_and_the_exit_code_is_0() {
    let told = |extra: &str, input: &str| {
        let (plan, code) = Desk::new(extra).json(&["-"], input);
        assert_eq!(code, Some(0), "{plan}");
        let skipped = plan["skipped"].as_array().expect("a list").clone();
        assert_eq!(skipped.len(), 1, "{plan}");
        assert_eq!(skipped[0]["object"]["namespace"], "apps");
        skipped[0]["reason"].as_str().expect("a word").to_owned()
    };
    let mirror = "  annotations: {kubernetes.io/config.mirror: x}\nspec: {nodeName: node-1}";
    let finished = format!("{BOUND}\nstatus: {{phase: Succeeded}}");
    let cases = [
        ("pod_label = \"id\"", pod("a", BOUND), "no_label"),
        ("pod_annotation = \"id\"", pod("a", BOUND), "no_annotation"),
        (
            "disabled_namespaces = [\"apps\"]",
            pod("a", BOUND),
            "namespace_disabled",
        ),
        ("", pod("a", "spec: {}"), "not_scheduled"),
        (
            "terminal_pods = \"release\"",
            pod("a", &finished),
            "finished",
        ),
        ("", pod("a", mirror), "mirror_without_service_account"),
    ];
    for (extra, input, reason) in &cases {
        assert_eq!(told(extra, input), *reason);
    }
}

#[test]
fn every_reason_to_hold_is_told_and_the_exit_code_is_3() {
    let told = |extra: &str, input: &str| {
        let (plan, code) = Desk::new(extra).json(&["-"], input);
        assert_eq!(code, Some(3), "{plan}");
        let held = plan["held"].as_array().expect("a list");
        assert_eq!(held.len(), 1, "{plan}");
        held[0]["reason"].as_str().expect("a word").to_owned()
    };
    let annotated = |value: &str| pod("a", &format!("  annotations: {{id: {value:?}}}\n{BOUND}"));
    let id = "pod_annotation = \"id\"";
    let cases = [
        (id, annotated("a//b"), "IllegalPath"),
        (id, annotated("spire/agent"), "ReservedPath"),
        ("parent = \"agent\"", pod("a", BOUND), "UnknownNode"),
        (
            "",
            pod("a", "spec: {nodeName: \"a b\", serviceAccountName: sa}"),
            "IllegalNodeName",
        ),
        ("", pod("a", "spec: {nodeName: [1]}"), "Undecodable"),
    ];
    for (extra, input, reason) in &cases {
        assert_eq!(told(extra, input), *reason);
    }
}

#[test]
fn what_is_left_out_and_what_the_input_lacks_is_warned_of() {
    let desk = Desk::new("add_pod_dns_names = true\nfederation_allow = [\"good.test\"]");
    let input = pod(
        "a",
        "  annotations: {spiffe.io/federatesWith: \"good.test,example.org,BAD,other.test\"}\n\
         spec: {nodeName: node-1, serviceAccountName: sa}\nstatus: {podIP: \"fd00::\"}",
    ) + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\napiVersion: v1\nkind: Secret\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: young}\nspec: {nodeName: node-1}\n";
    let (plan, code) = desk.json(&["-"], &input);
    assert_eq!(code, Some(0), "{plan}");
    let warnings = plan["warnings"].as_array().expect("a list");
    let reasons: BTreeSet<&str> = warnings
        .iter()
        .filter_map(|w| w["reason"].as_str())
        .collect();
    let expected = [
        "BundlesUnknown",
        "DnsName",
        "IllegalTrustDomain",
        "KindMissing",
        "KindsIgnored",
        "NoUid",
        "OwnTrustDomain",
        "PodMakers",
        "TrustDomainNotAllowed",
    ];
    assert_eq!(reasons, expected.into(), "{plan:#}");
    let missing = warnings
        .iter()
        .filter(|w| w["reason"] == "KindMissing")
        .count();
    assert_eq!(missing, 2, "nodes and EndpointSlices");
}

fn entry(id: &str, path: &str, parent: &str, selectors: &[&str]) -> Value {
    let id_of = |path: &str| serde_json::json!({"trust_domain": "example.org", "path": path});
    let selectors: Vec<Value> = selectors
        .iter()
        .map(|s| {
            let (kind, value) = s.split_once(':').expect("a selector");
            serde_json::json!({"type": kind, "value": value})
        })
        .collect();
    serde_json::json!({
        "id": id, "spiffe_id": id_of(path), "parent_id": id_of(parent), "selectors": selectors,
        "x509_svid_ttl": 0, "federates_with": [], "hint": "", "admin": false, "created_at": "1",
        "downstream": false, "expires_at": "0", "dns_names": [], "revision_number": "0",
        "store_svid": false, "jwt_svid_ttl": 0,
    })
}

/// A server with the node's entry, an entry for pod `b` of another SPIFFE ID, one of a pod that is gone, one under another
/// root, and one in the way of pod `c`'s.
fn server() -> String {
    let root = "/spire-k8s-registrar/demo/node";
    let on_node = format!("{root}/node-1");
    let entries = [
        entry(
            "node",
            &on_node,
            "/spire/server",
            &["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:node-1"],
        ),
        entry(
            "entry-b",
            "/old",
            &on_node,
            &["k8s:ns:apps", "k8s:pod-name:b"],
        ),
        entry(
            "gone",
            "/ns/apps/sa/sa",
            &on_node,
            &["k8s:ns:apps", "k8s:pod-name:gone"],
        ),
        entry(
            "other",
            "/ns/apps/sa/sa",
            "/other/demo/node",
            &["k8s:ns:apps", "k8s:pod-name:a"],
        ),
    ];
    serde_json::json!([{"entries": entries, "next_page_token": ""}]).to_string()
}

#[test]
fn with_the_servers_entries_the_difference_is_shown_field_by_field() {
    let desk = Desk::new("x509_svid_ttl = \"10m\"");
    desk.file("entries.json", &server());
    let input = format!("{NODE}{}{}", pod("a", BOUND), pod("b", BOUND));
    let output = desk.plan(&["-entries", "entries.json", "-"], &input);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(text(&output.stdout));
    let (plan, _) = desk.json(&["-entries", "entries.json", "-"], &input);
    assert_eq!(plan["create"].as_array().map(Vec::len), Some(1), "{plan:#}");
    assert_eq!(plan["update"][0]["id"], "entry-b");
    let fields = &plan["update"][0]["fields"];
    assert_eq!(fields["spiffe_id"]["old"]["path"], "/old");
    assert_eq!(fields["spiffe_id"]["new"]["path"], "/ns/apps/sa/sa");
    assert_eq!(
        fields["x509_svid_ttl"],
        serde_json::json!({"old": 0, "new": 600})
    );
    assert_eq!(fields.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(plan["delete"][0]["id"], "gone");
    assert_eq!(plan["unchanged"], 1);
}

#[test]
fn what_is_absent_from_an_input_that_may_be_a_part_is_not_taken_for_gone() {
    let desk = Desk::new("");
    desk.file("entries.json", &server());
    // No nodes in the input; pods whose list was cut.
    let (plan, _) = desk.json(&["-entries", "entries.json", "-"], &pod("a", BOUND));
    let deleted = plan["delete"].as_array().expect("a list");
    assert!(deleted.iter().all(|d| d["id"] != "node"), "{plan:#}");
    let cut = r#"{"kind": "PodList", "apiVersion": "v1", "items": ["#;
    let args = ["-entries", "entries.json", "-o", "json", "-"];
    let output = desk.plan(&args, cut);
    assert_eq!(output.status.code(), Some(1), "half of an input is no plan");
    let plan: Value = serde_json::from_slice(&output.stdout).expect("what could be read");
    assert_eq!(plan["delete"], serde_json::json!([]), "{plan:#}");
    let told = text(&output.stderr);
    assert!(
        told.contains("standard input: it ends in the middle"),
        "{told}"
    );
}

#[test]
fn an_entry_that_stands_in_the_way_is_named_with_its_remedy() {
    let desk = Desk::new("parent = \"agent\"\npod_selectors = [\"pod-uid\"]");
    let agent = "/spire/agent/k8s_psat/demo/uid-node-1";
    let taken = entry("scm.1", "/ns/apps/sa/sa", agent, &["k8s:pod-uid:uid-a"]);
    desk.file(
        "entries.json",
        &serde_json::json!({"entries": [taken]}).to_string(),
    );
    let input = format!("{NODE}{}", pod("a", BOUND));
    let (plan, _) = desk.json(&["-entries", "entries.json", "-"], &input);
    assert_eq!(plan["create"], serde_json::json!([]), "{plan:#}");
    let warning = &plan["warnings"][0];
    assert_eq!(warning["reason"], "EntryTaken", "{plan:#}");
    let message = warning["message"].as_str().expect("text");
    assert!(
        message.contains("spire-server entry delete -entryID scm.1"),
        "{message}"
    );
}

#[test]
fn the_table_is_never_wider_than_100_columns_and_shows_no_control_characters() {
    let desk = Desk::new("pod_annotation = \"id\"");
    let long = "segment/".repeat(20) + "end";
    let mut input = NODE.to_owned();
    input += &pod("a", &format!("  annotations: {{id: {long:?}}}\n{BOUND}"));
    input += &pod(
        "b",
        "  annotations: {id: \"\\e[31m evil \\n\"}\nspec: {nodeName: node-1}",
    );
    input += &pod(&"long-name.".repeat(20), BOUND);
    let output = desk.plan(&["-"], &input);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("IllegalPath") || shown.contains("HELD"),
        "{shown}"
    );
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn wrong_usage_and_missing_files_are_told_and_have_their_exit_codes() {
    let desk = Desk::new("");
    for (args, code, said) in [
        (&[][..], 2, "FILE"),
        (&["-live", "x.yaml"][..], 2, "cannot be used with"),
        (&["-o", "xml", "x.yaml"][..], 2, "possible values"),
        (&["nowhere.yaml"][..], 1, "nowhere.yaml"),
        (
            &["-entries", "nowhere.json", "registrar.conf"][..],
            1,
            "nowhere.json",
        ),
        (&["registrar.conf"][..], 1, "registrar.conf"),
    ] {
        let output = desk.plan(args, "");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(said), "{args:?}: {told}");
    }
}

/// What of `value` the schema does not allow; knows the words that our schema uses.
fn objections(value: &Value, schema: &Value, whole: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = whole.pointer(reference.trim_start_matches('#'));
        let target = target.unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return objections(value, target, whole, at);
    }
    let right_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    let mut found = Vec::new();
    if !right_type {
        found.push(format!("{at} is {value}, not {}", schema["type"]));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(objections(
            item,
            &schema["items"],
            whole,
            &format!("{at}[]"),
        ));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let key = required.as_str().expect("a name");
        if value.get(key).is_none() {
            found.push(format!("{at} has no {key}"));
        }
    }
    for (key, part) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (
            schema["properties"].get(key),
            &schema["additionalProperties"],
        ) {
            (Some(schema), _) => found.extend(objections(part, schema, whole, &at)),
            (None, Value::Bool(false)) => found.push(format!("{at} is not in the schema")),
            (None, other) => found.extend(objections(part, other, whole, &at)),
        }
    }
    found
}

#[test]
fn json_is_as_its_schema_says() {
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/json/plan.schema.json")).expect("JSON");
    let desk = Desk::new("x509_svid_ttl = \"10m\"\npod_annotation = \"id\"");
    desk.file("entries.json", &server());
    let annotated = |name, id| pod(name, &format!("  annotations: {{id: {id:?}}}\n{BOUND}"));
    let input = format!(
        "{NODE}{}{}{}{}",
        annotated("a", "one"),
        annotated("b", "two"),
        annotated("c", "a//b"),
        pod("d", BOUND)
    );
    for args in [&["-entries", "entries.json", "-"][..], &["-"][..]] {
        let (plan, _) = desk.json(args, &input);
        assert_eq!(
            objections(&plan, &schema, &schema, "plan"),
            [""; 0],
            "{plan:#}"
        );
        let parts = plan.as_object().expect("an object");
        let empty = parts.iter().filter(|(_, v)| **v == serde_json::json!([]));
        assert!(empty.count() <= 1, "nothing to check in: {plan:#}");
    }
    let bad = serde_json::json!({"entries": [{"object": {"kind": 1}}], "more": 1});
    assert!(
        objections(&bad, &schema, &schema, "plan").len() > 5,
        "the check can fail"
    );
}

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
fn the_other_modes_are_planned_by_their_own_rules() {
    let webhook = Desk::new("mode = \"webhook\"");
    let (plan, _) = webhook.json(&["-"], &pod("a", "spec: {serviceAccountName: sa}"));
    let parents: BTreeSet<&str> = plan["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["parent_id"]["path"].as_str())
        .collect();
    let expected = ["/k8s-workload-registrar/demo/node", "/spire/server"];
    assert_eq!(parents, expected.into(), "{plan:#}");

    let crd = Desk::new("mode = \"crd\"\nnamespace = \"spire\"");
    let (plan, _) = crd.json(&["-"], &format!("{NODE}{}", pod("a", BOUND)));
    let selectors: Vec<&str> = plan["entries"][1]["selectors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|s| s["value"].as_str())
        .collect();
    assert_eq!(
        selectors,
        ["pod-uid:uid-a", "ns:apps", "node-name:node-1"],
        "{plan:#}"
    );
    let refused = crd.plan(&["-live"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("crd mode cannot be compared"),
        "{refused:?}"
    );
}
