//! Taking over from others, with a real agent and a workload that must never be without its SVID: the original registrar
//! in its modes, another root of our own, and a controller that parents entries directly at agents.

mod another;
mod changes;
mod takeover;

use std::{
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{
    Options, PodSpec, Registrar, SpiffeIds,
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
const CRD: &str = "mode = \"crd\"\nnamespace = \"spire\"\n";
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
    scene_with(Options::default()).await
}

async fn scene_with(options: Options) -> Option<Scene> {
    let p = private(options).await;
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

    /// The definition of SpiffeIDs and the registrar's own namespace.
    async fn spiffe_ids(&self) -> SpiffeIds {
        self.p
            .cluster
            .namespace("spire")
            .await
            .expect("a namespace");
        let ids = SpiffeIds::new(self.p.plane.client().await.expect("a client"));
        let installed = ids.install(CUSTOM_RESOURCE_DEFINITION).await;
        installed.expect("the definition");
        ids
    }

    /// Removes what is under `root`, with the configuration of `registrar`: the workload keeps exactly the SVID that is not
    /// `old`, and is never without.
    async fn retires(&self, registrar: &Registrar, root: &str, old: &Svid) -> Svid {
        let both = self.svids(2).await;
        let new = both.into_iter().find(|s| s != old).expect("a second one");
        let watched = self.watch(Some(new.clone()));
        let (output, text) = retire(registrar.config(), root, &["-apply"]);
        assert!(
            output.status.success() && text.contains("removed"),
            "{text}"
        );
        let left = self.svids(1).await;
        assert!(
            left.len() == 1 && left.contains(&new),
            "the same certificate stays: {left:#?}"
        );
        watched.saw_no_gap().await;
        let mut left = self.p.entries.under(root).await.expect("listed");
        // A node's entry stays while an entry of others hangs under it.
        let all = self.p.entries.with_planted().await.expect("listed");
        left.retain(|node| !all.iter().any(|e| e.parent_id == node.spiffe_id));
        assert_eq!(left, [] as [Entry; 0], "nothing is left under {root}");
        new
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
