//! Lists that fail, are cut short or cannot be understood: what they did not show is not absent, and nothing is deleted.

use registrar_tests::{
    ApiProxy, PodSpec, Registrar,
    api_proxy::Fault,
    entries::{Entry, line},
    eventually, steadily,
};
use std::time::Duration;

use crate::plane::{Bench, shared};

/// A registrar behind a proxy, with entries for pods `a`, `b` and `c`.
async fn behind_proxy(name: &'static str) -> (Bench, ApiProxy, Registrar, Vec<Entry>) {
    let b = shared(name).await;
    for pod in ["a", "b", "c"] {
        b.cluster.pod(&PodSpec::new(name, pod)).await.expect("pod");
    }
    let proxy = ApiProxy::start(b.cluster.client()).await.expect("starts");
    let kubeconfig = proxy.kubeconfig(b.plane.dir()).expect("written");
    let mut registrar =
        Registrar::start_with(b.plane, &kubeconfig, &b.plane.spire_socket(), name, "")
            .expect("starts");
    registrar.ready().await;
    let entries = b
        .settles(&[
            (&format!("/ns/{name}/sa/default"), "node-1", "a"),
            (&format!("/ns/{name}/sa/default"), "node-1", "b"),
            (&format!("/ns/{name}/sa/default"), "node-1", "c"),
        ])
        .await;
    (b, proxy, registrar, entries)
}

/// Breaks the watches and makes them begin anew with a list; meanwhile pod `c` goes, unseen.
async fn relist(b: &Bench, proxy: &ApiProxy) {
    proxy.fault("/api/v1/pods?watch", None, Fault::Status(410));
    proxy.cut_streams();
    b.cluster.delete_pod(b.name, "c").await.expect("deleted");
}

async fn meets_the_fault(proxy: &ApiProxy, times: usize) {
    eventually("the registrar meets the fault", async || {
        if proxy.met() >= times {
            Ok(())
        } else {
            Err(proxy.met())
        }
    })
    .await;
}

async fn stays(b: &Bench, entries: &[Entry]) {
    let lines = |entries: &[Entry]| {
        let mut lines: Vec<String> = entries.iter().map(line).collect();
        lines.sort();
        lines
    };
    let before = lines(entries);
    steadily(Duration::from_secs(3), "no entry goes", async || {
        let now = lines(&b.pods().await?);
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

async fn only_the_deleted_one_goes(b: &Bench, proxy: &ApiProxy) {
    proxy.heal();
    let id = format!("/ns/{}/sa/default", b.name);
    b.settles(&[(&id, "node-1", "a"), (&id, "node-1", "b")])
        .await;
}

#[tokio::test]
async fn nothing_is_deleted_when_a_list_is_answered_with_500_or_403() {
    for (name, status) in [("list-500", 500), ("list-403", 403)] {
        let (b, proxy, _registrar, entries) = behind_proxy(name).await;
        proxy.fault("/api/v1/pods?limit", None, Fault::Status(status));
        relist(&b, &proxy).await;
        meets_the_fault(&proxy, 3).await;
        stays(&b, &entries).await;
        only_the_deleted_one_goes(&b, &proxy).await;
    }
}

#[tokio::test]
async fn nothing_is_deleted_when_a_list_is_cut_in_the_middle() {
    let (b, proxy, _registrar, entries) = behind_proxy("list-cut").await;
    proxy.fault("/api/v1/pods?limit", None, Fault::Cut);
    relist(&b, &proxy).await;
    meets_the_fault(&proxy, 3).await;
    stays(&b, &entries).await;
    only_the_deleted_one_goes(&b, &proxy).await;
}

#[tokio::test]
async fn nothing_is_deleted_when_a_list_is_half_written_json() {
    let (b, proxy, _registrar, entries) = behind_proxy("list-half").await;
    let half = |text: &str| text[..text.len() / 2].to_owned();
    proxy.fault("/api/v1/pods?limit", None, Fault::Garbled(half));
    relist(&b, &proxy).await;
    meets_the_fault(&proxy, 3).await;
    stays(&b, &entries).await;
    only_the_deleted_one_goes(&b, &proxy).await;
}

#[tokio::test]
async fn pods_that_cannot_be_decoded_are_held_and_keep_their_entries() {
    let (b, proxy, registrar, _) = behind_proxy("list-odd").await;
    // Names and UIDs can still be read: what the list does not name is gone.
    let odd = |text: &str| text.replace("\"spec\":{", "\"spec\":7,\"was\":{");
    proxy.fault("/api/v1/pods?limit", None, Fault::Garbled(odd));
    relist(&b, &proxy).await;
    let id = format!("/ns/{}/sa/default", b.name);
    let left = b
        .settles(&[(&id, "node-1", "a"), (&id, "node-1", "b")])
        .await;
    stays(&b, &left).await;
    let held = registrar.metric("held{reason=\"Undecodable\"}").await;
    assert!(held.expect("answers") >= 2.0);
    only_the_deleted_one_goes(&b, &proxy).await;
}

#[tokio::test]
async fn a_pod_whose_very_uid_cannot_be_read_stops_deletes_for_absence() {
    let (b, proxy, registrar, entries) = behind_proxy("list-blind").await;
    let blind = |text: &str| text.replace("\"uid\":", "\"diu\":");
    proxy.fault("/api/v1/pods?limit", None, Fault::Garbled(blind));
    relist(&b, &proxy).await;
    meets_the_fault(&proxy, 3).await;
    stays(&b, &entries).await;
    let log = registrar.process.log();
    assert!(
        log.contains("entries of its kind are not deleted for being absent"),
        "{log}"
    );
    only_the_deleted_one_goes(&b, &proxy).await;
}

#[tokio::test]
async fn nothing_is_deleted_when_a_list_is_older_than_what_was_seen() {
    let (b, proxy, _registrar, _) = behind_proxy("list-old").await;
    // Pod `d` came by the watch: no list that the proxy remembers has it, though every one of them has `c`.
    b.cluster
        .pod(&PodSpec::new(b.name, "d"))
        .await
        .expect("pod");
    let id = format!("/ns/{}/sa/default", b.name);
    let with_d = ["a", "b", "c", "d"].map(|pod| (&*id, "node-1", pod));
    let entries = b.settles(&with_d).await;
    proxy.fault("/api/v1/pods?limit", None, Fault::Stale);
    relist(&b, &proxy).await;
    meets_the_fault(&proxy, 3).await;
    stays(&b, &entries).await;
    proxy.heal();
    let without_c = ["a", "b", "d"].map(|pod| (&*id, "node-1", pod));
    b.settles(&without_c).await;
}
