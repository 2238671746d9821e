//! Which entries pods and nodes get in reconcile mode, field for field as the original made them.

use registrar_tests::{
    PodSpec,
    entries::{Entry, line},
    eventually,
};
use serde_json::json;

use crate::plane::{Bench, shared};

#[tokio::test]
async fn a_pod_gets_the_entry_of_its_service_account_and_loses_it_with_its_object() {
    let b = shared("sa-mode").await;
    let _registrar = b.registrar("").await;
    b.cluster
        .service_account("sa-mode", "blog")
        .await
        .expect("account");
    b.cluster
        .pod(&PodSpec::new("sa-mode", "web-1").service_account("blog"))
        .await
        .expect("pod");
    let found = b
        .settles(&[("/ns/sa-mode/sa/blog", "node-1", "web-1")])
        .await;
    let entry = &found[0];
    assert!(
        entry.dns_names.is_empty() && entry.federates_with.is_empty() && entry.hint.is_empty(),
        "{entry:?}"
    );
    assert_eq!(
        (
            entry.x509_svid_ttl,
            entry.jwt_svid_ttl,
            entry.revision_number
        ),
        (0, 0, 0)
    );
    assert!(
        !entry.admin && !entry.downstream && !entry.store_svid,
        "{entry:?}"
    );
    b.cluster
        .delete_pod("sa-mode", "web-1")
        .await
        .expect("deleted");
    b.settles(&[]).await;
}

