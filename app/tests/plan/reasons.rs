//! Every reason why an object gets no entry, or is held.

use std::collections::BTreeSet;

use registrar_core::rules::SkipReason;

use crate::desk::{BOUND, Desk, pod, spiffe_id};

const CRD: &str = "mode = \"crd\"\nnamespace = \"spire\"";

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
        (
            "mode = \"crd\"\nnamespace = \"spire\"\nidentity_template_label = \"wanted\"",
            pod("a", &format!("  labels: {{wanted: maybe}}\n{BOUND}")),
            "not_labelled",
        ),
    ];
    for (extra, input, reason) in &cases {
        assert_eq!(told(extra, input), *reason);
    }
    let mut occurred: BTreeSet<&str> = cases.iter().map(|(_, _, reason)| *reason).collect();
    // Nodes that get no entries are not worth a line: no plan tells of them.
    occurred.insert(SkipReason::NodesHaveNone.word());
    let all = [
        SkipReason::NoLabel,
        SkipReason::NoAnnotation,
        SkipReason::NotLabelled,
        SkipReason::NamespaceDisabled,
        SkipReason::NotScheduled,
        SkipReason::Finished,
        SkipReason::MirrorWithoutServiceAccount,
        SkipReason::NodesHaveNone,
    ];
    // A new reason must be added above, and to the cases.
    for reason in all {
        match reason {
            SkipReason::NoLabel
            | SkipReason::NoAnnotation
            | SkipReason::NotLabelled
            | SkipReason::NamespaceDisabled
            | SkipReason::NotScheduled
            | SkipReason::Finished
            | SkipReason::MirrorWithoutServiceAccount
            | SkipReason::NodesHaveNone => {}
        }
    }
    assert_eq!(occurred, all.map(SkipReason::word).into());
}

const MINE: &str = "{namespace: apps}";

/// A SpiffeID that somebody wrote in namespace `apps`.
fn by_hand(id: &str, parent: &str, selector: &str) -> String {
    spiffe_id("by-hand", id, "apps")
        .replace("example.org/nodes", &format!("example.org/{parent}"))
        .replace(MINE, selector)
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
        (
            "mode = \"crd\"\nnamespace = \"spire\"\nidentity_template = \"{{slice .Pod.Hostname 0 2}}\"",
            pod(
                "a",
                "spec: {nodeName: node-1, hostname: h, serviceAccountName: sa}",
            ),
            "TemplateFailed",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/x", "parent", "{}"),
            "EmptySelector",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/x", "parent", "{cluster: demo}"),
            "AgentSelector",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/x", "parent", "{namespace: other}"),
            "OtherNamespace",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/spire/x", "parent", MINE),
            "ReservedPath",
        ),
        (
            CRD,
            by_hand(
                "spiffe://example.org/k8s-workload-registrar/x",
                "parent",
                MINE,
            ),
            "ReservedPath",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/x", "spire/server", MINE),
            "ReservedParent",
        ),
        (
            CRD,
            by_hand("spiffe://other.test/x", "parent", MINE),
            "OtherTrustDomain",
        ),
        (
            CRD,
            by_hand("spiffe://example.org/a//b", "parent", MINE),
            "IllegalId",
        ),
        (CRD, by_hand("no-id", "parent", MINE), "OtherTrustDomain"),
        (
            CRD,
            by_hand("spiffe://example.org/x", "parent", MINE)
                .replace("spec:", "spec:\n  downstream: true"),
            "Downstream",
        ),
    ];
    for (extra, input, reason) in &cases {
        assert_eq!(told(extra, input), *reason, "{input}");
    }
}
