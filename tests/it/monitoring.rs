//! Metrics, alerts and the dashboard, judged by Prometheus' own parsers; and that no tenant can make them many.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use registrar_adapters::telemetry::{Metrics, metrics::PREFIX};
use registrar_tests::{Options, PodSpec, Registrar, eventually};
use serde_json::{Value, json};

use crate::plane::{private, shared};

const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
/// The README promises it.
const MOST_SERIES: usize = 400;

/// What the Go program in `tests/tools/monitoring` says: whether all is well, and its words.
fn judged(input: &Value) -> (bool, String) {
    let mut go = Command::new("go")
        .args(["run", "."])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("go runs: it is needed for the control plane too");
    let text = input.to_string();
    let mut stdin = go.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = go.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.success(), said)
}

fn input(expositions: &[(String, String)]) -> Value {
    let described: Vec<Value> = Metrics::new()
        .described()
        .iter()
        .map(|m| {
            let labels = m.labels.split(", ").filter(|l| !l.is_empty());
            json!({
                "name": format!("{PREFIX}_{}", m.name), "kind": m.kind, "help": m.help,
                "labels": labels.collect::<Vec<_>>(),
            })
        })
        .collect();
    let expositions: Vec<Value> = expositions
        .iter()
        .map(|(kind, text)| json!({"contenttype": kind, "text": text}))
        .collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    json!({"described": described, "expositions": expositions, "rules": RULES, "dashboard": dashboard})
}

/// What `/metrics` answers: the content type, and the text.
async fn scraped(registrar: &Registrar) -> (String, String) {
    let (status, head, text) = registrar.answer("/metrics").await.expect("answers");
    assert_eq!(status, 200);
    let kind = head.lines().find_map(|l| {
        let (name, value) = l.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then_some(value)
    });
    (kind.expect("a content type").to_owned(), text)
}

fn series(text: &str) -> usize {
    text.lines().filter(|l| !l.starts_with('#')).count()
}

/// Whatever a tenant may write that could end up as a label; each has a word of its own.
fn hostile(n: usize) -> PodSpec {
    let word = format!("tenant{n}");
    let value = match n % 9 {
        0 => format!("{word}/ok"),
        1 => format!("{word}//empty"),
        2 => format!("\"}} 1\n{word}{{reason=\""),
        3 => format!("{word}{}", "x".repeat(4000)),
        4 => format!("../{word}"),
        5 => format!("spire/server/{word}"),
        6 => format!("{word}\u{0}\u{202e}ä"),
        7 => format!("{word}\u{1b}[2J\u{9b}31m\nts=1 level=error message=forged\r"),
        _ => format!("{word}\\"),
    };
    PodSpec::new(&format!("tenant-{}", n % 20), &format!("{word}.a--b.{n}"))
        .node_named(&format!("tenant-{}", n % 25))
        .annotation("spiffe.io/id", &value)
        .annotation("spiffe.io/federatesWith", &format!("{word}.test, \"{word}"))
        .label("app", &word)
}

