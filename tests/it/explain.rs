//! `explain` on the real parts: what it says of a pod that is fine, and of those that are not.

use registrar_adapters::spire::pb::types::EntryMask;
use registrar_tests::{
    Options, PodSpec, Registrar,
    entries::{entry, id},
    eventually,
};

use crate::{
    plan::command,
    plane::{Bench, private, shared},
};

struct Explained {
    code: Option<i32>,
    text: String,
}

fn explain(b: &Bench, registrar: &Registrar, pod: &str) -> Explained {
    explain_pod(registrar, &format!("{}/{pod}", b.name))
}

fn explain_pod(registrar: &Registrar, name: &str) -> Explained {
    let config = registrar.config().display().to_string();
    let output = command(&["explain", "-config", &config, "pod", name]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Explained {
        code: output.status.code(),
        // Lines are broken to fit; what is looked for may stand on two.
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

impl Explained {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for word in words {
            assert!(
                self.text.contains(word),
                "{word:?} is not in: {}",
                self.text
            );
        }
    }
}

#[tokio::test]
async fn each_pod_is_explained_with_its_remedy() {
    let b = shared("explain").await;
    let mut registrar = b
        .registrar("pod_annotation = \"id\"\nfederation_allow = [\"absent.test\"]")
        .await;
    let pod = |name: &str, id: &str| PodSpec::new("explain", name).annotation("id", id);
    for spec in [
        pod("fine", "team/fine"),
        PodSpec::new("explain", "unnamed"),
        pod("illegal", "a//b"),
        pod("unbound", "team/unbound").node(None),
        pod("lonely", "team/lonely").node("node-nowhere"),
        pod("federated", "team/federated").annotation("spiffe.io/federatesWith", "absent.test"),
    ] {
        b.cluster.pod(&spec).await.expect("pod");
    }
    let node = format!("{}/node-1", b.root());
    b.settles(&[
        ("/team/fine", "node-1", "fine"),
        ("/team/lonely", "node-nowhere", "lonely"),
        ("/team/federated", "node-1", "federated"),
    ])
    .await;
    let fine = explain(&b, &registrar, "fine");
    // There is no kubelet and no agent: that is what is left to say.
    fine.says(
        0,
        &[
            "spiffe://example.org/team/fine",
            &format!("spiffe://example.org{node}"),
            "as it should be",
            "no agent was attested as spiffe://example.org/spire/agent/k8s_psat/explain/",
        ],
    );
    explain(&b, &registrar, "unnamed")
        .says(0, &["kubectl annotate pod -n explain unnamed id=VALUE"]);
    explain(&b, &registrar, "illegal").says(3, &["held", "path cannot contain empty segments"]);
    explain(&b, &registrar, "unbound")
        .says(0, &["not bound", "kubectl describe pod -n explain unbound"]);
    explain(&b, &registrar, "lonely").says(0, &["a node that does not exist"]);
    explain(&b, &registrar, "federated")
        .says(0, &["spire-server bundle set -id spiffe://absent.test"]);
    explain(&b, &registrar, "nobody").says(1, &["does not exist"]);

    registrar.process.kill();
    b.cluster.pod(&pod("late", "team/late")).await.expect("pod");
    explain(&b, &registrar, "late").says(0, &["the entry is not on the server", "/readyz"]);
    let copy = entry(&node, "/copied", &["k8s:ns:explain", "k8s:pod-name:fine"]);
    b.entries.create(copy).await.expect("created");
    explain(&b, &registrar, "fine").says(0, &["one too many"]);
}

#[tokio::test]
async fn what_keeps_a_pod_apart_waiting_or_wrong_is_explained_with_its_remedy() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    p.plane.fail_entries_of("/team/refused").expect("made");
    p.cluster.namespace("off").await.expect("a namespace");
    let extra = "pod_annotation = \"id\"\ndisabled_namespaces = [\"off\"]";
    let mut registrar = Registrar::start(&p.plane, "demo", extra).expect("starts");
    let pod = |name: &str| {
        let path = format!("team/{name}");
        PodSpec::new("apps", name).annotation("id", &path)
    };
    for spec in [
        pod("changed"),
        pod("ending"),
        pod("static").mirror(),
        pod("refused"),
        PodSpec::new("off", "apart").annotation("id", "team/apart"),
    ] {
        p.cluster.pod(&spec).await.expect("pod");
    }
    let entry_of = async |pod: &str| {
        let selector = format!("k8s:pod-name:{pod}");
        let root = "/spire-k8s-registrar/demo/node";
        let found = p.entries.selecting(root, &["k8s:ns:apps", &selector]).await;
        let mut found = found.map_err(|e| e.to_string())?;
        found.pop().ok_or_else(|| "not yet".to_owned())
    };
    for name in ["changed", "ending", "static"] {
        eventually(name, async || entry_of(name).await.map(drop)).await;
    }
    let refused = eventually("the server's refusal is told", async || {
        let refused = explain_pod(&registrar, "apps/refused");
        match refused.text.contains("the registrar reported") {
            true => Ok(refused),
            false => Err(refused.text),
        }
    })
    .await;
    refused.says(0, &["refuses its entry", "mend what the server objects to"]);
    explain_pod(&registrar, "off/apart").says(
        0,
        &[
            "its namespace is disabled",
            "take \"off\" out of disabled_namespaces",
        ],
    );
    explain_pod(&registrar, "apps/static").says(0, &["static pod", "as it should be"]);
    let ended = p.cluster.end_pod("apps", "ending", 60).await;
    ended.expect("asked");
    explain_pod(&registrar, "apps/ending").says(0, &["being deleted", "as it should be"]);

    registrar.process.kill();
    let mut changed = entry_of("changed").await.expect("there");
    changed.spiffe_id = Some(id("/team/other"));
    let mask = EntryMask {
        spiffe_id: true,
        ..EntryMask::default()
    };
    p.entries.update(changed, mask).await.expect("updated");
    explain_pod(&registrar, "apps/changed")
        .says(0, &["differs in spiffe_id", "it is repaired in place"]);
}
