//! `plan -live` and `explain` in crd mode, against what `run` then does.

use registrar_tests::{PodSpec, eventually};
use serde_json::{Value, json};

use super::bench::{Bench, OWN, ROOT, bench, id};
use crate::plan::command;
use registrar_tests::{Options, Registrar};

fn plan(registrar: &Registrar) -> Value {
    let config = registrar.config().display().to_string();
    let output = command(&["plan", "-config", &config, "-live", "-o", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn names(plan: &Value, part: &str) -> Vec<String> {
    let all = plan[part].as_array().expect("a list").iter();
    let object = |e: &Value| {
        e.get("object").unwrap_or(e)["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    all.map(object).collect()
}

fn explain(registrar: &Registrar, pod: &str) -> String {
    let config = registrar.config().display().to_string();
    let output = command(&["explain", "-config", &config, "pod", pod]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A registrar's configuration, without it: it was killed at once.
fn stopped(b: &Bench, extra: &str) -> Registrar {
    let mut registrar = b.start(extra);
    registrar.process.kill();
    registrar
}

#[tokio::test]
async fn the_live_plan_is_what_run_then_does_and_each_pod_is_explained() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    for name in ["blog", "shop"] {
        let pod = PodSpec::new("apps", name)
            .annotation("id", "team/x")
            .node("node-1");
        c.pod(&pod.annotation("id", &format!("team/{name}")))
            .await
            .expect("a pod");
    }
    c.pod(&PodSpec::new("apps", "bad").annotation("id", "a//b"))
        .await
        .expect("a pod");
    let spec = json!({
        "parentId": id(&format!("{ROOT}/node-1")), "spiffeId": id("/by-hand"),
        "selector": {"namespace": OWN, "serviceAccount": "x"},
    });
    b.ids.create(OWN, "by-hand", spec).await.expect("made");
    let mut registrar = stopped(&b, "pod_annotation = \"id\"");
    let before = b.private.entries.all().await.expect("listed");
    let objects = b.ids.list("apps").await.expect("listed");

    let planned = plan(&registrar);
    assert_eq!(names(&planned, "held"), ["bad"], "{planned:#}");
    assert_eq!(
        names(&planned, "create"),
        ["node-1", "node-2", "blog", "shop", "by-hand"],
        "{planned:#}"
    );
    let written = names(&planned, "spiffe_ids");
    assert_eq!(
        written,
        ["blog", "shop", "by-hand", "node-1", "node-2"],
        "{planned:#}"
    );
    assert_eq!(
        b.private.entries.all().await.expect("listed"),
        before,
        "a plan writes nothing"
    );
    assert_eq!(
        b.ids.list("apps").await.expect("listed"),
        objects,
        "not to Kubernetes either"
    );
    let told = explain(&registrar, "apps/blog");
    assert!(
        told.contains("SpiffeID apps/blog does not exist") && told.contains("remedy:"),
        "{told}"
    );

    registrar.process.start_again().expect("started");
    registrar.ready().await;
    for path in ["/team/blog", "/team/shop", "/by-hand"] {
        b.one(path).await;
    }
    eventually("there is nothing more to do", async || {
        let again = plan(&registrar);
        let left: usize = ["create", "update", "delete", "spiffe_ids"]
            .map(|part| names(&again, part).len())
            .iter()
            .sum();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{again:#}"))
        }
    })
    .await;
    let told = explain(&registrar, "apps/blog");
    assert!(
        told.contains("SpiffeID apps/blog: is as it should be"),
        "{told}"
    );
    assert!(
        told.contains("no agent was attested"),
        "there is none: {told}"
    );
    let told = explain(&registrar, "apps/bad");
    assert!(
        told.contains("held") && told.contains("path cannot contain empty segments"),
        "{told}"
    );
}
