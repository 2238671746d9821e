//! At rest nothing is written, neither to the server nor to the API server.

use std::{path::Path, time::Duration};

use registrar_tests::{Options, PodSpec, eventually, steadily};
use serde_json::Value;

use super::bench::bench;

const ACCOUNT: &str = "system:serviceaccount:spire:k8s-workload-registrar";
const PODS: usize = 500;

/// What the registrar asked the API server to change, but for Events, by the audit log.
fn written(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let events = text
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    events
        .map(|e| format!("{} {}", e["verb"], e["requestURI"]))
        .collect()
}

#[tokio::test]
async fn at_rest_and_while_readiness_flaps_nothing_is_written_anywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = dir.path().join("policy.yaml");
    let text = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
         - level: Metadata\n  users: ['{ACCOUNT}']\n  verbs: [create, update, patch, delete, deletecollection]\n\
         - level: None\n"
    );
    std::fs::write(&policy, text).expect("written");
    let log = dir.path().join("audit.log");
    let b = bench(Options {
        controller_manager: false,
        api_server_flags: vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            "--audit-log-mode=blocking".into(),
        ],
        ..Options::default()
    })
    .await;
    let c = &b.private.cluster;
    let pods: Vec<PodSpec> = (0..PODS)
        .map(|n| PodSpec::new("apps", &format!("p-{n}")))
        .collect();
    for some in pods.chunks(20) {
        let made = futures::future::join_all(some.iter().map(|pod| c.pod(pod))).await;
        made.into_iter().for_each(|m| drop(m.expect("a pod")));
    }
    c.service("apps", "store").await.expect("a service");
    let flap = async |ready: bool| {
        c.slice_ready("apps", "store-1", "store", &[("10.0.0.1", ready, "p-0")])
            .await
            .expect("a slice");
    };
    flap(true).await;
    let registrar = b.registrar("drift_interval = \"5s\"").await;
    eventually(
        "every SpiffeID is registered, p-0 with its Service",
        async || {
            let all = b.ids.list("apps").await?;
            let right = all.iter().filter(|r| {
                let registered = registrar_tests::spiffe_ids::registered(r);
                let names = r["spec"]["dnsNames"].as_array().map_or(0, Vec::len);
                let wanted = if r["metadata"]["name"] == "p-0" { 2 } else { 1 };
                registered.is_some_and(|(status, ..)| status == "True") && names == wanted
            });
            match right.count() {
                PODS => Ok(()),
                n => Err(n.to_string()),
            }
        },
    )
    .await;
    let plane = &b.private.plane;
    eventually("the server has all entries", async || {
        match b.private.entries.all().await.map(|all| all.len()) {
            Ok(n) if n == PODS + 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let now = || -> Result<(i64, usize), String> {
        let events = plane.entry_events().map_err(|e| e.to_string())?;
        Ok((events, written(&log).len()))
    };
    let before = now().expect("both counts");
    assert!(
        before.0 >= (PODS + 2) as i64 && before.1 >= 2 * (PODS + 2),
        "all of that was counted: {before:?}"
    );
    let compared = |log: &str| log.matches("Compared with the server").count();
    let comparisons = compared(&registrar.process.log());
    for _ in 0..20 {
        flap(false).await;
        flap(true).await;
    }
    steadily(Duration::from_secs(16), "nothing is written", async || {
        let found = now()?;
        match found == before {
            true => Ok(()),
            false => Err(format!("{found:?}: {:?}", &written(&log)[before.1..])),
        }
    })
    .await;
    let after = compared(&registrar.process.log());
    assert!(
        after >= comparisons + 2,
        "compared: {comparisons}, then {after} times"
    );
}
