//! The original's definition, which knows neither conditions nor lists that several write.

use std::time::Duration;

use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{
    Options, PodSpec, eventually,
    spiffe_ids::{ORIGINAL_DEFINITION, registered},
    steadily,
};
use serde_json::json;

use super::bench::{OWN, all, bench_with, by_hand};

#[tokio::test]
async fn with_the_originals_definition_it_works_says_what_is_missing_and_comes_to_rest() {
    let b = bench_with(Options::default(), ORIGINAL_DEFINITION).await;
    let c = &b.private.cluster;
    c.pod(&PodSpec::new("apps", "blog")).await.expect("a pod");
    c.service("apps", "store").await.expect("a service");
    c.slice_ready("apps", "store-1", "store", &[("10.0.0.1", true, "blog")])
        .await
        .expect("a slice");
    let registrar = b.registrar("drift_interval = \"3s\"").await;
    b.ids
        .create(OWN, "payments", by_hand("/payments", "payments"))
        .await
        .expect("made");
    // Not permitted: nowhere to say so but the Event.
    let mut steal = by_hand("/steal", "x");
    steal["parentId"] = json!("spiffe://example.org/nodes/demo");
    b.ids.create("apps", "steal", steal).await.expect("made");

    let entry = b.one("/payments").await;
    let of_pod = eventually("the pod's entry has both names", async || {
        let found = b.with_id("/ns/apps/sa/default").await?;
        match found.first() {
            Some(entry) if entry.dns_names == ["blog", "store.apps.svc"] => Ok(entry.clone()),
            _ => Err(format!("{found:#?}")),
        }
    })
    .await;
    for (namespace, name, id) in [(OWN, "payments", &entry.id), ("apps", "blog", &of_pod.id)] {
        eventually("its status names its entry", async || {
            let resource = b.ids.get(namespace, name).await?.ok_or("not there")?;
            match resource["status"] == json!({"entryId": id}) {
                true => Ok(()),
                false => Err(format!("{resource:#}")),
            }
        })
        .await;
    }
    eventually("an Event says what is not permitted", async || {
        let events = c.events("apps", "steal").await.map_err(|e| e.to_string())?;
        match events.iter().any(|(reason, _)| reason == "OtherNamespace") {
            true => Ok(()),
            false => Err(format!("{events:?}")),
        }
    })
    .await;
    b.none("/steal").await;
    let told = |log: &str| {
        log.lines()
            .filter(|l| l.contains("is an old one") && l.contains("the command crd prints"))
            .count()
    };
    assert_eq!(told(&registrar.process.log()), 1, "said once");

    let versions = async || -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for namespace in [OWN, "apps"] {
            let all = b.ids.list(namespace).await?;
            found.extend(
                all.iter()
                    .map(|r| r["metadata"]["resourceVersion"].to_string()),
            );
        }
        Ok(found)
    };
    let calls = async || -> Result<f64, String> {
        let status = registrar
            .metric("kubernetes_calls_total{operation=\"write_status\",outcome=\"ok\"}")
            .await
            .map_err(|e| e.to_string())?;
        let applied = registrar
            .metric("kubernetes_calls_total{operation=\"apply\",outcome=\"ok\"}")
            .await
            .map_err(|e| e.to_string())?;
        Ok(status + applied)
    };
    let now =
        async || -> Result<_, String> { Ok((versions().await?, all(&b).await?, calls().await?)) };
    let before = now().await.expect("all of it");
    assert!(before.2 >= 6.0, "each was written: {}", before.2);
    steadily(Duration::from_secs(10), "nothing is written", async || {
        let found = now().await?;
        match found == before {
            true => Ok(()),
            false => Err(format!("{found:#?}")),
        }
    })
    .await;

    // With ours it says more, on the same entries.
    b.ids
        .install(CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    b.standing(OWN, "payments", "True", "Registered").await;
    b.standing("apps", "blog", "True", "Registered").await;
    b.standing("apps", "steal", "False", "OtherNamespace").await;
    assert_eq!(
        all(&b).await.expect("entries"),
        before.1,
        "the same entries"
    );
    assert!(
        registered(
            &b.ids
                .get("apps", "steal")
                .await
                .expect("answers")
                .expect("there")
        )
        .is_some()
    );
}
