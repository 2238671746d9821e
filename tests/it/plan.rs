//! `plan -live` against what `run` then does, and without the rights or the server that it needs.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use registrar_adapters::spire::pb::types::EntryMask;
use registrar_tests::{
    PodSpec, Registrar,
    entries::{Entry, entry, id},
    eventually,
    registrar::program,
};
use serde_json::Value;

use crate::plane::{Bench, shared};

pub(crate) fn command(args: &[&str]) -> Output {
    Command::new(program().expect("built"))
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .expect("runs")
}

fn plan(config: &Path, extra: &[&str]) -> Output {
    let config = config.display().to_string();
    let args: Vec<&str> = ["plan", "-config", &config, "-live"]
        .into_iter()
        .chain(extra.iter().copied())
        .collect();
    command(&args)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The parts of a plan that are about this test's namespace or root: the tests share a server and a cluster.
fn list(plan: &Value, part: &str) -> Vec<Value> {
    plan[part].as_array().cloned().unwrap_or_default()
}

async fn stored(b: &Bench) -> BTreeMap<String, Entry> {
    let all = b.entries.under(&b.root()).await.expect("listed");
    all.into_iter().map(|e| (e.id.clone(), e)).collect()
}

/// A registrar that ran once and was killed: its configuration and its entries are there.
async fn stopped(b: &Bench, extra: &str) -> Registrar {
    let mut registrar = b.registrar(extra).await;
    registrar.process.kill();
    registrar
}

#[tokio::test]
async fn the_live_plan_is_what_run_then_does() {
    let b = shared("plan-live").await;
    let extra = "pod_annotation = \"id\"\nmax_deletes = \"100%\"";
    for (pod, value) in [("a", "one"), ("b", "two"), ("c", "three"), ("d", "four")] {
        let pod = PodSpec::new(b.name, pod).annotation("id", value);
        b.cluster.pod(&pod).await.expect("pod");
    }
    let mut registrar = stopped(&b, extra).await;
    // While no registrar runs: b changes, c goes, d is forged, e comes, f asks for the impossible, g for nothing.
    b.cluster
        .annotate(b.name, "b", "id", Some("changed"))
        .await
        .expect("annotated");
    b.cluster.delete_pod(b.name, "c").await.expect("deleted");
    for (pod, value) in [("e", "five"), ("f", "a//b")] {
        let pod = PodSpec::new(b.name, pod).annotation("id", value);
        b.cluster.pod(&pod).await.expect("pod");
    }
    b.cluster
        .pod(&PodSpec::new(b.name, "g"))
        .await
        .expect("pod");
    let before = stored(&b).await;
    let of = |pod: &str| {
        let selector = format!("pod-name:{pod}");
        let found = before
            .values()
            .find(|e| e.selectors.iter().any(|s| s.value == selector));
        found.expect("an entry").clone()
    };
    let forged = Entry {
        spiffe_id: Some(id("/forged")),
        ..of("d")
    };
    let mask = EntryMask {
        spiffe_id: true,
        ..EntryMask::default()
    };
    b.entries.update(forged, mask).await.expect("updated");
    let foreign = entry(&format!("{}/node-1", b.root()), "/by/hand", &["unix:uid:0"]);
    b.entries.create(foreign).await.expect("created");
    let before = stored(&b).await;

    let output = plan(registrar.config(), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(3), "f is held: {output:?}");
    let planned = json(&output);
    assert_eq!(stored(&b).await, before, "a plan writes nothing");
    let table = plan(registrar.config(), &[]);
    let shown = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    for part in ["CREATE", "UPDATE", "DELETE", "HELD", "/forged"] {
        assert!(shown.contains(part), "{shown}");
    }
    let pods = |part: &str| -> Vec<String> {
        let named = list(&planned, part)
            .into_iter()
            .filter(|e| e["object"]["kind"] == "Pod");
        let ours = named.filter(|e| e["object"]["namespace"] == b.name);
        ours.filter_map(|e| e["object"]["name"].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(pods("create"), ["e"], "{planned:#}");
    assert_eq!(pods("update"), ["b", "d"], "{planned:#}");
    assert_eq!(pods("held"), ["f"], "{planned:#}");
    assert!(pods("skipped").contains(&"g".to_owned()), "{planned:#}");
    let gone: Vec<Value> = list(&planned, "delete")
        .iter()
        .map(|d| d["id"].clone())
        .collect();
    assert_eq!(gone, [of("c").id], "{planned:#}");

    registrar.process.start_again().expect("started");
    registrar.ready().await;
    eventually("all that was planned is done", async || {
        let again = json(&plan(registrar.config(), &["-o", "json"]));
        let left: usize = ["create", "update", "delete"]
            .map(|p| list(&again, p).len())
            .iter()
            .sum();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{again:#}"))
        }
    })
    .await;
    let after = stored(&b).await;
    let new: Vec<&Entry> = after
        .values()
        .filter(|e| !before.contains_key(&e.id))
        .collect();
    let created = list(&planned, "create");
    for made in &new {
        let path = made.spiffe_id.clone().unwrap_or_default().path;
        assert!(
            created.iter().any(|c| c["spiffe_id"]["path"] == *path),
            "{made:?} was not planned"
        );
    }
    assert!(new.len() <= created.len(), "{new:?} {created:?}");
    for update in list(&planned, "update") {
        let entry = &after[update["id"].as_str().expect("an ID")];
        let path = entry.spiffe_id.clone().unwrap_or_default().path;
        assert_eq!(update["fields"]["spiffe_id"]["new"]["path"], path);
    }
    let touched = |e: &&Entry| after.get(&e.id) != Some(*e);
    let touched: Vec<&String> = before.values().filter(touched).map(|e| &e.id).collect();
    let planned_ids: Vec<String> = [list(&planned, "update"), list(&planned, "delete")]
        .concat()
        .iter()
        .filter_map(|e| e["id"].as_str().map(str::to_owned))
        .collect();
    assert!(
        touched.iter().all(|id| planned_ids.contains(id)),
        "{touched:?} {planned_ids:?}"
    );
}

#[tokio::test]
async fn without_rights_the_missing_one_is_named() {
    let b = shared("plan-rights").await;
    let registrar = stopped(&b, "").await;
    b.cluster
        .service_account(b.name, "nobody")
        .await
        .expect("account");
    let token = b
        .cluster
        .token(b.name, "nobody", None, None)
        .await
        .expect("token");
    let kubeconfig = b.plane.kubeconfig_for("nobody", &token).expect("written");
    let kubeconfig = kubeconfig.display().to_string();
    let output = plan(registrar.config(), &["-kubeconfig", &kubeconfig]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("the right to list") && told.contains("kubectl auth can-i list"),
        "{told}"
    );
}

#[tokio::test]
async fn without_the_server_its_address_and_a_remedy_are_named() {
    let b = shared("plan-away").await;
    let registrar = stopped(&b, "").await;
    let text = std::fs::read_to_string(registrar.config()).expect("read");
    let away = registrar.config().with_extension("away.conf");
    let extra = "server_socket_path = \"/nowhere/api.sock\"\n";
    std::fs::write(&away, text + extra).expect("written");
    let output = plan(&away, &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("/nowhere/api.sock") && told.contains("running"),
        "{told}"
    );
}
