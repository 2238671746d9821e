//! Plans of the other modes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    desk::{BOUND, Desk, NODE, entry, pod, spiffe_id, text},
    schema::objections,
};

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
}

const CRD: &str = "mode = \"crd\"\nnamespace = \"spire\"";

/// What webhook mode left: the entry of all nodes, and one of a pod.
fn of_webhook_mode() -> String {
    let root = "/k8s-workload-registrar/demo/node";
    let all = ["k8s_psat:cluster:demo"];
    let pod = ["k8s:ns:apps", "k8s:pod-name:a"];
    let entries = [
        entry("all-nodes", root, "/spire/server", &all),
        entry("of-a", "/ns/apps/sa/sa", root, &pod),
        entry(
            "operators",
            "/by/hand",
            "/spire/agent/k8s_psat/demo/x",
            &["unix:uid:0"],
        ),
    ];
    serde_json::json!({"entries": entries}).to_string()
}

fn names(plan: &Value, part: &str) -> Vec<String> {
    let of =
        |e: &Value| format!("{} {}", e["object"]["kind"], e["object"]["name"]).replace('"', "");
    plan[part]
        .as_array()
        .expect("a list")
        .iter()
        .map(of)
        .collect()
}

#[test]
fn crd_mode_is_compared_with_the_servers_entries_by_acting_it_out() {
    let desk = Desk::new(CRD);
    desk.file("entries.json", &of_webhook_mode());
    let hand = spiffe_id("by-hand", "spiffe://example.org/by-hand", "apps");
    let input = format!("{NODE}{}{hand}", pod("a", BOUND));
    let (plan, code) = desk.json(&["-entries", "entries.json", "-"], &input);
    assert_eq!(code, Some(0), "{plan:#}");
    assert_eq!(
        names(&plan, "entries"),
        ["Node node-1", "Pod a", "SpiffeID by-hand"]
    );
    assert_eq!(names(&plan, "create"), names(&plan, "entries"), "{plan:#}");
    let gone: Vec<&Value> = plan["delete"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| &d["id"])
        .collect();
    assert_eq!(gone, ["all-nodes", "of-a"], "{plan:#}");
    let changes = |plan: &Value| -> Vec<String> {
        let all = plan["spiffe_ids"].as_array().expect("a list").iter();
        all.map(|r| format!("{} {}/{}", r["change"], r["namespace"], r["name"]).replace('"', ""))
            .collect()
    };
    assert_eq!(
        changes(&plan),
        [
            "create apps/a",
            "update apps/by-hand",
            "create spire/node-1"
        ],
        "one written by hand gets its finalizer"
    );
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/json/plan.schema.json")).expect("JSON");
    assert_eq!(objections(&plan, &schema, &schema, "plan"), [""; 0]);

    let shown = desk.plan(&["-entries", "entries.json", "-"], &input);
    let shown = text(&shown.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        shown.contains("3 to create, 0 to update, 2 to delete"),
        "{shown}"
    );
    assert!(
        shown.contains("of SpiffeIDs, 2 to create, 1 to update, 0 to delete"),
        "{shown}"
    );
}

#[test]
fn two_spiffe_ids_that_ask_for_the_same_are_told_and_the_younger_is_held() {
    let desk = Desk::new(CRD);
    desk.file(
        "entries.json",
        &serde_json::json!({"entries": []}).to_string(),
    );
    let one = |name: &str, made: &str| {
        let created = format!("uid: uid-{name}, creationTimestamp: \"{made}\"");
        spiffe_id(name, "spiffe://example.org/same", "apps")
            .replace(&format!("uid: uid-{name}"), &created)
    };
    let input = format!(
        "{NODE}{}{}{}",
        pod("a", BOUND),
        one("young", "2026-01-02T00:00:00Z"),
        one("zz-old", "2026-01-01T00:00:00Z")
    );
    let (plan, code) = desk.json(&["-entries", "entries.json", "-"], &input);
    assert_eq!(code, Some(3), "{plan:#}");
    assert_eq!(names(&plan, "held"), ["SpiffeID young"], "{plan:#}");
    assert_eq!(plan["held"][0]["reason"], "Duplicate");
    assert!(
        names(&plan, "create").contains(&"SpiffeID zz-old".to_owned()),
        "{plan:#}"
    );
}

#[test]
fn a_part_of_the_cluster_is_not_compared_in_crd_mode() {
    let desk = Desk::new(CRD);
    desk.file("entries.json", &of_webhook_mode());
    let refused = desk.plan(&["-entries", "entries.json", "-"], &pod("a", BOUND));
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("no Node objects") && told.contains("kubectl get nodes,pods"),
        "{told}"
    );

    let (plan, _) = desk.json(
        &["-entries", "entries.json", "-"],
        &format!("{NODE}{}", pod("a", BOUND)),
    );
    let made = plan["create"][1]["object"]["name"]
        .as_str()
        .expect("a name");
    assert_eq!(made, "a");
    // An entry that was made for a SpiffeID, and no SpiffeID: that is not the whole cluster.
    let prefix =
        registrar_core::policy::Policy::crd("example.org", "demo", "spire").expect("legal");
    let id = prefix
        .entry_ids
        .issue_for(&registrar_core::cluster::Uid::new("u"), 1, 1);
    let ours = entry(id.as_str(), "/x", "/nodes", &["k8s:ns:apps"]);
    desk.file(
        "entries.json",
        &serde_json::json!({"entries": [ours]}).to_string(),
    );
    let refused = desk.plan(
        &["-entries", "entries.json", "-"],
        &format!("{NODE}{}", pod("a", BOUND)),
    );
    let told = text(&refused.stderr);
    assert!(told.contains("1 entries were made for SpiffeIDs"), "{told}");
}
