//! Pods that end, come back under their name, and nodes that go before their pods.

use registrar_tests::{PodSpec, eventually, steadily};
use std::time::Duration;

use crate::plane::shared;

#[tokio::test]
async fn a_terminating_pod_keeps_its_identity_until_its_object_is_gone() {
    let b = shared("terminating").await;
    let _registrar = b.registrar("").await;
    b.cluster
        .pod(&PodSpec::new("terminating", "a"))
        .await
        .expect("pod");
    let right = [("/ns/terminating/sa/default", "node-1", "a")];
    let before = b.settles(&right).await;
    b.cluster
        .end_pod("terminating", "a", 60)
        .await
        .expect("ends");
    let pod = b
        .cluster
        .pod_json("terminating", "a")
        .await
        .expect("still there");
    assert!(
        pod["metadata"]["deletionTimestamp"].is_string(),
        "it terminates"
    );
    b.stay("the entry stays", &before).await;
    b.cluster
        .delete_pod("terminating", "a")
        .await
        .expect("gone");
    b.settles(&[]).await;
}

#[tokio::test]
async fn a_statefulset_pod_re_created_on_alternating_nodes_ends_with_one_right_entry() {
    let b = shared("recreated").await;
    let account = b.cluster.service_account(b.name, "last").await;
    account.expect("a service account");
    let _registrar = b.registrar("").await;
    for round in 0..20 {
        let node = if round % 2 == 0 { "node-1" } else { "node-2" };
        // The last one is told from those before it.
        let account = if round == 19 { "last" } else { "default" };
        let pod = PodSpec::new("recreated", "db-0").node(node);
        b.cluster
            .pod(&pod.service_account(account))
            .await
            .expect("pod");
        // Now and then it lives long enough to be registered.
        if round % 5 == 0 {
            b.settles(&[("/ns/recreated/sa/default", node, "db-0")])
                .await;
        }
        if round < 19 {
            b.cluster
                .delete_pod("recreated", "db-0")
                .await
                .expect("deleted");
        }
    }
    let right = [("/ns/recreated/sa/last", "node-2", "db-0")];
    let before = b.settles(&right).await;
    b.stay("no late delete takes it", &before).await;
}

#[tokio::test]
async fn a_node_deleted_before_its_pods_keeps_its_entry_and_theirs() {
    let b = shared("nodeless").await;
    let _registrar = b.registrar("drift_interval = \"1s\"").await;
    b.cluster.node("short-lived").await.expect("node");
    b.cluster
        .pod(&PodSpec::new("nodeless", "a").node("short-lived"))
        .await
        .expect("pod");
    let right = [("/ns/nodeless/sa/default", "short-lived", "a")];
    let before = b.settles(&right).await;
    let alias = async || {
        let selector = "k8s_psat:agent_node_name:short-lived";
        b.entries
            .selecting(&b.root(), &[selector])
            .await
            .map_err(|e| e.to_string())
    };
    eventually("the node has its entry", async || match alias().await? {
        found if found.len() == 1 => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    b.cluster.delete_node("short-lived").await.expect("deleted");
    steadily(Duration::from_secs(3), "both entries stay", async || {
        let (pods, nodes) = (b.pods().await?, alias().await?);
        if pods == before && nodes.len() == 1 {
            Ok(())
        } else {
            Err(format!("{pods:?} {nodes:?}"))
        }
    })
    .await;
    b.cluster
        .delete_pod("nodeless", "a")
        .await
        .expect("deleted");
    b.settles(&[]).await;
    eventually(
        "the node's entry goes with its last pod",
        async || match alias().await? {
            found if found.is_empty() => Ok(()),
            found => Err(format!("{found:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn finished_pods_keep_their_entries_unless_told_otherwise() {
    let b = shared("finished").await;
    let registrar = b.registrar("").await;
    b.cluster
        .pod(&PodSpec::new("finished", "a"))
        .await
        .expect("pod");
    let right = [("/ns/finished/sa/default", "node-1", "a")];
    let before = b.settles(&right).await;
    let status = serde_json::json!({"status": {"phase": "Succeeded"}});
    b.cluster
        .pod_status("finished", "a", status)
        .await
        .expect("finished");
    b.stay("the entry stays", &before).await;
    drop(registrar);
    let _registrar = b.registrar("terminal_pods = \"release\"").await;
    b.settles(&[]).await;
}

#[tokio::test]
async fn with_parent_agent_a_pod_hangs_under_its_agent_and_old_entries_are_replaced() {
    let b = shared("agents").await;
    let registrar = b.registrar("").await;
    b.cluster
        .pod(&PodSpec::new("agents", "a"))
        .await
        .expect("pod");
    b.settles(&[("/ns/agents/sa/default", "node-1", "a")]).await;
    drop(registrar);
    let uid = b.cluster.node("node-1").await.expect("node");
    let _registrar = b
        .registrar("parent = \"agent\"\nmax_deletes = \"100%\"")
        .await;
    let parent = format!("/spire/agent/k8s_psat/agents/{uid}");
    eventually("the pod hangs under its agent", async || {
        let found = b
            .entries
            .selecting(&parent, &["k8s:ns:agents"])
            .await
            .map_err(|e| e.to_string())?;
        if found.len() == 1 {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    eventually("nothing is left under the root", async || {
        let found = b
            .entries
            .under(&b.root())
            .await
            .map_err(|e| e.to_string())?;
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}
