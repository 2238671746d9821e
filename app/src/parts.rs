//! What the loop of every mode has around it: probes, the way to the API server, watches, Events, counts of requests.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use registrar_adapters::{
    admission::Outcome,
    config::Common,
    kubernetes::{self, Client, Control, EventPublisher, KubeSettings, Watched, watch_control},
    telemetry::{self, Health, Metrics, metrics::OutcomeLabel},
};
use registrar_core::{policy::Policy, sync::Reconciler};
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Watch events on their way to the loop; a slow loop slows the watches down, not the memory up.
const WATCH_QUEUE: usize = 1024;

/// Serves metrics and probes, where the configuration wants them.
pub async fn serve_probes(
    common: &Common,
    metrics: &Metrics,
    health: &Health,
) -> anyhow::Result<()> {
    if let Some(address) = &common.metrics_addr {
        let (bound, serving) = telemetry::serve(address, metrics.clone(), health.clone()).await?;
        info!(address = %bound, "Serving metrics and probes");
        tokio::spawn(serving);
    }
    Ok(())
}

/// How the API server is found; the command line goes before the file.
pub fn kube_settings(common: &Common, kubeconfig: Option<&PathBuf>) -> KubeSettings {
    KubeSettings {
        kubeconfig: kubeconfig
            .cloned()
            .or_else(|| common.kubeconfig.as_ref().map(PathBuf::from)),
        context: common.kube_context.clone(),
        namespace: common.namespace.clone(),
    }
}

/// What is heard of the cluster.
pub struct Heard {
    /// Objects.
    pub watched: mpsc::Receiver<Watched>,
    /// The control ConfigMap.
    pub control: mpsc::Receiver<Control>,
}

impl Heard {
    /// Everything that the policy wants to know.
    pub fn by_watching(client: &Client, policy: &Policy, namespace: &str) -> Self {
        let (sender, watched) = mpsc::channel(WATCH_QUEUE);
        let wanted = Arc::new(policy.wanted_metadata());
        for kind in Reconciler::kinds(policy) {
            let (client, wanted, sender) = (client.clone(), wanted.clone(), sender.clone());
            tokio::spawn(kubernetes::watch(client, kind, wanted, sender));
        }
        let (sender, control) = mpsc::channel(4);
        let watching = watch_control(client.clone(), namespace.to_owned(), sender, |why| {
            warn!(reason = why, "The control ConfigMap cannot be read");
        });
        tokio::spawn(watching);
        Self { watched, control }
    }

    /// Nothing, ever.
    pub fn nothing() -> Self {
        Self {
            watched: mpsc::channel(1).1,
            control: mpsc::channel(1).1,
        }
    }
}

/// Publishes Events.
pub fn publisher(client: &Client) -> EventPublisher {
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| "k8s-workload-registrar".into());
    let (events, publishing) = EventPublisher::new(client.clone(), instance, |why| {
        warn!(reason = why, "No Event");
    });
    tokio::spawn(publishing);
    events
}

/// Counts the requests to a webhook.
pub fn counted(metrics: Metrics) -> impl Fn(Outcome, Duration) + Send + Sync + 'static {
    move |outcome, took| {
        let outcome = outcome_word(outcome);
        let label = OutcomeLabel { outcome };
        metrics.admission_requests.get_or_create(&label).inc();
        metrics.admission_seconds.observe(took.as_secs_f64());
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
    }
}

/// How many objects one step looks at: some 25 us each, so that probes and the lease do not wait long for their turn.
const LOOKS_A_STEP: usize = 1000;

/// The step machine of this process.
pub fn machine(policy: Policy) -> Reconciler {
    Reconciler::new(policy, nonce()).in_slices(LOOKS_A_STEP)
}

/// A number that no other process of ours had.
pub fn nonce() -> u64 {
    // The standard library's hash keys are random, and new in every process.
    RandomState::new().hash_one(std::process::id())
}
