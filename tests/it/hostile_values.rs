//! What a tenant can write into an annotation never yields an identity outside the rules, and never harms others.

use registrar_tests::{PodSpec, eventually};

use crate::plane::{Bench, shared};

/// Registrars see the pods of all tests: each test has an annotation of its own.
fn configuration(key: &str) -> String {
    format!("pod_annotation = \"{key}\"\nreserved_paths = [\"/admin\", \"/ops/*\"]")
}

fn hostile(cluster: &str) -> Vec<String> {
    let long = "x".repeat(256);
    let mut values: Vec<String> = [
        "",
        "//x",
        "a//b",
        "..",
        ".",
        "a/../b",
        "a/",
        "/",
        "with space",
        "%41",
        "a%2Fb",
        "ü",
        "a\nb",
        "{{.Pod}}",
        "spire",
        "/spire",
        "spire/agent/x",
        "spire/server",
        "admin",
        "ops/root",
        "k8s-workload-registrar/other/node/x",
        "spire-k8s-registrar",
        &long,
    ]
    .map(str::to_owned)
    .to_vec();
    values.push(format!("spire-k8s-registrar/{cluster}/node"));
    values.push(format!("/spire-k8s-registrar/{cluster}/node/node-2"));
    values.push("a".repeat(100_000));
    values
}

async fn is_told_why(b: &Bench, pod: &str, reasons: &[&str]) {
    eventually(&format!("a Warning tells why {pod} is held"), async || {
        let events = b
            .cluster
            .events(b.name, pod)
            .await
            .map_err(|e| e.to_string())?;
        let told = events
            .iter()
            .any(|(reason, _)| reasons.contains(&reason.as_str()));
        if told {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn an_illegal_value_makes_no_entry_and_the_next_pod_registers_at_once() {
    const KEY: &str = "hostile.test/new";
    let b = shared("hostile-new").await;
    let _registrar = b.registrar(&configuration(KEY)).await;
    for (n, value) in hostile("hostile-new").iter().enumerate() {
        let pod = PodSpec::new("hostile-new", &format!("bad-{n}")).annotation(KEY, value);
        b.cluster.pod(&pod).await.expect("pod");
    }
    b.cluster
        .pod(&PodSpec::new("hostile-new", "good").annotation(KEY, "fine"))
        .await
        .expect("pod");
    b.settles(&[("/fine", "node-1", "good")]).await;
    for n in 0..hostile("hostile-new").len() {
        is_told_why(&b, &format!("bad-{n}"), &["IllegalPath", "ReservedPath"]).await;
    }
    b.settles(&[("/fine", "node-1", "good")]).await;
}

#[tokio::test]
async fn an_illegal_value_leaves_the_entry_as_it_is_until_it_is_corrected_or_removed() {
    const KEY: &str = "hostile.test/change";
    let b = shared("hostile-change").await;
    let registrar = b.registrar(&configuration(KEY)).await;
    b.cluster
        .pod(&PodSpec::new("hostile-change", "a").annotation(KEY, "team/a"))
        .await
        .expect("pod");
    let before = b.settles(&[("/team/a", "node-1", "a")]).await;
    for value in hostile("hostile-change") {
        b.cluster
            .annotate("hostile-change", "a", KEY, Some(&value))
            .await
            .expect("annotated");
        eventually("the pod is held", async || {
            let held = registrar
                .metric("held{reason=\"IllegalPath\"}")
                .await
                .map_err(|e| e.to_string())?
                + registrar
                    .metric("held{reason=\"ReservedPath\"}")
                    .await
                    .map_err(|e| e.to_string())?;
            if held == 1.0 {
                Ok(())
            } else {
                Err(format!("{value:?}: {held}"))
            }
        })
        .await;
        assert_eq!(b.pods().await.expect("listed"), before, "{value:?}");
    }
    is_told_why(&b, "a", &["IllegalPath"]).await;
    is_told_why(&b, "a", &["ReservedPath"]).await;
    b.stay("the entry is untouched", &before).await;
    b.cluster
        .annotate("hostile-change", "a", KEY, Some("team/b"))
        .await
        .expect("annotated");
    let after = b.settles(&[("/team/b", "node-1", "a")]).await;
    assert_eq!(before[0].id, after[0].id, "corrected in place");
    b.cluster
        .annotate("hostile-change", "a", KEY, None)
        .await
        .expect("annotated");
    b.settles(&[]).await;
}

#[tokio::test]
async fn a_pod_that_is_held_again_and_again_is_told_ten_times() {
    const KEY: &str = "hostile.test/again";
    let b = shared("hostile-again").await;
    let registrar = b.registrar(&configuration(KEY)).await;
    let pod = PodSpec::new("hostile-again", "a").annotation(KEY, "//value-0");
    b.cluster.pod(&pod).await.expect("pod");
    for n in 1..=12 {
        let before = format!("//value-{}", n - 1);
        eventually("the value is held", async || {
            let log = registrar.process.log();
            log.contains(&before).then_some(()).ok_or(log)
        })
        .await;
        let value = format!("//value-{n}");
        b.cluster
            .annotate("hostile-again", "a", KEY, Some(&value))
            .await
            .expect("annotated");
    }
    eventually("ten Events, and three left out", async || {
        let events = b.cluster.events("hostile-again", "a").await;
        let events = events.map_err(|e| e.to_string())?.len();
        let left_out = registrar.metric("events_dropped_total").await;
        match (events, left_out.map_err(|e| e.to_string())?) {
            (10, 3.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_namespace_with_many_pods_that_are_held_at_once_is_told_of_each() {
    const KEY: &str = "hostile.test/many";
    let b = shared("hostile-many").await;
    let _registrar = b.registrar(&configuration(KEY)).await;
    let names: Vec<String> = (0..70).map(|n| format!("bad-{n}")).collect();
    for name in &names {
        let pod = PodSpec::new("hostile-many", name).annotation(KEY, "//value");
        b.cluster.pod(&pod).await.expect("pod");
    }
    for name in &names {
        is_told_why(&b, name, &["IllegalPath"]).await;
    }
}

#[tokio::test]
async fn an_empty_label_is_held_not_registered() {
    let b = shared("hostile-label").await;
    let _registrar = b.registrar("pod_label = \"id\"").await;
    b.cluster
        .pod(&PodSpec::new("hostile-label", "empty").label("id", ""))
        .await
        .expect("pod");
    b.cluster
        .pod(&PodSpec::new("hostile-label", "spire").label("id", "spire"))
        .await
        .expect("pod");
    b.cluster
        .pod(&PodSpec::new("hostile-label", "good").label("id", "good"))
        .await
        .expect("pod");
    is_told_why(&b, "empty", &["IllegalPath"]).await;
    is_told_why(&b, "spire", &["ReservedPath"]).await;
    b.settles(&[("/good", "node-1", "good")]).await;
}
