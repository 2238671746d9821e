//! Webhook mode, on an API server that asks it with its client certificate.

mod bad_start;
mod certificates;
mod drain;
mod outages;
mod replicas;
mod reviews;
mod sweep;
mod unwatched;

use std::time::Duration;

use registrar_tests::{
    Cluster, ControlPlane, Entries, Foreign, PodSpec, Registrar, dynamic,
    entries::{Entry, line},
    eventually,
    wait::eventually_within,
    webhook::Webhook,
};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Above the minute that an orphan's entry stays.
const ORPHAN_CEILING: Duration = Duration::from_secs(180);
const CLUSTER: &str = "webhook";
/// The registrar's own namespace, and the rights that it is shipped with.
const OWN: &str = "spire";
const RBAC: &str = include_str!("../../../deploy/base/webhook/rbac.yaml");
pub const ROOT: &str = "/k8s-workload-registrar/webhook/node";

/// Tests share a control plane and a registrar that nobody stops; each has a namespace of its own.
static AT_ONCE: Semaphore = Semaphore::const_new(8);

struct Shared {
    plane: ControlPlane,
    registrar: Registrar,
    _webhook: Webhook,
}

/// What a test works on.
pub struct Bench {
    _foreign: Foreign,
    pub cluster: Cluster,
    pub entries: Entries,
    pub registrar: &'static Registrar,
    pub name: &'static str,
    _turn: SemaphorePermit<'static>,
}

/// The shared control plane, with failurePolicy Fail and a namespace of this name.
pub async fn shared(name: &'static str) -> Bench {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    let turn = AT_ONCE.acquire().await.expect("never closed");
    let shared = SHARED
        .get_or_init(async || {
            let webhook = Webhook::generate("fail").expect("generated");
            let plane = ControlPlane::start(webhook.options())
                .await
                .expect("starts");
            let cluster = plane.cluster().await.expect("a client");
            cluster.namespace(OWN).await.expect("a namespace");
            let applied = dynamic::apply_yaml(&cluster.client(), RBAC).await;
            applied.expect("the role");
            let token = cluster
                .token(OWN, "k8s-workload-registrar", None, None)
                .await;
            let kubeconfig = plane.kubeconfig_for("webhook", &token.expect("a token"));
            let extra = format!(
                "{}namespace = \"{OWN}\"\ndrift_interval = \"3s\"\n",
                webhook.config()
            );
            let mut registrar = Registrar::start_with(
                &plane,
                &kubeconfig.expect("written"),
                &plane.spire_socket(),
                CLUSTER,
                &extra,
            )
            .expect("starts");
            registrar.ready().await;
            webhook.install(&cluster).await.expect("installed");
            asked(&cluster, &plane.entries().expect("the server's entries")).await;
            Shared {
                plane,
                registrar,
                _webhook: webhook,
            }
        })
        .await;
    let cluster = shared.plane.cluster().await.expect("a client");
    cluster.namespace(name).await.expect("a namespace");
    let foreign = Foreign::plant(&shared.plane, &[CLUSTER], name).await;
    Bench {
        _foreign: foreign.expect("entries of others"),
        cluster,
        entries: shared.plane.entries().expect("the server's entries"),
        registrar: &shared.registrar,
        name,
        _turn: turn,
    }
}

/// Waits until the API server asks the webhook: it learns of a new configuration a moment later.
pub async fn asked(cluster: &Cluster, entries: &Entries) {
    cluster.namespace("asked").await.expect("a namespace");
    let mut count = 0;
    eventually("the API server asks the webhook", async || {
        count += 1;
        let name = format!("probe-{count}");
        let made = cluster.pod(&unbound("asked", &name)).await;
        made.map_err(|e| format!("{e:#}"))?;
        let found = lines(entries, "asked").await?;
        match found.contains(&right("asked", &name)) {
            true => Ok(()),
            false => Err("not registered".to_owned()),
        }
    })
    .await;
}

impl Bench {
    /// The entries of this test's namespace, under the root, as lines.
    pub async fn lines(&self) -> Result<Vec<String>, String> {
        lines(&self.entries, self.name).await
    }

    pub fn right(&self, pod: &str) -> String {
        right(self.name, pod)
    }
}

pub async fn entries_of(entries: &Entries, namespace: &str) -> Result<Vec<Entry>, String> {
    let selector = format!("k8s:ns:{namespace}");
    let found = entries.selecting(ROOT, &[&selector]).await;
    found.map_err(|e| e.to_string())
}

pub async fn lines(entries: &Entries, namespace: &str) -> Result<Vec<String>, String> {
    let mut lines: Vec<String> = entries_of(entries, namespace)
        .await?
        .iter()
        .map(line)
        .collect();
    lines.sort();
    Ok(lines)
}

/// The entry of a pod of service account `default`.
pub fn right(namespace: &str, pod: &str) -> String {
    format!("/ns/{namespace}/sa/default <- {ROOT} [k8s:ns:{namespace} k8s:pod-name:{pod}]")
}

/// Waits until the entries of a namespace are exactly these.
pub async fn settles(entries: &Entries, namespace: &str, wanted: &[String]) {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    eventually_within(
        ORPHAN_CEILING,
        &format!("the entries are {wanted:#?}"),
        async || match lines(entries, namespace).await? {
            found if found == wanted => Ok(()),
            found => Err(found.join("\n")),
        },
    )
    .await;
}

pub fn unbound(namespace: &str, name: &str) -> PodSpec {
    PodSpec::new(namespace, name).node(None)
}
