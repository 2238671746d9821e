//! From another controller that parents entries directly at agents: side by side, scopes disjoint, then the hand-over.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use registrar_tests::{
    Entries,
    entries::{Entry, entry},
};
use tokio::task::JoinHandle;

use super::{Scene, retire, scene};
use crate::plan::command;

const AGENTS: &str = "/spire/agent/k8s_psat/demo";
/// What its `entryIDPrefix` makes of an ID.
const PREFIX: &str = "scm.";

/// Another controller as it works with an `entryIDPrefix`: of the entries of its prefix it deletes what it does not want and
/// makes what is missing, again and again; others it does not see.
struct Controller {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<(), String>>,
}

impl Controller {
    fn start(entries: Entries, wanted: Entry) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let said = |e: tonic::Status| e.to_string();
            while !stopped.load(Ordering::Relaxed) {
                let all = entries.all().await.map_err(said)?;
                let own: Vec<&Entry> = all.iter().filter(|e| e.id.starts_with(PREFIX)).collect();
                for other in own.iter().filter(|e| e.spiffe_id != wanted.spiffe_id) {
                    entries.delete(&other.id).await.map_err(|e| e.to_string())?;
                }
                if own.is_empty() {
                    entries
                        .create(wanted.clone())
                        .await
                        .map_err(|e| e.to_string())?;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        Self { stop, task }
    }

    async fn stopped(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task
            .await
            .expect("it ran")
            .expect("and nothing failed");
    }
}

/// The entry that it makes for the pod.
fn made(scene: &Scene, id: &str) -> Entry {
    let parent = format!("{AGENTS}/{}", scene.node_uid);
    let selector = format!("k8s:pod-uid:{}", scene.pod_uid);
    Entry {
        id: id.into(),
        hint: "internal".into(),
        x509_svid_ttl: 3600,
        ..entry(&parent, "/ns/apps/sa/default", &[&selector])
    }
}

/// Its resources and configuration, with the cluster's pods and nodes, as `kubectl get` prints them.
fn dump(scene: &Scene) -> String {
    let template = "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}";
    format!(
        "apiVersion: spire.spiffe.io/v1alpha1\nkind: ControllerManagerConfig\nclusterName: demo\ntrustDomain: example.org\n\
         entryIDPrefix: scm\n---\napiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterSPIFFEID\nmetadata: {{name: all}}\n\
         spec: {{spiffeIDTemplate: \"{template}\", hint: internal}}\n---\napiVersion: v1\nkind: Node\n\
         metadata: {{name: node-1, uid: {}}}\n---\napiVersion: v1\nkind: Pod\n\
         metadata: {{namespace: apps, name: web, uid: {}}}\nspec: {{nodeName: node-1, serviceAccountName: default}}\n",
        scene.node_uid, scene.pod_uid
    )
}

#[tokio::test]
async fn the_guides_steps_from_spire_controller_manager_leave_no_gap() {
    let Some(scene) = scene().await else { return };
    let its = made(&scene, "scm.3f0c6f9e-6f6a-4f2e-9d55-0d5a7bb1a1d3");
    let controller = Controller::start(scene.p.entries.clone(), its.clone());
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(None);

    // 1. What would change.
    let mut registrar = scene.registrar("dry_run = true").await;
    registrar.process.kill();
    let file = scene.p.plane.dir().join("scm.yaml");
    std::fs::write(&file, dump(&scene)).expect("written");
    let (file, config) = (
        file.display().to_string(),
        registrar.config().display().to_string(),
    );
    let output = command(&["plan", "-config", &config, "-from-scm", &file]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("1 pods keep their SPIFFE ID, 0 change it"),
        "{output:?}"
    );
    assert!(
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("both may run side by side"),
        "{text}"
    );

    // 2 and 3. Side by side: neither touches what is the other's.
    let registrar = scene.registrar("drift_interval = \"1s\"").await;
    let both = scene.svids(2).await;
    assert!(both.contains(&old), "its own stays as it is: {both:#?}");
    let all = scene.all().await;
    let theirs: Vec<&Entry> = all.iter().filter(|e| e.id.starts_with(PREFIX)).collect();
    assert_eq!(theirs.len(), 1, "{all:#?}");
    assert_eq!(
        (theirs[0].revision_number, &theirs[0].hint),
        (0, &its.hint),
        "untouched"
    );
    let ours = all.iter().filter(|e| e.id.starts_with("kwr-")).count();
    assert!(ours >= 2, "the node's and the pod's: {all:#?}");

    // 4. It stops; 5. what it left is removed.
    controller.stopped().await;
    scene.retires(&registrar, AGENTS, &old).await;
    watched.saw_no_gap().await;
    let after = scene.all().await;
    assert_eq!(
        after.iter().filter(|e| e.id.starts_with("kwr-")).count(),
        ours
    );
}

#[tokio::test]
async fn entries_that_it_made_without_a_prefix_are_handed_over_and_static_ones_stay() {
    let Some(scene) = scene().await else { return };
    // Without entryIDPrefix it is stopped first; its entries have the server's own IDs. One is a ClusterStaticEntry's.
    let parent = format!("{AGENTS}/{}", scene.node_uid);
    let by_hand = entry(&parent, "/static", &["unix:uid:4711"]);
    scene.make([made(&scene, ""), by_hand]).await;
    let old = scene.svids(1).await.remove(0);
    let watched = scene.watch(None);
    let registrar = scene.registrar("").await;
    let both = scene.svids(2).await;
    let new = both.into_iter().find(|s| *s != old).expect("a second one");
    let (output, text) = retire(registrar.config(), AGENTS, &["-apply"]);
    assert!(
        output.status.success() && text.contains("removed 1 entries"),
        "{text}"
    );
    assert_eq!(scene.svids(1).await, [new]);
    watched.saw_no_gap().await;
    let left = scene.p.entries.under(AGENTS).await.expect("listed");
    let left: Vec<String> = left.iter().map(registrar_tests::entries::line).collect();
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0].starts_with("/static"), "{left:#?}");
}
