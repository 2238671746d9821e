//! Entries that are not ours, of every kind that could be taken for ours.

use std::collections::BTreeMap;

use super::mode::Mode;
use crate::{
    Entries,
    entries::{Entry, entry},
};

/// Makes them; all of them, as the server has them.
///
/// # Errors
/// As the server says.
pub async fn plant(entries: &Entries, mode: Mode) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    for entry in foreign(mode) {
        entries.create(entry).await?;
    }
    now(entries).await
}

/// All of them, as the server has them now.
///
/// # Errors
/// As the server says.
pub async fn now(entries: &Entries) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let all = entries.all().await?;
    let foreign = all.into_iter().filter(|e| e.id.starts_with("foreign"));
    Ok(foreign.map(|e| (e.id.clone(), bytes(&e))).collect())
}

fn foreign(mode: Mode) -> Vec<Entry> {
    let pod = |n: usize| format!("k8s:pod-name:pod-{n}");
    let elsewhere = format!("{}/node-0", mode.root().replace("/soak/", "/other/"));
    let mut all = Vec::new();
    for n in 0..4 {
        let selectors = ["k8s:ns:soak".to_owned(), pod(n)];
        let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
        for parent in [&*elsewhere, "/somewhere", mode.root_of_another()] {
            all.push(entry(parent, &format!("/team-{n}/app-{n}"), &selectors));
        }
        // An operator's own, beside ours: its selectors are none that we make.
        let parent = mode.parent(&format!("node-{n}"));
        let uid = format!("unix:uid:{}", 1000 + n);
        let mut own = entry(&parent, "/operators/own", &[&uid]);
        own.x509_svid_ttl = 77;
        own.hint = "hint".into();
        own.dns_names = vec!["own.example.org".into()];
        all.push(own);
    }
    for (n, entry) in all.iter_mut().enumerate() {
        entry.id = format!("foreign-{n}");
    }
    all
}

/// The whole of it, as it is sent.
fn bytes(entry: &Entry) -> Vec<u8> {
    use prost::Message as _;
    entry.encode_to_vec()
}
