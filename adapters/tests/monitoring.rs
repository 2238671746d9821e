//! The dashboard and the rules name only metrics that there are, and every alert has its section in the README.

use std::collections::BTreeSet;

use registrar_adapters::telemetry::{Metrics, metrics::PREFIX};

const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
const README: &str = include_str!("../../README.md");

/// The metrics that a text names, without prefix.
fn named(text: &str) -> BTreeSet<String> {
    let prefix = format!("{PREFIX}_");
    text.split(&prefix)
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let metrics = Metrics::new();
    let exposed: BTreeSet<String> = metrics
        .described()
        .iter()
        .flat_map(|m| match m.kind {
            "histogram" => ["_bucket", "_sum", "_count"]
                .map(|s| format!("{}{s}", m.name))
                .to_vec(),
            _ => vec![m.name.to_owned()],
        })
        .collect();
    for (what, text) in [("the rules", RULES), ("the dashboard", DASHBOARD)] {
        let named = named(text);
        assert!(named.len() > 5, "{what} name {named:?}");
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{what} name {unknown:?}");
    }
    serde_json::from_str::<serde_json::Value>(DASHBOARD).expect("the dashboard is JSON");
}

#[test]
fn every_alert_has_its_section_in_the_readme() {
    let alerts: Vec<&str> = RULES
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(
            README.contains(&format!("### Runbook: {alert}\n")),
            "{alert}"
        );
        let anchor = format!("README.md#runbook-{}", alert.to_lowercase());
        assert!(RULES.contains(&anchor), "{anchor}");
    }
}