#[tokio::test]
async fn a_node_gets_an_alias_entry_by_name_with_the_selectors_in_order() {
    let b = shared("nodes").await;
    let _registrar = b.registrar("").await;
    b.cluster.node("node-of-its-own").await.expect("node");
    b.cluster
        .annotate_node(
            "node-of-its-own",
            "spiffe.io/federatesWith",
            Some("nodes.test"),
        )
        .await
        .expect("annotated");
    b.entries.set_bundle("nodes.test").await.expect("bundle");
    let find = async || {
        let all = b
            .entries
            .under(&b.root())
            .await
            .map_err(|e| e.to_string())?;
        Ok::<_, String>(
            all.into_iter()
                .find(|e| line(e).contains("node-of-its-own")),
        )
    };
    let entry = eventually("the node has its entry, federated", async || {
        match find().await? {
            Some(e) if e.federates_with == ["nodes.test"] => Ok(e),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(
        line(&entry),
        format!(
            "{}/node-of-its-own <- /spire/server [k8s_psat:agent_node_name:node-of-its-own k8s_psat:cluster:nodes]",
            b.root()
        )
    );
    b.cluster
        .delete_node("node-of-its-own")
        .await
        .expect("deleted");
    eventually("its entry is gone", async || match find().await? {
        None => Ok(()),
        Some(e) => Err(line(&e)),
    })
    .await;
}

#[tokio::test]
async fn a_label_names_the_identity_and_a_change_keeps_the_entry() {
    let b = shared("label-mode").await;
    let _registrar = b.registrar("pod_label = \"spire-workload\"").await;
    b.cluster
        .pod(&PodSpec::new("label-mode", "a").label("spire-workload", "example-workload"))
        .await
        .expect("pod");
    b.cluster
        .pod(&PodSpec::new("label-mode", "unlabelled"))
        .await
        .expect("pod");
    let first = b.settles(&[("/example-workload", "node-1", "a")]).await;
    let labels = |v: Option<&str>| json!({"labels": {"spire-workload": v}});
    b.cluster
        .patch_pod("label-mode", "a", labels(Some("other")))
        .await
        .expect("patched");
    let second = b.settles(&[("/other", "node-1", "a")]).await;
    assert_eq!(first[0].id, second[0].id, "changed in place");
    b.cluster
        .patch_pod("label-mode", "a", labels(None))
        .await
        .expect("patched");
    b.settles(&[]).await;
}

#[tokio::test]
async fn an_annotation_may_have_several_segments_and_a_leading_slash() {
    let b = shared("annotation-mode").await;
    let _registrar = b
        .registrar("pod_annotation = \"spiffe.io/spiffe-id\"")
        .await;
    for (pod, value) in [
        ("a", "production/example-workload"),
        ("b", "/with/slash"),
        ("c", "one"),
    ] {
        let pod = PodSpec::new("annotation-mode", pod).annotation("spiffe.io/spiffe-id", value);
        b.cluster.pod(&pod).await.expect("pod");
    }
    b.cluster
        .pod(&PodSpec::new("annotation-mode", "without"))
        .await
        .expect("pod");
    b.settles(&[
        ("/production/example-workload", "node-1", "a"),
        ("/with/slash", "node-1", "b"),
        ("/one", "node-1", "c"),
    ])
    .await;
}

#[tokio::test]
async fn pods_of_disabled_namespaces_get_nothing() {
    let b = shared("off-limits").await;
    let _registrar = b
        .registrar("disabled_namespaces = [\"kube-system\", \"re:off-.*\"]")
        .await;
    b.cluster
        .namespace("not-off-limits")
        .await
        .expect("namespace");
    b.cluster
        .pod(&PodSpec::new("off-limits", "a"))
        .await
        .expect("pod");
    b.cluster
        .pod(&PodSpec::new("not-off-limits", "b"))
        .await
        .expect("pod");
    eventually("the pod that came later is registered", async || {
        let found = b
            .entries
            .selecting(&b.root(), &["k8s:ns:not-off-limits"])
            .await;
        found.ok().filter(|f| f.len() == 1).map(drop).ok_or("none")
    })
    .await;
    b.settles(&[]).await;
}

#[tokio::test]
async fn entries_of_a_namespace_that_becomes_disabled_are_removed() {
    let b = shared("switched-off").await;
    let registrar = b.registrar("").await;
    b.cluster
        .pod(&PodSpec::new("switched-off", "a"))
        .await
        .expect("pod");
    b.settles(&[("/ns/switched-off/sa/default", "node-1", "a")])
        .await;
    drop(registrar);
    let _registrar = b
        .registrar("disabled_namespaces = [\"switched-off\"]")
        .await;
    b.settles(&[]).await;
}

#[tokio::test]
async fn an_unscheduled_pod_gets_its_entry_when_it_is_bound() {
    let b = shared("unscheduled").await;
    let _registrar = b.registrar("").await;
    b.cluster
        .pod(&PodSpec::new("unscheduled", "pending").node(None))
        .await
        .expect("pod");
    b.cluster
        .pod(&PodSpec::new("unscheduled", "bound"))
        .await
        .expect("pod");
    b.settles(&[("/ns/unscheduled/sa/default", "node-1", "bound")])
        .await;
    b.cluster
        .bind("unscheduled", "pending", "node-2")
        .await
        .expect("bound");
    b.settles(&[
        ("/ns/unscheduled/sa/default", "node-1", "bound"),
        ("/ns/unscheduled/sa/default", "node-2", "pending"),
    ])
    .await;
}

#[tokio::test]
async fn pod_selectors_lifetimes_and_hint_come_from_the_configuration() {
    let b = shared("selectors").await;
    let _registrar = b
        .registrar(
            "pod_selectors = [\"pod-uid\", \"sa\", \"node-name\"]\n\
             x509_svid_ttl = \"10m\"\njwt_svid_ttl = \"5m\"\nhint = \"internal\"",
        )
        .await;
    let uid = b
        .cluster
        .pod(&PodSpec::new("selectors", "a"))
        .await
        .expect("pod");
    let selector = format!("k8s:pod-uid:{uid}");
    let entry = eventually("the pod has its entry", async || {
        let found = b
            .entries
            .selecting(&b.root(), &[&selector])
            .await
            .map_err(|e| e.to_string())?;
        found.into_iter().next().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!(
        line(&entry),
        format!(
            "/ns/selectors/sa/default <- {}/node-1 [{selector} k8s:sa:default k8s:node-name:node-1]",
            b.root()
        )
    );
    assert_eq!(
        (entry.x509_svid_ttl, entry.jwt_svid_ttl, &*entry.hint),
        (600, 300, "internal")
    );
}

#[tokio::test]
async fn two_registrars_with_different_controller_names_do_not_see_each_other() {
    let b = shared("two").await;
    let _one = b.registrar("").await;
    let two = b.registrar("controller_name = \"two\"").await;
    b.cluster.pod(&PodSpec::new("two", "a")).await.expect("pod");
    b.settles(&[("/ns/two/sa/default", "node-1", "a")]).await;
    let of_two = async || {
        b.entries
            .selecting("/two/two/node", &["k8s:ns:two"])
            .await
            .map_err(|e| e.to_string())
    };
    eventually("the other has its own", async || match of_two().await? {
        found if found.len() == 1 => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
    drop(two);
    b.cluster.delete_pod("two", "a").await.expect("deleted");
    b.settles(&[]).await;
    assert_eq!(
        of_two().await.expect("listed").len(),
        1,
        "the other's entry is not ours to delete"
    );
}

/// The entry of a pod as the original made it: nothing in the fields that it did not know, or left alone.
fn as_the_original(b: &Bench, entry: &Entry, spiffe_id: &str, pod: &str, node: &str) -> Entry {
    let namespace = format!("k8s:ns:{}", b.name);
    let pod = format!("k8s:pod-name:{pod}");
    Entry {
        // Ours, and the server's.
        id: entry.id.clone(),
        revision_number: entry.revision_number,
        created_at: entry.created_at,
        federates_with: vec!["original.test".into()],
        ..registrar_tests::entries::entry(
            &format!("{}/{node}", b.root()),
            spiffe_id,
            &[&namespace, &pod],
        )
    }
}

#[tokio::test]
async fn a_pod_comes_changes_and_goes_as_in_the_original_whatever_its_identity_comes_from() {
    for (name, configuration, first, second) in [
        (
            "original-label",
            "pod_label = \"spiffe\"",
            "/label1",
            "/label2",
        ),
        (
            "original-annotation",
            "pod_annotation = \"spiffe\"",
            "/annotation1",
            "/annotation2",
        ),
        (
            "original-sa",
            "",
            "/ns/original-sa/sa/sa1",
            "/ns/original-sa/sa/sa2",
        ),
    ] {
        let b = shared(name).await;
        b.entries.set_bundle("original.test").await.expect("bundle");
        for account in ["sa1", "sa2"] {
            let made = b.cluster.service_account(name, account).await;
            made.expect("account");
        }
        let _registrar = b.registrar(configuration).await;
        let pod = |account: &str, value: &str| {
            PodSpec::new(name, "foo")
                .service_account(account)
                .label("spiffe", value)
                .annotation("spiffe", value)
                .annotation("spiffe.io/federatesWith", "original.test")
        };
        let value = |path: &'static str| path.trim_start_matches('/');
        let by_account = configuration.is_empty();
        let made = b
            .cluster
            .pod(&pod("sa1", if by_account { "x" } else { value(first) }))
            .await;
        made.expect("pod");
        let entry = b.settles(&[(first, "node-1", "foo")]).await.remove(0);
        assert_eq!(entry, as_the_original(&b, &entry, first, "foo", "node-1"));
        assert_eq!(entry.revision_number, 0, "{name}");
        if by_account {
            // A pod's service account never changes; another pod of that name may have another one.
            b.cluster.delete_pod(name, "foo").await.expect("deleted");
            b.cluster.pod(&pod("sa2", "x")).await.expect("pod");
        } else {
            let new = json!({"spiffe": value(second)});
            let patch = json!({"labels": new, "annotations": new});
            b.cluster
                .patch_pod(name, "foo", patch)
                .await
                .expect("patched");
        }
        let entry = b.settles(&[(second, "node-1", "foo")]).await.remove(0);
        assert_eq!(entry, as_the_original(&b, &entry, second, "foo", "node-1"));
        b.cluster.delete_pod(name, "foo").await.expect("deleted");
        b.settles(&[]).await;
    }
}

#[tokio::test]
async fn a_node_that_went_unseen_loses_its_entry_and_a_right_one_is_left_alone() {
    let b = shared("node-gone").await;
    let node = |name: &str| {
        let alias = format!("{}/{name}", b.root());
        let by_name = format!("k8s_psat:agent_node_name:{name}");
        let selectors = [&*by_name, "k8s_psat:cluster:node-gone"];
        registrar_tests::entries::entry("/spire/server", &alias, &selectors)
    };
    b.entries.create(node("node-1")).await.expect("created");
    b.entries.create(node("gone")).await.expect("created");
    let aliases = async || {
        let under = b.entries.under(&b.root()).await;
        under.map_err(|e| e.to_string())
    };
    let before = aliases().await.expect("listed");
    let _registrar = b.registrar("").await;
    let after = eventually("both nodes have an entry, and the third none", async || {
        let found = aliases().await?;
        let lines: Vec<String> = found.iter().map(line).collect();
        let has = |name: &str| {
            let wanted = line(&node(name));
            lines.contains(&wanted)
        };
        match has("node-1") && has("node-2") && !has("gone") {
            true => Ok(found),
            false => Err(lines.join("\n")),
        }
    })
    .await;
    let kept = |e: &&Entry| e.id == before[0].id;
    assert_eq!(after.iter().find(kept), Some(&before[0]), "untouched");
}
