//! Plans that compare with the server's entries, read from a file.

use serde_json::Value;

use crate::desk::{BOUND, Desk, NODE, entry, pod, server, text};

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
