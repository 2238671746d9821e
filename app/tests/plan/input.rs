//! Input that is not as it should be: what can be read is planned, the rest is named, and nothing hangs or panics.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::desk::{BOUND, Desk, NODE, pod, text};

/// The plan of these files together with one good pod, and what was said.
fn with(files: &[(&str, &[u8])]) -> (Value, Option<i32>, String) {
    let desk = Desk::new("");
    desk.file("good.yaml", &format!("{NODE}{}", pod("good", BOUND)));
    let mut args = vec!["good.yaml"];
    for (name, bytes) in files {
        std::fs::write(desk.dir.path().join(name), bytes).expect("written");
        args.push(name);
    }
    args.extend(["-o", "json"]);
    let output = desk.plan(&args, "");
    let plan = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (plan, output.status.code(), text(&output.stderr))
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_the_rest_is_planned() {
    let duplicate =
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "name": "y"}}"#;
    let half =
        r#"{"apiVersion": "v1", "kind": "PodList", "items": [{"kind": "Pod", "metadata": {"na"#;
    let cases: [(&str, &[u8], &str); 6] = [
        ("binary.yaml", b"\x7fELF\0\0\x01", "not text"),
        ("latin1.yaml", b"kind: Pod\nmetadata: {name: \xe9}", "UTF-8"),
        ("half.json", half.as_bytes(), "in the middle"),
        ("twice.json", duplicate.as_bytes(), "name"),
        ("scalar.yaml", b"just some words", "scalar.yaml"),
        ("broken.yaml", b"kind: Pod\n  bad: [", "broken.yaml"),
    ];
    for (name, bytes, said) in cases {
        let (plan, code, told) = with(&[(name, bytes)]);
        let held = plan["held"].as_array().is_some_and(|h| !h.is_empty());
        assert!(code == Some(1) || held, "{name}: {code:?} {told} {plan:#}");
        let everything = format!("{told}{plan}");
        assert!(everything.contains(said), "{name}: {everything}");
        assert!(told.len() < 4096, "{name}: {} bytes", told.len());
        let pods = plan["entries"].as_array().expect("a list");
        assert!(
            pods.iter().any(|e| e["object"]["name"] == "good"),
            "{name}: {plan:#}"
        );
    }
}

#[test]
fn kinds_that_no_rule_reads_are_counted_and_named_and_no_error() {
    let mixed = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n\
                 - {apiVersion: v1, kind: Secret, metadata: {name: t}}\n\
                 - {apiVersion: example.test/v1, kind: Widget, metadata: {name: w}}\n---\n\
                 {\"apiVersion\": \"apps/v1\", \"kind\": \"StatefulSet\", \"metadata\": {\"name\": \"s\"}}\n";
    let (plan, code, told) = with(&[("mixed.yaml", mixed.as_bytes())]);
    assert_eq!(code, Some(0), "{told}");
    let message = |reason: &str| {
        let all = plan["warnings"].as_array().expect("a list");
        let found = all.iter().find(|w| w["reason"] == reason);
        found
            .and_then(|w| w["message"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    assert!(message("KindsIgnored").contains("2 Secret"), "{plan:#}");
    assert!(message("KindsIgnored").contains("1 Widget"), "{plan:#}");
    assert!(message("PodMakers").contains("1 StatefulSet"), "{plan:#}");
}

#[test]
fn a_pod_without_uid_gets_a_stand_in_that_is_told() {
    let desk = Desk::new("pod_selectors = [\"pod-uid\"]");
    let young = pod("young", BOUND).replace("  uid: uid-young\n", "");
    let (plan, code) = desk.json(&["-"], &format!("{NODE}{young}"));
    assert_eq!(code, Some(0), "{plan:#}");
    assert_eq!(
        plan["entries"][1]["selectors"][0]["value"],
        "pod-uid:uid-of-apps.young"
    );
    let warning = plan["warnings"].to_string();
    assert!(
        warning.contains("NoUid") && warning.contains("Pod apps/young"),
        "{warning}"
    );
}

#[test]
fn a_packed_file_that_grows_without_end_is_given_up() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(b"# ").expect("packed");
    let block = vec![b' '; 1 << 20];
    for _ in 0..200 {
        packer.write_all(&block).expect("packed");
    }
    let bomb = packer.finish().expect("packed");
    assert!(bomb.len() < 4 << 20, "small on the disk: {}", bomb.len());
    let (plan, code, told) = with(&[("bomb.yaml.gz", &bomb)]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("bomb.yaml.gz"), "{told}");
    assert_eq!(
        plan["entries"].as_array().map(Vec::len),
        Some(2),
        "{plan:#}"
    );
}

#[test]
fn packed_entries_that_grow_without_end_are_given_up() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(b"{\"entries\": [").expect("packed");
    let block = vec![b' '; 1 << 20];
    for _ in 0..200 {
        packer.write_all(&block).expect("packed");
    }
    let desk = Desk::new("");
    std::fs::write(
        desk.dir.path().join("bomb.json.gz"),
        packer.finish().expect("packed"),
    )
    .expect("written");
    let output = desk.plan(&["-entries", "bomb.json.gz", "-"], "");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("bomb.json.gz") && told.len() < 4096, "{told}");
}

#[test]
fn names_of_names_of_names_are_not_followed_without_end() {
    let mut bomb = "kind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let ten = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("a{n}: &a{n} [{ten}]\n");
    }
    bomb += "metadata: {name: bomb, annotations: *a29}\n";
    let (plan, code, told) = with(&[("bomb.yaml", bomb.as_bytes())]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("bomb.yaml"), "{told}");
    assert_eq!(
        plan["entries"].as_array().map(Vec::len),
        Some(2),
        "{plan:#}"
    );
}

#[test]
fn one_huge_object_is_given_up_and_the_rest_is_planned() {
    let huge = format!(
        "kind: Pod\nmetadata: {{name: huge, annotations: {{a: \"{}\"}}}}\n",
        "x".repeat(40 << 20)
    );
    let (plan, code, told) = with(&[("huge.yaml", huge.as_bytes())]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("huge.yaml") && told.len() < 4096,
        "{} bytes",
        told.len()
    );
    assert_eq!(
        plan["entries"].as_array().map(Vec::len),
        Some(2),
        "{plan:#}"
    );
}
