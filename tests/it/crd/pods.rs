//! Pods and nodes, their SpiffeIDs and their entries.

use registrar_tests::{Options, PodSpec, entries, eventually, steadily};
use serde_json::{Value, json};
use std::time::Duration;

use super::bench::{Bench, OWN, ROOT, bench, id};

/// Waits until the SpiffeID of a pod is as `fits` says.
async fn object(b: &Bench, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("SpiffeID of {name}: {what}"), async || {
        match b.ids.get("apps", name).await? {
            Some(found) if fits(&found) => Ok(found),
            other => Err(format!("{other:#?}")),
        }
    })
    .await
}

#[tokio::test]
async fn pods_and_nodes_get_the_originals_spiffe_ids_and_entries_and_lose_them() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let node = c.node("node-1").await.expect("a node");
    let uid = c.pod(&PodSpec::new("apps", "blog")).await.expect("a pod");
    let _registrar = b.registrar("").await;
    let resource = b.standing("apps", "blog", "True", "Registered").await;
    assert_eq!(
        resource["spec"],
        json!({
            "parentId": id(&format!("{ROOT}/node-1")),
            "spiffeId": id("/ns/apps/sa/default"),
            "selector": {"podUid": uid, "namespace": "apps", "nodeName": "node-1"},
            "dnsNames": ["blog"],
        })
    );
    let metadata = &resource["metadata"];
    assert_eq!(metadata["labels"], json!({"podUid": uid}));
    assert_eq!(
        metadata["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "blog", "uid": uid,
            "controller": true, "blockOwnerDeletion": false}])
    );
    let entry = b.one("/ns/apps/sa/default").await;
    assert_eq!(
        entries::line(&entry),
        format!(
            "/ns/apps/sa/default <- {ROOT}/node-1 [k8s:pod-uid:{uid} k8s:ns:apps k8s:node-name:node-1]"
        )
    );
    assert_eq!(entry.dns_names, ["blog"]);
    assert_eq!(resource["status"]["entryId"], entry.id);

    let of_node = b.standing(OWN, "node-1", "True", "Registered").await;
    assert_eq!(
        of_node["spec"],
        json!({
            "parentId": id("/spire/server"),
            "spiffeId": id(&format!("{ROOT}/node-1")),
            "selector": {"cluster": "demo", "agent_node_uid": node},
        })
    );
    assert_eq!(of_node["metadata"]["labels"], json!({"nodeUid": node}));
    let alias = b.one(&format!("{ROOT}/node-1")).await;
    assert_eq!(
        entries::line(&alias),
        format!(
            "{ROOT}/node-1 <- /spire/server [k8s_psat:cluster:demo k8s_psat:agent_node_uid:{node}]"
        )
    );

    c.delete_pod("apps", "blog").await.expect("deleted");
    b.none("/ns/apps/sa/default").await;
    b.gone("apps", "blog").await;
}

#[tokio::test]
async fn label_federation_and_removal_follow_in_place_and_what_others_wrote_stays() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    b.private
        .entries
        .set_bundle("other.test")
        .await
        .expect("a bundle");
    c.pod(&PodSpec::new("apps", "web").label("app", "one"))
        .await
        .expect("a pod");
    let _registrar = b.registrar("pod_label = \"app\"").await;
    let first = b.one("/one").await;
    b.ids
        .apply_names("apps", "web", &["by-hand.example.org"])
        .await
        .expect("applied");
    b.ids
        .patch(
            "apps",
            "web",
            json!({"spec": {"selector": {"containerName": "main"}}}),
        )
        .await
        .expect("changed");
    c.patch_pod(
        "apps",
        "web",
        json!({"labels": {"app": "two"}, "annotations": {"spiffe.io/federatesWith": " other.test , example.org,late.test"}}),
    )
    .await
    .expect("changed");
    let second = eventually("the entry follows", async || {
        let entry = b.with_id("/two").await?.pop().ok_or("no entry")?;
        let whole = entry.federates_with == ["other.test"] && entry.selectors.len() == 4;
        match whole && entry.dns_names == ["web", "by-hand.example.org"] {
            true => Ok(entry),
            false => Err(format!("{entry:#?}")),
        }
    })
    .await;
    assert_eq!(first.id, second.id, "in place");
    let resource = b.standing("apps", "web", "True", "Registered").await;
    assert_eq!(
        resource["spec"]["federatesWith"],
        json!(["late.test", "other.test"])
    );
    // The bundle arrives.
    b.private
        .entries
        .set_bundle("late.test")
        .await
        .expect("a bundle");
    eventually("the entry federates", async || {
        let entry = b.with_id("/two").await?.pop().ok_or("no entry")?;
        match entry.federates_with.len() {
            2 => Ok(()),
            _ => Err(format!("{entry:#?}")),
        }
    })
    .await;
    // An illegal wish holds what is there; no label removes it.
    c.patch_pod("apps", "web", json!({"labels": {"app": null}}))
        .await
        .expect("changed");
    b.gone("apps", "web").await;
    b.none("/two").await;
}

