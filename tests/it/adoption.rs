//! Entries that are there already: those in the original's form are taken over untouched, others are left alone.

use registrar_adapters::spire::pb::types::EntryMask;
use registrar_tests::{
    Foreign, PodSpec,
    entries::{Entry, entry},
    eventually,
};
use std::panic::AssertUnwindSafe;

use crate::plane::{Bench, shared};

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

/// Every test has entries of others around it, and compares them at its end; here a pod comes and goes whose selectors they
/// carry.
#[tokio::test]
async fn what_is_not_ours_is_byte_equal_at_the_end() {
    let b = shared("foreign").await;
    let registrar = b.registrar("drift_interval = \"1s\"").await;
    b.cluster
        .pod(&PodSpec::new("foreign", "a"))
        .await
        .expect("pod");
    b.settles(&[("/ns/foreign/sa/default", "node-1", "a")])
        .await;
    b.cluster.delete_pod("foreign", "a").await.expect("deleted");
    b.settles(&[]).await;
    let compared = || {
        registrar
            .process
            .log()
            .matches("Compared with the server")
            .count()
    };
    let before = compared();
    eventually("the server is compared twice more", async || {
        if compared() >= before + 2 {
            Ok(())
        } else {
            Err(compared())
        }
    })
    .await;
}

#[tokio::test]
async fn a_test_in_which_an_entry_of_others_is_touched_fails() {
    let b = shared("touched").await;
    let plant = async || Foreign::plant(b.plane, &["touched"], "touched").await;
    let fails = |foreign: Foreign| {
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(foreign)));
        let why = dropped.expect_err("it fails");
        why.downcast_ref::<String>().expect("a message").clone()
    };
    drop(plant().await.expect("planted"));
    let foreign = plant().await.expect("planted");
    b.entries.delete(&foreign.ids()[0]).await.expect("deleted");
    assert!(fails(foreign).contains("entries of others were touched"));
    // A write that changes nothing is one.
    let foreign = plant().await.expect("planted");
    let same = Entry {
        id: foreign.ids()[1].clone(),
        ..Entry::default()
    };
    let nothing = EntryMask::default();
    b.entries.update(same, nothing).await.expect("updated");
    let why = fails(foreign);
    assert!(why.contains("revision_number=Integer(1)"), "{why}");
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

    // Two that are alike to the last field: a create is refused, an update makes them.
    let twin = Entry {
        id: "0-is-lower".into(),
        spiffe_id: Some(registrar_tests::entries::id("/yet-another")),
        ..repaired.clone()
    };
    let twin = Entry {
        id: b.entries.create(twin).await.expect("created"),
        ..repaired.clone()
    };
    let mask = EntryMask {
        spiffe_id: true,
        ..EntryMask::default()
    };
    // The registrar may have merged them already, for being one too many.
    let _ = b.entries.update(twin, mask).await;
    b.settles(&right).await;

    b.entries
        .create(original(&b, "nobody", "node-1"))
        .await
        .expect("created");
    b.settles(&right).await;
}
