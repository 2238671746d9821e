//! Every reason why an object gets no entry, or is held.

use std::{collections::BTreeSet, path::Path};

use registrar_core::rules::SkipReason;

use crate::desk::{BOUND, Desk, NODE, entry, pod, spiffe_id};

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
    let mut occurred: BTreeSet<String> = cases.iter().map(|(.., r)| (*r).to_owned()).collect();
    occurred.extend(OF_A_COMPARISON.map(str::to_owned));
    let all = every_word();
    let missing: Vec<&String> = all.difference(&occurred).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
    let unknown: Vec<&String> = occurred.difference(&all).collect();
    assert!(unknown.is_empty(), "nobody gives them: {unknown:?}");
}

/// Reasons that only a comparison with the server's entries finds: the examples are in the test below.
const OF_A_COMPARISON: [&str; 4] = ["Duplicate", "EntryNotOurs", "EntryRefused", "NameTaken"];

/// Every word that core gives as the reason of a hold, as its source has them.
fn every_word() -> BTreeSet<String> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let read = |file: &str| std::fs::read_to_string(core.join(file)).expect("a source file");
    let mut words = BTreeSet::new();
    let mut quoted = |text: &str, before: &str| {
        for (at, _) in text.match_indices(before) {
            let word = text[at + before.len()..].split('"').next();
            words.insert(word.expect("a word").to_owned());
        }
    };
    let rules = read("rules/mod.rs");
    let of_problems = rules.split_once("impl Problem").expect("its words").1;
    let of_problems = of_problems
        .split_once("/// Something left out")
        .expect("an end");
    quoted(of_problems.0, "=> \"");
    let permitted = read("admission/spiffe_id.rs").replace(char::is_whitespace, "");
    quoted(&permitted, "refused(\"");
    for file in ["sync/spiffe_ids.rs", "sync/standing.rs"] {
        quoted(&read(file), "reason: \"");
        quoted(&read(file), "pub(super) const NOT_OURS: &str = \"");
    }
    // Only the webhook gives it: the controller leaves such a name out.
    assert!(words.remove("IllegalDnsName"), "{words:?}");
    assert!(words.len() > 15, "{words:?}");
    words
}

#[test]
fn every_reason_that_only_a_comparison_finds_is_told() {
    let desk = Desk::new(CRD);
    let of_operator = entry("operators", "/theirs", "/nodes", &["k8s:ns:apps"]);
    desk.file(
        "entries.json",
        &serde_json::json!({"entries": [of_operator]}).to_string(),
    );
    let id = |path: &str| format!("spiffe://example.org{path}");
    let named = spiffe_id("greedy", &id("/greedy"), "apps")
        .replace("---", "status: {entryId: operators}\n---");
    let made = |name: &str, day: &str| {
        let created = format!("uid: uid-{name}, creationTimestamp: \"2026-01-{day}T00:00:00Z\"");
        spiffe_id(name, &id("/twice"), "apps").replace(&format!("uid: uid-{name}"), &created)
    };
    let input = [
        NODE.to_owned(),
        // Its SpiffeID would have this name, which somebody else's has.
        pod("taken", BOUND),
        spiffe_id("taken", &id("/taken"), "apps"),
        made("older", "01"),
        made("younger", "02"),
        // The server has such an entry, and it is an operator's.
        spiffe_id("refused", &id("/theirs"), "apps"),
        named,
    ];
    let (plan, code) = desk.json(&["-entries", "entries.json", "-"], &input.concat());
    assert_eq!(code, Some(3), "{plan:#}");
    let of = |part: &str| -> Vec<String> {
        let all = plan[part].as_array().expect("a list").iter();
        let told = all.filter(|r| !r["object"].is_null());
        told.map(|r| {
            let object = &r["object"];
            format!("{} {}: {}", object["kind"], object["name"], r["reason"]).replace('"', "")
        })
        .collect()
    };
    assert_eq!(
        of("held"),
        [
            "Pod taken: NameTaken",
            "SpiffeID greedy: EntryNotOurs",
            "SpiffeID younger: Duplicate",
        ],
        "{plan:#}"
    );
    // The status of a running registrar says EntryRefused; a plan names the entry.
    assert_eq!(of("warnings"), ["SpiffeID refused: EntryTaken"], "{plan:#}");
}
