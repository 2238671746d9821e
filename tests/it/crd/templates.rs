//! A template that not every pod can be rendered with.

use registrar_tests::{Options, PodSpec, eventually};

use super::bench::bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_for_which_the_template_fails_is_held_with_an_event_and_others_go_on() {
    let b = bench(Options::default()).await;
    let cluster = &b.private.cluster;
    let _registrar = b
        .registrar("identity_template = \"host/{{slice .Pod.Hostname 0 2}}/{{.Pod.Hostname}}\"")
        .await;
    let with = |name: &str, hostname: &str| PodSpec::new("apps", name).hostname(hostname, "svc");
    cluster.pod(&with("first", "db-1")).await.expect("a pod");
    cluster
        .pod(&PodSpec::new("apps", "without"))
        .await
        .expect("a pod");
    cluster.pod(&with("short", "a")).await.expect("a pod");
    cluster.pod(&with("last", "db-2")).await.expect("a pod");
    b.one("/host/db/db-1").await;
    b.one("/host/db/db-2").await;
    for name in ["without", "short"] {
        eventually("an Event says why", async || {
            let events = cluster
                .events("apps", name)
                .await
                .map_err(|e| e.to_string())?;
            let says = |(reason, note): &(String, String)| {
                reason == "TemplateFailed"
                    && note.contains("identity_template:1:8: index out of range: 2")
            };
            match events.iter().any(says) {
                true => Ok(()),
                false => Err(format!("{events:?}")),
            }
        })
        .await;
        let id = b.ids.get("apps", name).await.expect("an answer");
        assert!(id.is_none(), "{id:?}");
    }
}