#[tokio::test]
async fn templates_name_identities_and_dns_names_and_only_labelled_pods_count() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let yes = PodSpec::new("apps", "yes").label("spiffe.io/use", "True");
    c.pod(&yes).await.expect("a pod");
    c.pod(&PodSpec::new("apps", "no").label("spiffe.io/use", "no"))
        .await
        .expect("a pod");
    let config = r#"
        identity_template = "region/{{.Context.Region}}/pod/{{.Pod.Name}}"
        identity_template_label = "spiffe.io/use"
        dns_name_templates = ["{{.Pod.ServiceAccount}}.{{.Pod.Namespace}}.svc", "{{.Pod.Name}}"]
        context { Region = "EU" }
    "#;
    let _registrar = b.registrar(config).await;
    let entry = b.one("/region/EU/pod/yes").await;
    assert_eq!(entry.dns_names, ["default.apps.svc", "yes"]);
    b.standing("apps", "yes", "True", "Registered").await;
    assert!(b.ids.get("apps", "no").await.expect("answers").is_none());
}

#[tokio::test]
async fn services_name_a_pod_while_its_address_is_theirs_and_readiness_changes_nothing() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    c.pod(&PodSpec::new("apps", "db")).await.expect("a pod");
    let registrar = b.registrar("drift_interval = \"5s\"").await;
    b.one("/ns/apps/sa/default").await;
    c.service("apps", "store").await.expect("a service");
    let slice = async |ready: bool, pod: &str| {
        c.slice_ready("apps", "store-1", "store", &[("10.0.0.1", ready, pod)])
            .await
            .expect("a slice");
    };
    slice(false, "db").await;
    steadily(Duration::from_secs(1), "not ready, no name", async || {
        let entry = b
            .with_id("/ns/apps/sa/default")
            .await?
            .pop()
            .ok_or("none")?;
        match entry.dns_names == ["db"] {
            true => Ok(()),
            false => Err(format!("{entry:#?}")),
        }
    })
    .await;
    slice(true, "db").await;
    let names = async |wanted: &[&str]| {
        eventually(&format!("the names are {wanted:?}"), async || {
            let entry = b
                .with_id("/ns/apps/sa/default")
                .await?
                .pop()
                .ok_or("none")?;
            match entry.dns_names == wanted {
                true => Ok(entry),
                false => Err(format!("{entry:#?}")),
            }
        })
        .await
    };
    names(&["db", "store.apps.svc"]).await;
    b.ids
        .apply_names("apps", "db", &["by-hand.example.org", "db"])
        .await
        .expect("applied");
    let entry = names(&["db", "by-hand.example.org", "store.apps.svc"]).await;
    let resource = b.standing("apps", "db", "True", "Registered").await;
    let writes = registrar.writes().await.expect("metrics");
    for _ in 0..10 {
        slice(false, "db").await;
        slice(true, "db").await;
    }
    steadily(
        Duration::from_secs(6),
        "readiness flaps write nothing",
        async || {
            let now = b.ids.get("apps", "db").await?.ok_or("gone")?;
            let same =
                now["metadata"]["resourceVersion"] == resource["metadata"]["resourceVersion"];
            let written = registrar.writes().await.map_err(|e| e.to_string())?;
            match same && written == writes {
                true => Ok(()),
                false => Err(format!("{now:#}")),
            }
        },
    )
    .await;
    slice(true, "another").await;
    let after = names(&["db", "by-hand.example.org"]).await;
    assert_eq!(entry.id, after.id);
    object(&b, "db", "the name is gone from it as well", |r| {
        !r["spec"]["dnsNames"].to_string().contains("store")
    })
    .await;
}

