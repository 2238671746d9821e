//! SpiffeIDs that people write.

use registrar_tests::{Options, entries, eventually, steadily};
use serde_json::json;
use std::time::Duration;

use super::bench::{OWN, ROOT, bench, by_hand, id};

#[tokio::test]
async fn a_hand_written_spiffe_id_gets_its_entry_follows_its_spec_and_takes_it_along() {
    let b = bench(Options::default()).await;
    let mut spec = by_hand("/payments", "payments");
    spec["dnsNames"] = json!(["pay.example.org", "*.pay.example.org"]);
    spec["selector"]["podLabel"] = json!({"app": "pay"});
    b.ids.create(OWN, "payments", spec).await.expect("made");
    let registrar = b.registrar("").await;
    let entry = b.one("/payments").await;
    assert_eq!(
        entries::line(&entry),
        format!("/payments <- {ROOT}/node-1 [k8s:pod-label:app:pay k8s:ns:spire k8s:sa:payments]")
    );
    assert_eq!(entry.dns_names, ["pay.example.org", "*.pay.example.org"]);
    let resource = b.standing(OWN, "payments", "True", "Registered").await;
    assert_eq!(resource["status"]["entryId"], entry.id);
    assert_eq!(
        resource["metadata"]["finalizers"],
        json!(["finalizers.spiffeid.spiffe.io"])
    );

    let patch = json!({"spec": {"spiffeId": id("/billing"), "downstream": true,
        "dnsNames": ["bill.example.org"]}});
    b.ids.patch(OWN, "payments", patch).await.expect("changed");
    let changed = b.one("/billing").await;
    assert_eq!(changed.id, entry.id, "changed in place");
    assert!(changed.downstream);
    assert_eq!(changed.dns_names, ["bill.example.org"]);
    let resource = b.standing(OWN, "payments", "True", "Registered").await;

    // At rest nobody writes, neither the entry nor the object.
    let writes = registrar.writes().await.expect("metrics");
    steadily(Duration::from_secs(3), "nothing is written", async || {
        let now = b.ids.get(OWN, "payments").await?.ok_or("gone")?;
        let same = now["metadata"]["resourceVersion"] == resource["metadata"]["resourceVersion"];
        let written = registrar.writes().await.map_err(|e| e.to_string())?;
        match same && written == writes {
            true => Ok(()),
            false => Err(format!("{now:#}")),
        }
    })
    .await;

    b.ids.delete(OWN, "payments").await.expect("deleted");
    b.gone(OWN, "payments").await;
    b.none("/billing").await;
}

#[tokio::test]
async fn an_invalid_spiffe_id_says_why_harms_nobody_and_can_be_deleted() {
    let b = bench(Options::default()).await;
    let _registrar = b.registrar("").await;
    // A tenant asks for workloads of another namespace.
    let mut spec = by_hand("/steal", "default");
    spec["parentId"] = json!(id("/some/parent"));
    b.ids
        .create("apps", "steal", spec.clone())
        .await
        .expect("made");
    b.standing("apps", "steal", "False", "OtherNamespace").await;
    spec["selector"] = json!({"namespace": "apps"});
    spec["spiffeId"] = json!(id(&format!("{ROOT}/node-1")));
    b.ids
        .patch("apps", "steal", json!({"spec": spec.clone()}))
        .await
        .expect("changed");
    b.standing("apps", "steal", "False", "ReservedPath").await;
    let spec = json!({
        "parentId": id("/some/parent"),
        "spiffeId": id("/fair"),
        "selector": {"namespace": "apps"},
    });
    b.ids.create("apps", "fair", spec).await.expect("made");
    let fair = b.one("/fair").await;
    // It becomes invalid: its entry stays as it is, and goes with it.
    let patch = json!({"spec": {"downstream": true}});
    b.ids.patch("apps", "fair", patch).await.expect("changed");
    let resource = b.standing("apps", "fair", "False", "Downstream").await;
    assert_eq!(resource["status"]["entryId"], fair.id);
    assert_eq!(b.one("/fair").await.revision_number, fair.revision_number);
    for name in ["steal", "fair"] {
        b.ids.delete("apps", name).await.expect("deleted");
        b.gone("apps", name).await;
    }
    b.none("/fair").await;
    b.none("/steal").await;
}

