//! A cluster that was in webhook mode: both modes have one root, so its entries are taken apart here, without a gap.

use registrar_tests::{
    Options, PodSpec,
    entries::{Entry, entry, line},
    eventually, steadily,
};
use std::{collections::BTreeSet, time::Duration};

use super::bench::{ROOT, bench};

const PODS: [&str; 3] = ["a", "b", "c"];

/// Whether an entry selects this pod, in either mode's way.
fn selects(entry: &Entry, name: &str, uid: &str) -> bool {
    let all: Vec<String> = entry.selectors.iter().map(|s| s.value.clone()).collect();
    all.contains(&format!("pod-name:{name}")) || all.contains(&format!("pod-uid:{uid}"))
}

#[tokio::test]
async fn entries_of_webhook_mode_go_when_the_pods_have_their_new_ones_and_not_before() {
    let b = bench(Options::default()).await;
    let mut uids = Vec::new();
    for name in PODS {
        let pod = PodSpec::new("apps", name);
        uids.push(b.private.cluster.pod(&pod).await.expect("a pod"));
    }
    let alias = entry("/spire/server", ROOT, &["k8s_psat:cluster:demo"]);
    let operators = entry(ROOT, "/operator", &["k8s:ns:apps", "k8s:sa:ops"]);
    let mut old = vec![alias, operators];
    for name in PODS.into_iter().chain(["gone"]) {
        let selectors = ["k8s:ns:apps".to_owned(), format!("k8s:pod-name:{name}")];
        let selectors = selectors.each_ref().map(String::as_str);
        old.push(entry(ROOT, "/ns/apps/sa/default", &selectors));
    }
    for entry in old {
        b.private.entries.create(entry).await.expect("created");
    }
    let _registrar = b.start("drift_interval = \"3s\"");
    let settled = async || -> Result<BTreeSet<String>, String> {
        let all = b.private.entries.all().await.map_err(|e| e.to_string())?;
        for (name, uid) in PODS.into_iter().zip(&uids) {
            let served = all.iter().any(|e| selects(e, name, uid));
            assert!(served, "pod {name} has no entry: {all:#?}");
        }
        Ok(all.iter().map(line).collect())
    };
    let mut wanted: BTreeSet<String> = PODS
        .into_iter()
        .zip(&uids)
        .map(|(_, uid)| {
            format!(
                "/ns/apps/sa/default <- {ROOT}/node-1 [k8s:pod-uid:{uid} k8s:ns:apps k8s:node-name:node-1]"
            )
        })
        .collect();
    wanted.insert(format!("/operator <- {ROOT} [k8s:ns:apps k8s:sa:ops]"));
    let right = async || -> Result<(), String> {
        let found = settled().await?;
        let nodes = found
            .iter()
            .filter(|l| l.contains("agent_node_uid"))
            .count();
        let rest: BTreeSet<String> = found
            .into_iter()
            .filter(|l| !l.contains("agent_node_uid"))
            .collect();
        match nodes == 2 && rest == wanted {
            true => Ok(()),
            false => Err(format!("{nodes} nodes, {rest:#?}")),
        }
    };
    eventually("the entries are those of crd mode", right).await;
    steadily(Duration::from_secs(4), "and stay so", right).await;
    for name in PODS {
        b.standing("apps", name, "True", "Registered").await;
    }
}
