//! The README's tables say what the program does.

use registrar_adapters::{config::keys::KEYS, telemetry::Metrics};

fn between(from: &str, to: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(from).expect("the table begins");
    let (table, _) = rest.split_once(to).expect("the table ends");
    table
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_stands_in_the_readme_with_modes_default_and_meaning() {
    let shown = between("<!-- keys:", "<!-- end of keys -->");
    let real: Vec<String> = KEYS
        .iter()
        .map(|k| {
            let modes = [
                (k.modes.webhook, "webhook"),
                (k.modes.reconcile, "reconcile"),
                (k.modes.crd, "crd"),
            ];
            let names: Vec<&str> = modes
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, n)| *n)
                .collect();
            let modes = if names.len() == 3 {
                "all".to_owned()
            } else {
                names.join(", ")
            };
            let default = if k.default.is_empty() {
                String::new()
            } else {
                format!("`{}`", k.default)
            };
            format!("| `{}` | {modes} | {default} | {} |", k.name, k.doc)
        })
        .collect();
    assert_eq!(shown, real);
}

#[test]
fn every_metric_stands_in_the_readme() {
    let shown = between("<!-- metrics:", "<!-- end of metrics -->");
    let metrics = Metrics::new();
    let real: Vec<String> = metrics
        .described()
        .iter()
        .map(|m| format!("| `{}` | {} | {} | {} |", m.name, m.kind, m.labels, m.help))
        .collect();
    assert_eq!(shown, real);
}