#[tokio::test]
async fn of_two_that_ask_for_the_same_the_younger_waits_and_inherits() {
    let b = bench(Options::default()).await;
    let _registrar = b.registrar("").await;
    b.ids
        .create(OWN, "elder", by_hand("/shared", "a"))
        .await
        .expect("made");
    let elder = b.standing(OWN, "elder", "True", "Registered").await;
    // Creation times have whole seconds.
    let second = elder["metadata"]["creationTimestamp"].clone();
    eventually("the next second begins", async || {
        let probe = json!({"metadata": {"generateName": "probe-"}, "spec": by_hand("/probe", "p")});
        b.ids
            .create_object(OWN, probe)
            .await
            .map_err(|e| e.to_string())?;
        let all = b.ids.list(OWN).await?;
        let latest = all.iter().map(|r| &r["metadata"]["creationTimestamp"]);
        let latest = latest.max_by_key(|t| t.to_string()).cloned();
        match latest {
            Some(latest) if latest != second => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    b.ids
        .create(OWN, "younger", by_hand("/shared", "a"))
        .await
        .expect("made");
    let younger = b.standing(OWN, "younger", "False", "Duplicate").await;
    assert!(younger["status"]["entryId"].is_null(), "{younger:#}");
    let before = b.one("/shared").await;
    b.ids.delete(OWN, "elder").await.expect("deleted");
    b.gone(OWN, "elder").await;
    let heir = b.standing(OWN, "younger", "True", "Registered").await;
    let after = b.one("/shared").await;
    assert_eq!(heir["status"]["entryId"], after.id);
    assert_eq!(
        (&after.id, after.revision_number),
        (&before.id, before.revision_number),
        "without a gap: it is the same entry"
    );
    b.ids.delete(OWN, "younger").await.expect("deleted");
    b.none("/shared").await;
}

#[tokio::test]
async fn a_status_that_names_the_entry_of_another_gives_nothing() {
    let b = bench(Options::default()).await;
    let foreign = entries::entry("/elsewhere", "/operator", &["k8s:ns:ops"]);
    let foreign = b.private.entries.create(foreign).await.expect("made");
    let mut admin = entries::entry("/some/parent", "/boss", &["k8s:ns:apps"]);
    admin.admin = true;
    let admin = b.private.entries.create(admin).await.expect("made");
    let _registrar = b.registrar("").await;
    let spec = |path: &str| {
        json!({
            "parentId": id("/some/parent"),
            "spiffeId": id(path),
            "selector": {"namespace": "apps"},
        })
    };
    for (name, path, entry) in [("greedy", "/mine", &foreign), ("bossy", "/boss", &admin)] {
        let object = json!({"metadata": {"name": name}, "spec": spec(path)});
        b.ids.create_object("apps", object).await.expect("made");
        // Nothing of ours is under way any more when the tenant writes.
        let (status, reason) = match name {
            "greedy" => ("True", "Registered"),
            _ => ("False", "EntryRefused"),
        };
        b.standing("apps", name, status, reason).await;
        b.ids
            .patch_status("apps", name, json!({"entryId": entry}))
            .await
            .expect("written");
        b.standing("apps", name, "False", "EntryNotOurs").await;
        b.ids.delete("apps", name).await.expect("deleted");
        b.gone("apps", name).await;
    }
    assert_eq!(b.one("/operator").await.id, foreign);
    let boss = b.one("/boss").await;
    assert!(boss.id == admin && boss.admin && boss.revision_number == 0);
}

#[tokio::test]
async fn entries_of_the_original_are_adopted_by_status_without_a_write() {
    let b = bench(Options::default()).await;
    let parent = format!("{ROOT}/node-1");
    let original = entries::entry(&parent, "/payments", &["k8s:ns:spire", "k8s:sa:payments"]);
    let entry = b.private.entries.create(original).await.expect("made");
    let object = json!({
        "metadata": {"name": "payments", "finalizers": ["finalizers.spiffeid.spiffe.io"]},
        "spec": by_hand("/payments", "payments"),
    });
    b.ids.create_object(OWN, object).await.expect("made");
    b.ids
        .patch_status(OWN, "payments", json!({"entryId": entry}))
        .await
        .expect("written");
    let _registrar = b.registrar("").await;
    let resource = b.standing(OWN, "payments", "True", "Registered").await;
    assert_eq!(resource["status"]["entryId"], entry);
    let adopted = b.one("/payments").await;
    assert_eq!((adopted.id, adopted.revision_number), (entry.clone(), 0));
    b.ids.delete(OWN, "payments").await.expect("deleted");
    b.gone(OWN, "payments").await;
    b.none("/payments").await;
}
