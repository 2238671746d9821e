//! Taking over from others, with a real agent and a workload that must never be without its SVID: the original registrar
//! in its modes, another root of our own, and a controller that parents entries directly at agents.

use std::{
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use registrar_tests::{
    Options, PodSpec, Registrar,
    agent::{Agent, Svid, Workload},
    entries::{Entry, entry},
    eventually,
};
use tokio::task::JoinHandle;

use crate::{
    plan::command,
    plane::{Private, private},
};

const ID: &str = "spiffe://example.org/ns/apps/sa/default";
const ROOT: &str = "/spire-k8s-registrar/demo/node";
const WEBHOOK: &str = "/k8s-workload-registrar/demo/node";
const POD: [&str; 2] = ["k8s:ns:apps", "k8s:pod-name:web"];

/// A pod on a node with an agent, before anybody registers it.
struct Scene {
    p: Private,
    _agent: Agent,
    workload: Arc<Workload>,
    pod_uid: String,
    node_uid: String,
}

/// `None` where this machine lets nobody be attested; that is said.
async fn scene() -> Option<Scene> {
    let p = private(Options::default()).await;
    p.cluster
        .pod(&PodSpec::new("apps", "web"))
        .await
        .expect("pod");
    let node_uid = p.cluster.node("node-1").await.expect("node");
    let agent = Agent::start(&p.plane, "demo", "node-1")
        .await
        .expect("an agent");
    let pod_uid = agent.runs(&p.plane, "apps", "web").await.expect("a pod");
    match agent.workload(&pod_uid).expect("built") {
        Ok(workload) => Some(Scene {
            p,
            _agent: agent,
            workload: Arc::new(workload),
            pod_uid,
            node_uid,
        }),
        Err(why) => {
            eprintln!("SKIPPED: no workload can be attested on this machine: {why}");
            None
        }
    }
}

impl Scene {
    async fn make(&self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.p.entries.create(entry).await.expect("created");
        }
    }

    /// Waits until the workload has this many SVIDs of its ID.
    async fn svids(&self, count: usize) -> Vec<Svid> {
        eventually(&format!("the workload has {count} SVIDs"), async || {
            let svids = self.workload.svids().await.map_err(|e| e.to_string())??;
            let right = svids.iter().all(|s| s.spiffe_id == ID) && svids.len() == count;
            if right {
                Ok(svids)
            } else {
                Err(format!("{svids:?}"))
            }
        })
        .await
    }

    /// Asks again and again from now on, and takes note of every time without an SVID, or without this one.
    fn watch(&self, kept: Option<Svid>) -> Watched {
        let stop = Arc::new(AtomicBool::new(false));
        let (workload, stopped) = (self.workload.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let (mut asked, mut gaps) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                asked += 1;
                match workload.svids().await {
                    Ok(Ok(svids)) if kept.as_ref().is_none_or(|k| svids.contains(k)) => {}
                    Ok(Ok(_)) => gaps.push("another SVID".to_owned()),
                    Ok(Err(why)) => gaps.push(why),
                    Err(error) => gaps.push(error.to_string()),
                }
            }
            (asked, gaps)
        });
        Watched { stop, task }
    }

    async fn registrar(&self, extra: &str) -> Registrar {
        let mut registrar = Registrar::start(&self.p.plane, "demo", extra).expect("starts");
        registrar.ready().await;
        registrar
    }

    async fn all(&self) -> Vec<Entry> {
        self.p.entries.all().await.expect("listed")
    }
}

struct Watched {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(usize, Vec<String>)>,
}

impl Watched {
    /// Fails if the workload was ever without.
    async fn saw_no_gap(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (asked, gaps) = self.task.await.expect("watched");
        assert!(gaps.is_empty(), "{} of {asked}: {gaps:#?}", gaps.len());
        assert!(asked > 3, "it was watched: {asked}");
    }
}

fn retire(config: &Path, root: &str, more: &[&str]) -> (Output, String) {
    let config = config.display().to_string();
    let args: Vec<&str> = ["retire", "-config", &config, root]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let output = command(&args);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.clone(), text.into_owned())
}

fn node_entry(root: &str, node: &str, selector: &str) -> Entry {
    let path = if node.is_empty() {
        root.to_owned()
    } else {
        format!("{root}/{node}")
    };
    let selectors: Vec<&str> = [selector, "k8s_psat:cluster:demo"]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect();
    entry("/spire/server", &path, &selectors)
}

