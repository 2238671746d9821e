//! `run`: from the configuration to a running mode.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use registrar_adapters::{
    config::{Common, Config, LogFormat, LogLevel, Mode},
    kubernetes::{self, KubeApi, ServiceName, SpiffeIds},
    spire::MayBegin,
    telemetry::{self, Format, Health, LogFile, LogSettings, Metrics},
};
use registrar_core::policy::Policy;
use tokio::runtime::{Builder, Runtime};
use tracing::{info, level_filters::LevelFilter};

use crate::{
    cli::RunArgs,
    command::configuration,
    driver::Driver,
    election::Candidacy,
    parts::{self, Heard},
    report::Reporter,
    server::server,
    signals::Signals,
    spiffe_id_webhook::SpiffeIdWebhook,
    webhook,
};

/// Threads beside the loop's that answer reviews, at most: each has memory of its own, and on a large machine there would be one
/// for every core.
const ANSWERING: usize = 4;

/// Reads the configuration and runs its mode until SIGTERM.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let config = configuration(&args.config)?;
    let log_file = install_log(&config.common)?;
    let runtime = runtime(&config.mode)?;
    runtime.block_on(run_mode(config, args, log_file))
}

/// Where nobody waits for a review one thread does everything: each further one has memory of its own.
fn runtime(mode: &Mode) -> std::io::Result<Runtime> {
    match mode {
        Mode::Reconcile(_) => Builder::new_current_thread(),
        Mode::Crd(crd) if !crd.webhook_enabled => Builder::new_current_thread(),
        Mode::Crd(_) | Mode::Webhook(_) => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(cores.clamp(2, ANSWERING));
            builder
        }
    }
    .enable_all()
    .build()
}

fn install_log(common: &Common) -> anyhow::Result<Option<LogFile>> {
    let file = match &common.log_path {
        Some(path) => Some(
            LogFile::open(path).with_context(|| format!("log_path {path:?} cannot be written"))?,
        ),
        None => None,
    };
    let subscriber = telemetry::log::subscriber(LogSettings {
        level: match common.log_level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        },
        format: match common.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        },
        file: file.clone(),
    });
    tracing::subscriber::set_global_default(subscriber).context("a logger is installed already")?;
    Ok(file)
}

async fn run_mode(config: Config, args: &RunArgs, log_file: Option<LogFile>) -> anyhow::Result<()> {
    if let Mode::Webhook(mode) = config.mode {
        return webhook::run(*mode, &config.common, args.kubeconfig.clone(), log_file).await;
    }
    reconcile(
        config.mode,
        &config.common,
        args.kubeconfig.clone(),
        log_file,
    )
    .await
}

/// What the mode means to the rules and the step machine; `namespace` is our own.
fn policy(mode: Mode, common: &Common, namespace: &str) -> anyhow::Result<Policy> {
    match mode {
        Mode::Reconcile(reconcile) => Ok(reconcile.policy),
        Mode::Crd(crd) => crd
            .policy(common, namespace)
            .context("trust_domain and cluster cannot be part of SPIFFE IDs"),
        Mode::Webhook(webhook) => Ok(webhook.policy),
    }
}

/// The Lease on which replicas elect the one that writes: the original's.
fn lease_name(mode: &Mode) -> String {
    match mode {
        Mode::Reconcile(reconcile) => format!("{}-leader-election", reconcile.controller_name),
        Mode::Webhook(_) | Mode::Crd(_) => "spire-k8s-registrar-leader-election".to_owned(),
    }
}

/// Everything of the modes that watch the cluster.
async fn reconcile(
    mode: Mode,
    common: &Common,
    kubeconfig: Option<PathBuf>,
    log_file: Option<LogFile>,
) -> anyhow::Result<()> {
    let signals = Signals::new().context("signals cannot be listened to")?;
    let metrics = Metrics::new();
    let health = Health::default();
    parts::serve_probes(common, &metrics, &health).await?;
    let settings = parts::kube_settings(common, kubeconfig.as_ref());
    let (client, namespace) = kubernetes::connect(&settings).await?;
    let lease = lease_name(&mode);
    let reviewed = match &mode {
        Mode::Crd(crd) if crd.webhook_enabled => Some(crd.clone()),
        _ => None,
    };
    let policy = policy(mode, common, &namespace)?;
    let candidacy = Candidacy::of(common, &settings, &namespace, &lease, metrics.clone()).await?;
    let fence = candidacy.fence();
    let may_begin: MayBegin = Arc::new(move || fence.is_open());
    let spire = server(common, may_begin.clone());
    let kube: Option<Arc<dyn KubeApi>> = match policy.spiffe_ids {
        Some(_) => Some(Arc::new(SpiffeIds::new(client.clone(), may_begin))),
        None => None,
    };
    let webhook = match reviewed {
        Some(crd) => {
            let webhook = SpiffeIdWebhook {
                policy: policy.clone(),
                port: crd.webhook_port,
                cert_dir: crd.webhook_cert_dir.into(),
                service: ServiceName {
                    namespace: namespace.clone(),
                    name: crd.webhook_service_name,
                },
                // Every replica answers reviews, so this client does not ask whether we lead.
                spire: server(common, Arc::new(|| true)),
                client: client.clone(),
                metrics: metrics.clone(),
            };
            Some(webhook.begin(health.clone()).await?)
        }
        None => None,
    };
    let events = parts::publisher(&client);
    let heard = Heard::by_watching(&client, &policy, &namespace);

    info!(root = %policy.root, server = %common.server_address, dry_run = policy.dry_run, "Reconciling");
    let driver = Driver {
        machine: parts::machine(policy),
        server: spire,
        kube,
        watched: heard.watched,
        control: heard.control,
        candidacy,
        intake: None,
        signals,
        reporter: Reporter::new(metrics.clone(), events, namespace),
        metrics,
        health,
        log_file,
    };
    let ended = driver.run().await;
    if let Some(webhook) = webhook {
        webhook.end().await;
    }
    ended
}
