//! SpiffeIDs have their objects' names: what becomes of a name that comes back, or that is another's.

use registrar_tests::{Options, PodSpec, entries::line, eventually};
use serde_json::json;

use super::bench::{OWN, ROOT, bench, by_hand, id};

#[tokio::test]
async fn a_pod_that_comes_back_under_its_name_gets_a_spiffe_id_and_an_entry_of_its_own() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let _registrar = b.registrar("").await;
    let mut former = c.pod(&PodSpec::new("apps", "db-0")).await.expect("a pod");
    b.standing("apps", "db-0", "True", "Registered").await;
    for node in ["node-2", "node-1"] {
        c.delete_pod("apps", "db-0").await.expect("deleted");
        let again = PodSpec::new("apps", "db-0").node_named(node);
        let uid = c.pod(&again).await.expect("a pod");
        assert_ne!(uid, former);
        let wanted = format!(
            "/ns/apps/sa/default <- {ROOT}/{node} [k8s:pod-uid:{uid} k8s:ns:apps k8s:node-name:{node}]"
        );
        // The garbage collector takes the former one away; it looks for new kinds every half minute.
        eventually("the new pod alone has an entry", async || {
            let found = b.with_id("/ns/apps/sa/default").await?;
            let lines: Vec<String> = found.iter().map(line).collect();
            match lines == [wanted.clone()] {
                true => Ok(()),
                false => Err(lines),
            }
            .map_err(|lines| lines.join("\n"))
        })
        .await;
        let resource = b.standing("apps", "db-0", "True", "Registered").await;
        let metadata = &resource["metadata"];
        assert_eq!(metadata["labels"], json!({"podUid": uid}));
        assert_eq!(metadata["ownerReferences"][0]["uid"], json!(uid));
        former = uid;
    }
}

#[tokio::test]
async fn a_pod_or_node_whose_name_a_persons_spiffe_id_has_waits_for_it_and_says_so() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    let client = c.client();
    let by_person = |namespace: &'static str, name: &'static str, path: &'static str| {
        let mut spec = by_hand(path, "x");
        spec["parentId"] = json!(id("/nodes/demo"));
        spec["selector"] = json!({"namespace": namespace});
        let object = registrar_tests::dynamic::spiffe_id(namespace, name, spec);
        let client = client.clone();
        async move {
            registrar_tests::dynamic::create(&client, &object)
                .await
                .expect("made")
        }
    };
    by_person("apps", "blog", "/by-person").await;
    by_person(OWN, "node-1", "/of-node").await;
    c.pod(&PodSpec::new("apps", "blog")).await.expect("a pod");
    let _registrar = b.registrar("").await;
    b.standing("apps", "blog", "True", "Registered").await;
    let kept = b.standing(OWN, "node-1", "True", "Registered").await;
    for (namespace, name) in [("apps", "blog"), ("default", "node-1")] {
        eventually(&format!("an Event on {name} says so"), async || {
            let events = c.events(namespace, name).await.map_err(|e| e.to_string())?;
            match events.iter().any(|(reason, _)| reason == "NameTaken") {
                true => Ok(()),
                false => Err(format!("{events:?}")),
            }
        })
        .await;
    }
    let now = b
        .ids
        .get(OWN, "node-1")
        .await
        .expect("answers")
        .expect("there");
    assert_eq!(now["spec"], kept["spec"], "a person's is left alone");
    b.none("/ns/apps/sa/default").await;
    b.none(&format!("{ROOT}/node-1")).await;
    b.ids.delete("apps", "blog").await.expect("deleted");
    b.ids.delete(OWN, "node-1").await.expect("deleted");
    b.one("/ns/apps/sa/default").await;
    b.one(&format!("{ROOT}/node-1")).await;
    b.none("/by-person").await;
    b.none("/of-node").await;
}
