//! What is true when the API server's answer is there.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use registrar_tests::{PodSpec, entries::entry, steadily};
use serde_json::json;

use super::{right, settles, shared, unbound};

#[tokio::test]
async fn the_entry_is_there_when_the_pod_is() {
    let b = shared("there").await;
    b.cluster
        .pod(&PodSpec::new("there", "bound"))
        .await
        .expect("pod");
    assert_eq!(b.lines().await.expect("listed"), [b.right("bound")]);
    b.cluster
        .pod(&unbound("there", "unbound"))
        .await
        .expect("pod");
    assert_eq!(
        b.lines().await.expect("listed"),
        [b.right("bound"), b.right("unbound")]
    );
    let nodes = b
        .entries
        .under("/k8s-workload-registrar/webhook")
        .await
        .expect("listed");
    let all: Vec<_> = nodes.iter().map(registrar_tests::entries::line).collect();
    let wanted = "/k8s-workload-registrar/webhook/node <- /spire/server [k8s_psat:cluster:webhook]";
    assert_eq!(all.iter().filter(|l| *l == wanted).count(), 1, "{all:#?}");
}

#[tokio::test]
async fn a_generated_name_is_the_one_that_is_registered() {
    let b = shared("generated").await;
    let api: Api<Pod> = Api::namespaced(b.cluster.client(), "generated");
    let pod = serde_json::from_value(json!({
        "metadata": {"generateName": "job-"},
        "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]},
    }))
    .expect("a pod");
    let made = api
        .create(&PostParams::default(), &pod)
        .await
        .expect("made");
    let name = made.metadata.name.expect("a name");
    assert!(name.starts_with("job-") && name.len() > 4);
    assert_eq!(b.lines().await.expect("listed"), [b.right(&name)]);
}

#[tokio::test]
async fn a_dry_run_of_a_create_or_a_delete_writes_nothing() {
    let b = shared("rehearsed").await;
    let api: Api<Pod> = Api::namespaced(b.cluster.client(), "rehearsed");
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]},
    }))
    .expect("a pod");
    let rehearsal = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&rehearsal, &pod).await.expect("would be made");
    assert!(b.lines().await.expect("listed").is_empty());
    api.create(&PostParams::default(), &pod)
        .await
        .expect("made");
    assert_eq!(b.lines().await.expect("listed"), [b.right("a")]);
    let rehearsal = DeleteParams {
        dry_run: true,
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    api.delete("a", &rehearsal).await.expect("would be deleted");
    steadily(Duration::from_secs(2), "the entry stays", async || {
        let found = b.lines().await?;
        if found == [b.right("a")] {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    })
    .await;
}

#[tokio::test]
async fn thirty_at_once_are_there_and_a_collection_that_is_deleted_takes_exactly_its_entries() {
    let b = shared("thirty").await;
    b.cluster
        .namespace("thirty-others")
        .await
        .expect("a namespace");
    b.cluster
        .pod(&unbound("thirty-others", "pod-1"))
        .await
        .expect("pod");
    let made = futures::future::join_all(
        (0..30).map(async |n| b.cluster.pod(&unbound("thirty", &format!("pod-{n}"))).await),
    )
    .await;
    for made in made {
        made.expect("admitted");
    }
    let mut wanted: Vec<String> = (0..30).map(|n| b.right(&format!("pod-{n}"))).collect();
    wanted.sort();
    assert_eq!(b.lines().await.expect("listed"), wanted);
    b.cluster.delete_pods("thirty").await.expect("deleted");
    settles(&b.entries, "thirty", &[]).await;
    let others = super::lines(&b.entries, "thirty-others")
        .await
        .expect("listed");
    assert_eq!(others, [right("thirty-others", "pod-1")]);
}

#[tokio::test]
async fn a_pod_keeps_its_identity_through_its_grace_period() {
    let b = shared("grace").await;
    b.cluster
        .pod(&PodSpec::new("grace", "a"))
        .await
        .expect("pod");
    b.cluster.end_pod("grace", "a", 60).await.expect("ends");
    let pod = b.cluster.pod_json("grace", "a").await.expect("still there");
    assert!(
        pod["metadata"]["deletionTimestamp"].is_string(),
        "it terminates"
    );
    steadily(Duration::from_secs(3), "the entry stays", async || {
        let found = b.lines().await?;
        if found == [b.right("a")] {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    })
    .await;
    b.cluster.delete_pod("grace", "a").await.expect("gone");
    settles(&b.entries, "grace", &[]).await;
}

#[tokio::test]
async fn a_pod_re_created_sixty_times_has_one_entry_at_all_times_and_at_the_end() {
    let b = shared("recreated").await;
    for round in 0..60 {
        b.cluster
            .pod(&unbound("recreated", "db-0"))
            .await
            .expect("pod");
        assert_eq!(
            b.lines().await.expect("listed"),
            [b.right("db-0")],
            "round {round}"
        );
        if round < 59 {
            b.cluster
                .delete_pod("recreated", "db-0")
                .await
                .expect("deleted");
        }
    }
    // Longer than a minute after the last delete of a former pod.
    steadily(Duration::from_secs(65), "the entry stays", async || {
        let found = b.lines().await?;
        if found == [b.right("db-0")] {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    })
    .await;
}

#[tokio::test]
async fn entries_of_other_clusters_and_registrars_with_the_same_selectors_stay() {
    let b = shared("foreign").await;
    let selectors = ["k8s:ns:foreign", "k8s:pod-name:a"];
    let parents = [
        "/k8s-workload-registrar/other/node",
        "/k8s-workload-registrar/webhook/node-2",
        "/spire-k8s-registrar/webhook/node/node-1",
        "/somewhere",
    ];
    let mut foreign = Vec::new();
    for parent in parents {
        let made = entry(parent, "/ns/foreign/sa/default", &selectors);
        foreign.push(b.entries.create(made).await.expect("made"));
    }
    b.cluster.pod(&unbound("foreign", "a")).await.expect("pod");
    assert_eq!(b.lines().await.expect("listed"), [b.right("a")]);
    b.cluster.delete_pod("foreign", "a").await.expect("deleted");
    settles(&b.entries, "foreign", &[]).await;
    let left = b.entries.all().await.expect("listed");
    for id in foreign {
        assert!(left.iter().any(|e| e.id == id), "{id} stays");
    }
}

#[tokio::test]
async fn a_create_of_a_name_that_is_taken_changes_nothing_for_the_living_pod() {
    let b = shared("taken").await;
    b.cluster
        .service_account("taken", "other")
        .await
        .expect("account");
    b.cluster.pod(&unbound("taken", "a")).await.expect("pod");
    let refused = b
        .cluster
        .pod(&unbound("taken", "a").service_account("other"))
        .await;
    assert!(refused.is_err(), "the name is taken");
    steadily(
        Duration::from_secs(2),
        "the entry stays as it is",
        async || {
            let found = b.lines().await?;
            if found == [b.right("a")] {
                Ok(())
            } else {
                Err(found.join("\n"))
            }
        },
    )
    .await;
    // Once the name is free, the other account's pod has its own entry at once, and the old one goes.
    b.cluster.delete_pod("taken", "a").await.expect("deleted");
    b.cluster
        .pod(&unbound("taken", "a").service_account("other"))
        .await
        .expect("pod");
    let own = b.right("a").replace("/sa/default", "/sa/other");
    assert!(b.lines().await.expect("listed").contains(&own));
    settles(&b.entries, "taken", &[own]).await;
}
