//! Webhook mode: reviews of pods over HTTPS, and the sweep beside them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use registrar_adapters::{
    admission::{
        CertificateFiles, Endpoints, Limits, News, PodValidator,
        pod::{PATH, Told},
        serve,
    },
    config::{self, Common},
    kubernetes::{self, ClientError, EventPublisher, KubeSettings, bars_from_pods},
    listen::listen,
    spire::{Deadlines, MayBegin, SpireClient, SpireServer},
    telemetry::{Health, LogFile, Metrics},
};
use registrar_core::{
    admission::Response,
    policy::Policy,
    ports::{Failure, SpireCall, SpireReply},
    spiffe::TrustDomain,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::{
    driver::Driver,
    election::Candidacy,
    intake::{Intake, LookUps},
    parts::{self, Heard},
    report::Reporter,
    server::wire,
    signals::Signals,
};

/// Reviews on their way to the loop.
const REVIEW_QUEUE: usize = 1024;
/// How long the API server may take to say whether we may read pods, before it is taken for granted.
const RIGHTS_WITHIN: Duration = Duration::from_secs(10);

/// Everything of webhook mode.
pub async fn run(
    mode: config::Webhook,
    common: &Common,
    kubeconfig: Option<PathBuf>,
    log_file: Option<LogFile>,
) -> anyhow::Result<()> {
    let signals = Signals::new().context("signals cannot be listened to")?;
    let metrics = Metrics::new();
    let health = Health::default();
    parts::serve_probes(common, &metrics, &health).await?;
    let front = Front::prepare(&mode).await?;
    let settings = parts::kube_settings(common, kubeconfig.as_ref());
    let sweep = Sweep::find(mode.sweep, &settings).await?;
    let mut policy = mode.policy;
    policy.pods.watched = sweep.is_some();
    let candidacy = match &sweep {
        Some(sweep) => {
            let lease = "k8s-workload-registrar-webhook-leader-election";
            let metrics = metrics.clone();
            Candidacy::of(common, &settings, &sweep.namespace, lease, metrics).await?
        }
        None => Candidacy::unopposed(),
    };
    let fence = candidacy.fence();
    let wire = wire(common);
    let client =
        |may_begin: MayBegin| SpireClient::new(wire.clone(), Deadlines::default(), may_begin);
    let server = Arc::new(Shared {
        reviews: client(Arc::new(|| true)),
        sweep: client(Arc::new(move || fence.is_open())),
    });
    let (heard, events, namespace) = match &sweep {
        Some(Sweep { client, namespace }) => (
            Heard::by_watching(client, &policy, namespace),
            parts::publisher(client),
            namespace.clone(),
        ),
        None => (Heard::nothing(), EventPublisher::silent(), String::new()),
    };
    let client = sweep.map(|s| s.client);
    let intake = front.open(
        &policy,
        metrics.clone(),
        LookUps::new(client, Arc::new(policy.wanted_metadata())),
    );
    info!(root = %policy.root, server = %common.server_address, dry_run = policy.dry_run, "Answering reviews");
    let driver = Driver {
        machine: parts::machine(policy),
        server,
        kube: None,
        watched: heard.watched,
        control: heard.control,
        candidacy,
        intake: Some(intake),
        signals,
        reporter: Reporter::new(metrics.clone(), events, namespace),
        metrics,
        health,
        log_file,
    };
    driver.run().await
}

/// What the sweep needs.
struct Sweep {
    client: kubernetes::Client,
    namespace: String,
}

impl Sweep {
    /// Finds out whether there can be a sweep, and says what it found.
    async fn find(wanted: bool, settings: &KubeSettings) -> anyhow::Result<Option<Self>> {
        if !wanted {
            info!("Sweep off, as configured: entries come and go with reviews alone");
            return Ok(None);
        }
        let (client, namespace) = match kubernetes::connect(settings).await {
            Ok(found) => found,
            Err(ClientError::Nowhere(why)) => {
                warn!(
                    reason = why,
                    "Sweep off: no API server is known; entries come and go with reviews alone"
                );
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let begun = tokio::time::Instant::now();
        loop {
            match bars_from_pods(&client).await {
                Ok(None) => {
                    info!("Sweep on: the API server lets us read pods");
                    return Ok(Some(Self { client, namespace }));
                }
                Ok(Some(why)) => {
                    warn!(
                        reason = why,
                        "Sweep off: entries come and go with reviews alone"
                    );
                    return Ok(None);
                }
                Err(why) if begun.elapsed() > RIGHTS_WITHIN => {
                    warn!(
                        reason = why,
                        "Sweep on: the API server does not say whether we may read pods"
                    );
                    return Ok(Some(Self { client, namespace }));
                }
                Err(why) => {
                    debug!(reason = why, "Asking the API server for our rights");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
}

/// The server, as far as it can fail before it serves.
struct Front {
    listener: tokio::net::TcpListener,
    tls: registrar_adapters::admission::Tls,
}

impl Front {
    async fn prepare(mode: &config::Webhook) -> anyhow::Result<Self> {
        let skip = mode.insecure_skip_client_verification;
        let files = CertificateFiles {
            certificate: (&mode.cert_path).into(),
            key: (&mode.key_path).into(),
            ca: (!skip).then(|| (&mode.cacert_path).into()),
        };
        let (tls, watching) = files.load(tell_of_certificates).await?;
        let (listener, bound) = listen("addr", &mode.addr, "")
            .await
            .context("unable to listen")?;
        tokio::spawn(watching);
        if skip {
            warn!(
                "insecure_skip_client_verification is set: whoever reaches the webhook can make entries; \
                 give the API server a client certificate instead (generate-config makes one)"
            );
        }
        info!(addr = %bound, skip_client_verification = skip, "Serving HTTPS");
        Ok(Self { listener, tls })
    }

    fn open(self, policy: &Policy, metrics: Metrics, look_ups: LookUps) -> Intake {
        let (asked_sender, asked) = mpsc::channel(REVIEW_QUEUE);
        let validator = PodValidator::new(policy.clone(), tell_of_review, asked_sender);
        let endpoints = Endpoints::new().at(PATH, Arc::new(validator));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // A sender that is gone asks, too.
            let _ = stopped.await;
        };
        let serving = serve(
            self.listener,
            self.tls,
            endpoints,
            Limits::default(),
            parts::counted(metrics),
            stopped,
        );
        Intake::new(asked, stop, tokio::spawn(serving), look_ups)
    }
}

fn tell_of_certificates(news: News) {
    match news {
        News::Exchanged => info!("Certificates exchanged"),
        News::Kept(why) => {
            error!(reason = %why, "New certificates cannot be used; the old ones stay in use")
        }
    }
}

fn tell_of_review(told: Told<'_>) {
    let Told {
        namespace,
        name,
        operation,
        response,
    } = told;
    match response {
        Response::Nothing => debug!(namespace, name, operation, "Nothing to do"),
        Response::DryRun => debug!(namespace, name, operation, "Dry run: nothing is written"),
        Response::Skipped(reason) => debug!(namespace, name, operation, %reason, "No entry"),
        Response::Held(problem) => {
            warn!(namespace, name, operation, reason = problem.word(), %problem, "No entry");
        }
        Response::Unhandled(text) => warn!(namespace, name, operation, "{text}"),
        Response::Failed(why) => {
            warn!(namespace, name, operation, reason = %why, "A review is answered with a failure");
        }
    }
}

/// One server, two rules: what reviews ask for may be written by every replica, deletes only by the one that leads.
struct Shared {
    reviews: SpireClient,
    sweep: SpireClient,
}

#[async_trait]
impl SpireServer for Shared {
    async fn perform(&self, call: SpireCall) -> SpireReply {
        match call {
            SpireCall::Delete { .. } => self.sweep.perform(call).await,
            _ => self.reviews.perform(call).await,
        }
    }

    async fn trust_domain(&self) -> Result<TrustDomain, Failure> {
        self.reviews.trust_domain().await
    }
}