#[tokio::test]
async fn spiffe_ids_of_the_original_are_taken_over() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let mut made = Vec::new();
    for name in ["right", "stale"] {
        let uid = c.pod(&PodSpec::new("apps", name)).await.expect("a pod");
        let parent = format!("{ROOT}/node-1");
        let selectors = [
            format!("k8s:pod-uid:{uid}"),
            "k8s:ns:apps".to_owned(),
            "k8s:node-name:node-1".to_owned(),
        ];
        let selectors = selectors.each_ref().map(String::as_str);
        let mut entry = entries::entry(&parent, "/ns/apps/sa/default", &selectors);
        entry.dns_names = vec![name.to_owned()];
        let mut names = vec![name];
        if name == "stale" {
            // Of a Service that the pod has left; the original never took it away.
            names.push("old.apps.svc");
            entry.dns_names.push("old.apps.svc".into());
        }
        let entry = b.private.entries.create(entry).await.expect("made");
        let resource = json!({
            "metadata": {
                "name": name, "labels": {"podUid": uid},
                "finalizers": ["finalizers.spiffeid.spiffe.io"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid,
                    "controller": true, "blockOwnerDeletion": false}],
            },
            "spec": {
                "parentId": id(&parent),
                "spiffeId": id("/ns/apps/sa/default"),
                "selector": {"podUid": uid, "namespace": "apps", "nodeName": "node-1"},
                "dnsNames": names,
            },
        });
        b.ids.create_object("apps", resource).await.expect("made");
        b.ids
            .patch_status("apps", name, json!({"entryId": entry}))
            .await
            .expect("written");
        made.push(entry);
    }
    let _registrar = b.registrar("").await;
    let stale = eventually("the stale name is gone", async || {
        let all = b.with_id("/ns/apps/sa/default").await?;
        match all.iter().find(|e| e.dns_names == ["stale"]) {
            Some(entry) if all.len() == 2 => Ok(entry.clone()),
            _ => Err(format!("{all:#?}")),
        }
    })
    .await;
    assert_eq!(stale.id, made[1], "the same entry");
    b.standing("apps", "right", "True", "Registered").await;
    b.standing("apps", "stale", "True", "Registered").await;
    let all = b.with_id("/ns/apps/sa/default").await.expect("entries");
    let right = all.iter().find(|e| e.id == made[0]).expect("still there");
    assert_eq!(right.revision_number, 0, "nothing was written");
}

#[tokio::test]
async fn a_node_that_is_gone_keeps_its_entry_while_pods_are_on_it() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let old = c.node("node-2").await.expect("a node");
    c.pod(&PodSpec::new("apps", "p").node("node-2"))
        .await
        .expect("a pod");
    let _registrar = b.registrar("").await;
    let path = format!("{ROOT}/node-2");
    b.standing(OWN, "node-2", "True", "Registered").await;
    let alias = b.one(&path).await;
    c.delete_node("node-2").await.expect("deleted");
    eventually("its SpiffeID has no owner any more", async || {
        let found = b.ids.get(OWN, "node-2").await?.ok_or("not there")?;
        let owned = found["metadata"]["ownerReferences"].is_array();
        let going = found["metadata"]["deletionTimestamp"].is_string();
        match owned || going {
            false => Ok(()),
            true => Err(format!("{found:#}")),
        }
    })
    .await;
    let entry = b.one(&path).await;
    assert!(entries::line(&entry).contains(&old), "{entry:#?}");
    assert_eq!(
        entry.id, alias.id,
        "it never went, whoever was first to see the node gone"
    );
    // As if the garbage collector were faster than we are.
    let before = b.ids.get(OWN, "node-2").await.expect("answers");
    let uid = |r: &Option<Value>| r.as_ref().map(|r| r["metadata"]["uid"].clone());
    b.ids.delete(OWN, "node-2").await.expect("deleted");
    eventually("its SpiffeID is made again", async || {
        let now = b.ids.get(OWN, "node-2").await?;
        match now.is_some() && uid(&now) != uid(&before) {
            true => Ok(()),
            false => Err(format!("{now:#?}")),
        }
    })
    .await;
    b.standing(OWN, "node-2", "True", "Registered").await;
    assert_eq!(b.one(&path).await.id, alias.id, "and its entry stayed");
    // The node comes back as another object.
    let new = c.node("node-2").await.expect("a node");
    eventually("the entry is for the new node", async || {
        let entry = b.with_id(&path).await?.pop().ok_or("none")?;
        match entries::line(&entry).contains(&new) {
            true => Ok(()),
            false => Err(entries::line(&entry)),
        }
    })
    .await;
    c.delete_node("node-2").await.expect("deleted");
    c.delete_pod("apps", "p").await.expect("deleted");
    b.gone(OWN, "node-2").await;
    b.none(&path).await;
}
