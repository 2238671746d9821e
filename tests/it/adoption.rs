//! Entries that are there already: those in the original's form are taken over untouched, others are left alone.

use registrar_adapters::spire::pb::types::EntryMask;
use registrar_tests::{
    PodSpec,
    entries::{Entry, entry, line},
    eventually, steadily,
};
use std::time::Duration;

use crate::plane::{Bench, shared};

async fn all_of(b: &Bench, ids: &[String]) -> Result<Vec<Entry>, String> {
    let all = b.entries.all().await.map_err(|e| e.to_string())?;
    Ok(all.into_iter().filter(|e| ids.contains(&e.id)).collect())
}

/// What an original registrar leaves behind for a pod of service account `default`.
fn original(b: &Bench, pod: &str, node: &str) -> Entry {
    let namespace = b.name;
    entry(
        &format!("{}/{node}", b.root()),
        &format!("/ns/{namespace}/sa/default"),
        &[
            &format!("k8s:ns:{namespace}"),
            &format!("k8s:pod-name:{pod}"),
        ],
    )
}

#[tokio::test]
async fn entries_in_the_originals_form_are_kept_without_a_write_and_orphans_go() {
    let b = shared("adopt").await;
    b.cluster
        .pod(&PodSpec::new("adopt", "living"))
        .await
        .expect("pod");
    let living = Entry {
        id: "any-id-at-all".into(),
        x509_svid_ttl: 1234,
        hint: "by-hand".into(),
        ..original(&b, "living", "node-1")
    };
    b.entries.create(living).await.expect("created");
    b.entries
        .create(original(&b, "vanished", "node-1"))
        .await
        .expect("created");
    let before = b.pods().await.expect("listed");
    let registrar = b.registrar("").await;
    eventually("only the living pod's entry is left", async || {
        match b.pods().await? {
            found if found.len() == 1 => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    let after = b.pods().await.expect("listed");
    assert_eq!(after[0], before[0], "no field and no revision changed");
    let updates = "operations_total{operation=\"update\",outcome=\"ok\"}";
    assert_eq!(registrar.metric(updates).await.expect("a metric"), 0.0);
}

#[tokio::test]
async fn what_is_not_ours_is_byte_equal_at_the_end() {
    let b = shared("foreign").await;
    let (name, root) = (b.name, b.root());
    let selectors = [format!("k8s:ns:{name}"), "k8s:pod-name:a".to_owned()];
    let ours: Vec<&str> = selectors.iter().map(String::as_str).collect();
    let node_selectors = ["k8s_psat:agent_node_name:ghost", "k8s_psat:cluster:another"];
    let mut ids = Vec::new();
    for foreign in [
        entry(&format!("{root}s/node-1"), "/a/1", &ours),
        entry(&format!("{root}s"), "/a/2", &ours),
        entry("/spire-k8s-registrar/other/node/node-1", "/a/3", &ours),
        entry("/another-controller/foreign/node/node-1", "/a/4", &ours),
        entry("/by/hand", "/a/5", &ours),
        // An operator's own, on the alias of a node.
        entry(
            &format!("{root}/node-1"),
            "/a/6",
            &[ours[0], "k8s:container-name:x"],
        ),
        entry(&format!("{root}/node-1"), "/a/7", &["k8s:container-name:x"]),
        entry(&format!("{root}/node-1"), "/a/8", &["unix:uid:0"]),
        entry(
            "/spire/server",
            "/spire-k8s-registrar/other/node/ghost",
            &node_selectors,
        ),
    ] {
        ids.push(b.entries.create(foreign).await.expect("created"));
    }
    let before = all_of(&b, &ids).await.expect("listed");
    assert_eq!(before.len(), ids.len());
    let _registrar = b.registrar("drift_interval = \"1s\"").await;
    b.cluster.pod(&PodSpec::new(name, "a")).await.expect("pod");
    let mine = format!(
        "/ns/{name}/sa/default <- {root}/node-1 [{} {}]",
        ours[0], ours[1]
    );
    let is_there = async |wanted: bool| {
        let lines: Vec<String> = b.pods().await?.iter().map(line).collect();
        if lines.contains(&mine) == wanted {
            Ok(())
        } else {
            Err(lines.join("\n"))
        }
    };
    eventually("the pod has its own entry", async || is_there(true).await).await;
    b.cluster.delete_pod(name, "a").await.expect("deleted");
    eventually("the pod's entry is gone", async || is_there(false).await).await;
    steadily(
        Duration::from_secs(3),
        "foreign entries are untouched",
        async || {
            let now = all_of(&b, &ids).await?;
            if now == before {
                Ok(())
            } else {
                Err(format!("{now:#?}"))
            }
        },
    )
    .await;
}

#[tokio::test]
async fn what_changes_behind_our_back_is_repaired() {
    let b = shared("drift").await;
    let _registrar = b.registrar("drift_interval = \"1s\"").await;
    b.cluster
        .pod(&PodSpec::new("drift", "a"))
        .await
        .expect("pod");
    let right = [("/ns/drift/sa/default", "node-1", "a")];
    let made = b.settles(&right).await.remove(0);

    b.entries.delete(&made.id).await.expect("deleted");
    let again = b.settles(&right).await.remove(0);
    assert_ne!(again.id, made.id, "an ID is never used twice");

    let forged = Entry {
        spiffe_id: Some(registrar_tests::entries::id("/forged")),
        hint: "kept".into(),
        ..again.clone()
    };
    let mask = EntryMask {
        spiffe_id: true,
        hint: true,
        ..EntryMask::default()
    };
    b.entries.update(forged, mask).await.expect("updated");
    let repaired = b.settles(&right).await.remove(0);
    assert_eq!(
        (&repaired.id, &*repaired.hint),
        (&again.id, "kept"),
        "only what is ours is repaired"
    );

    let mut copy = Entry {
        id: "a-copy".into(),
        ..repaired.clone()
    };
    copy.spiffe_id = Some(registrar_tests::entries::id("/copied"));
    b.entries.create(copy).await.expect("created");
    let merged = b.settles(&right).await.remove(0);
    assert_eq!(merged.id, repaired.id, "of duplicates the right one stays");

    b.entries
        .create(original(&b, "nobody", "node-1"))
        .await
        .expect("created");
    b.settles(&right).await;
}
