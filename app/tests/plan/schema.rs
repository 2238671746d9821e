//! `-o json` is as its documented schema says.

use serde_json::Value;

use crate::desk::{BOUND, Desk, NODE, pod, server};

/// What of `value` the schema does not allow; knows the words that our schema uses.
pub fn objections(value: &Value, schema: &Value, whole: &Value, at: &str) -> Vec<String> {
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
        serde_json::from_str(include_str!("../../../docs/json/plan.schema.json")).expect("JSON");
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