#[tokio::test]
async fn the_originals_reconcile_mode_is_taken_over_in_place_and_the_svid_stays() {
    let Some(scene) = scene().await else { return };
    // As the original leaves them: server-made IDs, the selectors in its order.
    scene
        .make([
            node_entry(ROOT, "node-1", "k8s_psat:agent_node_name:node-1"),
            entry(&format!("{ROOT}/node-1"), "/ns/apps/sa/default", &POD),
        ])
        .await;
    let before = scene.svids(1).await.remove(0);
    let entries = scene.all().await;
    let watched = scene.watch(Some(before.clone()));
    let registrar = scene.registrar("drift_interval = \"1s\"").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    watched.saw_no_gap().await;
    assert_eq!(
        scene.svids(1).await,
        [before],
        "the same certificate, serial number included"
    );
    let after = scene.all().await;
    let kept: Vec<&Entry> = after
        .iter()
        .filter(|a| entries.iter().any(|e| e.id == a.id))
        .collect();
    assert_eq!(
        kept,
        entries.iter().collect::<Vec<_>>(),
        "no field and no revision changed"
    );
    let web = |e: &&Entry| e.selectors.iter().any(|s| s.value == "pod-name:web");
    assert_eq!(
        after.iter().filter(web).count(),
        1,
        "and none was made beside it"
    );
    drop(registrar);
}

#[tokio::test]
async fn from_webhook_mode_to_reconcile_mode_without_a_gap() {
    let Some(scene) = scene().await else { return };
    scene
        .make([
            node_entry(WEBHOOK, "", ""),
            entry(WEBHOOK, "/ns/apps/sa/default", &POD),
            // A pod that the original never saw go.
            entry(
                WEBHOOK,
                "/ns/apps/sa/default",
                &["k8s:ns:apps", "k8s:pod-name:gone"],
            ),
            entry(WEBHOOK, "/by/hand", &["k8s:container-name:x"]),
        ])
        .await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(Some(old.clone()));
    let mut registrar = scene.registrar("").await;
    let both = scene.svids(2).await;
    watched.saw_no_gap().await;
    registrar.process.kill();

    // While a pod has no entry of ours, nothing goes, not even with -apply.
    scene
        .p
        .cluster
        .pod(&PodSpec::new("apps", "new"))
        .await
        .expect("pod");
    scene
        .make([entry(
            WEBHOOK,
            "/ns/apps/sa/default",
            &["k8s:ns:apps", "k8s:pod-name:new"],
        )])
        .await;
    let before = scene.all().await;
    let (output, text) = retire(registrar.config(), WEBHOOK, &["-apply"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("REFUSED") && text.contains("pod apps/new"),
        "{text}"
    );
    assert_eq!(scene.all().await, before);

    registrar.process.start_again().expect("started");
    registrar.ready().await;
    let (output, text) = retire(registrar.config(), WEBHOOK, &[]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("nothing was removed; add -apply"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    let new = both.into_iter().find(|s| *s != old).expect("a second one");
    let watched = scene.watch(Some(new.clone()));
    let (output, text) = retire(registrar.config(), WEBHOOK, &["-apply"]);
    assert!(
        output.status.success() && text.contains("removed 3 entries"),
        "{text}"
    );
    assert_eq!(
        scene.svids(1).await,
        [new],
        "the old one is gone, ours is the same"
    );
    watched.saw_no_gap().await;
    let left = scene.p.entries.under(WEBHOOK).await.expect("listed");
    let left: Vec<String> = left.iter().map(registrar_tests::entries::line).collect();
    assert_eq!(
        left.len(),
        2,
        "an operator's entry stays, and the node's under it: {left:#?}"
    );
}

#[tokio::test]
async fn from_entries_directly_under_agents_without_a_gap() {
    let Some(scene) = scene().await else { return };
    // As spire-controller-manager writes them, with an ID prefix.
    let parent = format!("/spire/agent/k8s_psat/demo/{}", scene.node_uid);
    let selector = format!("k8s:pod-uid:{}", scene.pod_uid);
    let made = Entry {
        id: "scm.3f0c6f9e-6f6a-4f2e-9d55-0d5a7bb1a1d3".into(),
        ..entry(&parent, "/ns/apps/sa/default", &[&selector])
    };
    scene.make([made]).await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(Some(old.clone()));
    let registrar = scene.registrar("").await;
    let both = scene.svids(2).await;
    watched.saw_no_gap().await;
    let new = both.into_iter().find(|s| *s != old).expect("a second one");
    let watched = scene.watch(Some(new.clone()));
    let root = "/spire/agent/k8s_psat/demo";
    let (output, text) = retire(registrar.config(), root, &["-apply"]);
    assert!(
        output.status.success() && text.contains("removed 1 entries"),
        "{text}"
    );
    assert_eq!(scene.svids(1).await, [new]);
    watched.saw_no_gap().await;
}
