//! What is planned from manifests, and how it is shown.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::desk::{BOUND, Desk, NODE, examples, pod, text};

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