#[tokio::test]
async fn a_thousand_hostile_pods_make_no_more_series_and_prometheus_reads_them_all() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    for n in 0..20 {
        let name = format!("tenant-{n}");
        p.cluster.namespace(&name).await.expect("a namespace");
        p.cluster.node(&name).await.expect("a node");
    }
    let made = async |from: usize, to: usize| {
        futures::stream::iter(from..to)
            .for_each_concurrent(32, async |n| {
                p.cluster.pod(&hostile(n)).await.expect("pod");
            })
            .await;
    };
    made(0, 40).await;
    let extra = "pod_annotation = \"spiffe.io/id\"\nleader_election = true\nnamespace = \"apps\"";
    let mut registrar = Registrar::start(&p.plane, "monitoring", extra).expect("starts");
    registrar.ready().await;
    let settled = async |registrar: &mut Registrar, pods: f64| {
        eventually("every pod is registered or held", async || {
            registrar.process.must_run().map_err(|e| e.to_string())?;
            let (_, text) = scraped(registrar).await;
            let value = |name: &str| -> f64 {
                let lines = text.lines().filter_map(|l| l.strip_prefix(PREFIX));
                lines
                    .filter(|l| l.starts_with(name))
                    .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
                    .sum()
            };
            let entries = value("_entries{kind=\"pod\"}");
            match entries + value("_held{") {
                sum if sum == pods && entries > 0.0 && value("_queue_depth") == 0.0 => Ok(()),
                sum => Err(format!("{entries} entries, {sum} with those held")),
            }
        })
        .await;
    };
    settled(&mut registrar, 40.0).await;
    let (kind, few) = scraped(&registrar).await;
    made(40, 1000).await;
    settled(&mut registrar, 1000.0).await;
    let (_, many) = scraped(&registrar).await;
    for text in [&few, &many] {
        assert!(series(text) <= MOST_SERIES, "{}:\n{text}", series(text));
        assert!(!text.contains("tenant"), "{text}");
    }
    let without_calls = |text: &str| -> usize {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        lines.filter(|l| !l.contains("_rpc_")).count()
    };
    assert_eq!(without_calls(&few), without_calls(&many), "{many}");
    eprintln!(
        "{} series with 40 pods, {} with 1000",
        series(&few),
        series(&many)
    );
    let (well, said) = judged(&input(&[(kind.clone(), few), (kind, many)]));
    assert!(well, "{said}");
    // Nor does what they write become a line of the log, or move anybody's cursor.
    let log = registrar.process.log();
    for line in log.lines() {
        let whole = line.starts_with("ts=") && !line.contains(char::is_control);
        assert!(whole, "{line:?}");
    }
    assert!(log.contains("message=forged"), "the values are told");
}

#[test]
fn what_is_wrong_with_metrics_rules_or_dashboard_is_found() {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8".to_owned();
    let right = input(&[(openmetrics.clone(), Metrics::new().render())]);
    let (well, said) = judged(&right);
    assert!(well, "{said}");
    let rule = |expr: &str| {
        let mut wrong = right.clone();
        let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: '{expr}'}}]}}]");
        wrong["rules"] = json!(text);
        wrong
    };
    let exposition = |text: &str| input(&[(openmetrics.clone(), format!("{text}# EOF\n"))]);
    for (wrong, words) in [
        (rule("max("), "unclosed left parenthesis"),
        (
            rule(&format!("max({PREFIX}_nothing)")),
            "there is no metric",
        ),
        (
            rule(&format!("max by (pods) ({PREFIX}_held)")),
            "has no label pods",
        ),
        (
            rule(&format!("{PREFIX}_held{{why=\"x\"}}")),
            "has no label why",
        ),
        (rule(&format!("rate({PREFIX}_held[5m])")), "is a gauge"),
        (
            rule(&format!("{PREFIX}_rpc_total{{code!=\"ok\"}} > 1")),
            "is a counter",
        ),
        (
            exposition(&format!("# TYPE {PREFIX}_new gauge\n{PREFIX}_new 1\n")),
            "not described",
        ),
        (
            exposition(&format!(
                "# TYPE {PREFIX}_held gauge\n{PREFIX}_held{{why=\"x\"}} 1\n"
            )),
            "has the labels [why]",
        ),
        (exposition("a{b=\"c} 1\n"), "cannot be read"),
    ] {
        let (well, said) = judged(&wrong);
        assert!(!well && said.contains(words), "{words:?} in {said:?}");
    }
}

#[tokio::test]
async fn the_time_of_the_last_sync_is_told_and_goes_on() {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("later")
            .as_secs_f64()
    };
    let begun = now();
    let b = shared("last-sync").await;
    let registrar = b.registrar("drift_interval = \"1s\"").await;
    let told = async || {
        registrar
            .metric("last_sync_timestamp_seconds")
            .await
            .expect("a number")
    };
    let first = told().await;
    assert!(
        begun <= first && first <= now(),
        "{begun} {first} {}",
        now()
    );
    eventually("a later time is told", async || match told().await {
        later if later > first => Ok(()),
        same => Err(same),
    })
    .await;
}
