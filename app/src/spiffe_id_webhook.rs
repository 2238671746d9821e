//! The validating webhook of crd mode: its certificate from SPIRE, the CA bundle at the API server, the server itself.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;
use async_trait::async_trait;
use registrar_adapters::{
    admission::{
        self, CertificateFiles, Endpoints, Issued, Issuer, Limits, LookUps, Named, News, Refused,
        SpiffeIdValidator, Tls, Try, issued, spiffe_id,
    },
    kubernetes::{self, Published, ServiceName, publish_ca_bundle},
    listen::listen,
    spire::{SpireClient, SpireServer},
    telemetry::{Health, Metrics},
};
use registrar_core::{
    entry::{Entry, EntryId, RegisteredEntry},
    policy::Policy,
    ports::{SpireAnswer, SpireCall},
    spiffe::SpiffeId,
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tracing::{error, info, warn};

use crate::parts::counted;

/// What readiness waits for.
const NO_CERTIFICATE: &str = "the webhook has no certificate from SPIRE yet";
/// Between two tries to learn who we are.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the webhook is made of.
pub struct SpiffeIdWebhook {
    /// Of crd mode.
    pub policy: Policy,
    /// Key `webhook_port`
    pub port: u16,
    /// Key `webhook_cert_dir`
    pub cert_dir: PathBuf,
    /// Our namespace, and key `webhook_service_name`
    pub service: ServiceName,
    /// The SPIRE Server.
    pub spire: Arc<SpireClient>,
    /// The API server.
    pub client: kubernetes::Client,
    /// Where requests are counted.
    pub metrics: Metrics,
}

/// A webhook that is served.
pub struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Answers what is under way, and ends.
    pub async fn end(self) {
        // A receiver that is gone has ended.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

impl SpiffeIdWebhook {
    /// Listens, and serves in the background as soon as there is a certificate.
    ///
    /// # Errors
    /// If the port is taken, or the certificate in a read-only `webhook_cert_dir` cannot be used.
    pub async fn begin(self, health: Health) -> anyhow::Result<Serving> {
        let address = format!(":{}", self.port);
        let (listener, bound) = listen("webhook_port", &address, "").await?;
        info!(address = %bound, path = spiffe_id::PATH, "Listening for reviews of SpiffeIDs");
        let mut tasks = JoinSet::new();
        let given = if is_read_only(&self.cert_dir) {
            let dir = self.cert_dir.display();
            warn!(%dir, "webhook_cert_dir is on a read-only file system: its certificate is used, not one from SPIRE");
            let (tls, watching) = self.given_certificate().await?;
            tasks.spawn(watching);
            Some(tls)
        } else {
            health.awaits(NO_CERTIFICATE);
            None
        };
        let named = self.named()?;
        let (stop, stopped) = oneshot::channel();
        let serving = async move {
            let stopped = async {
                // A sender that is gone asks, too.
                let _ = stopped.await;
            };
            if let Err(error) = self
                .serve(listener, given, named, health, tasks, stopped)
                .await
            {
                error!(%error, "The webhook of SpiffeIDs ended");
            }
        };
        let task = tokio::spawn(serving);
        Ok(Serving { stop, task })
    }

    async fn serve(
        self,
        listener: TcpListener,
        given: Option<Tls>,
        named: Named,
        health: Health,
        mut tasks: JoinSet<()>,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let server = Arc::new(Server::new(self.spire.clone(), self.client.clone()));
        tasks.spawn(server.clone().learn_our_name());
        let mut stopped = Box::pin(stopped);
        let tls = match given {
            Some(tls) => tls,
            None => {
                let (tls, renewing) = tokio::select! {
                    () = &mut stopped => return Ok(()),
                    issued = issued(server.clone(), named, tell_try) => issued,
                };
                tasks.spawn(renewing);
                tasks.spawn(self.publish_bundle());
                health.came(NO_CERTIFICATE);
                tls
            }
        };
        let validator = SpiffeIdValidator::new(self.policy, server, tell_refused);
        let endpoints = Endpoints::new().at(spiffe_id::PATH, Arc::new(validator));
        // The tasks end with the server: the set that holds them is dropped.
        admission::serve(
            listener,
            tls,
            endpoints,
            Limits::default(),
            counted(self.metrics),
            stopped,
        )
        .await
    }

    fn named(&self) -> anyhow::Result<Named> {
        let path = format!("/k8s-workload-registrar/{}/webhook", self.policy.cluster);
        let id = SpiffeId::new(self.policy.trust_domain.clone(), path)
            .context("the webhook's SPIFFE ID cannot be made; shorten cluster or trust_domain")?;
        let ServiceName { namespace, name } = &self.service;
        let dns_name = format!("{name}.{namespace}.svc");
        Ok(Named { id, dns_name })
    }

    async fn given_certificate(
        &self,
    ) -> anyhow::Result<(Tls, impl Future<Output = ()> + Send + use<>)> {
        let files = CertificateFiles {
            certificate: self.cert_dir.join("tls.crt"),
            key: self.cert_dir.join("tls.key"),
            ca: None,
        };
        let loaded = files.load(|news| match news {
            News::Exchanged => info!("Webhook certificate exchanged"),
            News::Kept(error) => warn!(%error, "The new webhook certificate cannot be used"),
        });
        loaded.await.with_context(|| {
            format!(
                "webhook_cert_dir {:?} is on a read-only file system and cannot be used; put tls.crt and tls.key there, \
                 or name a writable folder: then the certificate comes from SPIRE",
                self.cert_dir
            )
        })
    }

    fn publish_bundle(&self) -> impl Future<Output = ()> + Send + use<> {
        let spire = self.spire.clone();
        let authorities = move || {
            let spire = spire.clone();
            async move {
                let answer = spire.x509_authorities().await;
                answer.map_err(|failure| failure.message.to_string())
            }
        };
        let (client, service) = (self.client.clone(), self.service.clone());
        publish_ca_bundle(client, service, authorities, |published| match published {
            Published::Changed(names) => {
                let names = names.join(",");
                info!(configurations = names, "Wrote the CA bundle of the webhook");
            }
            Published::Failed(why) => warn!(reason = why, "No CA bundle for the webhook yet"),
        })
    }
}

fn tell_try(tried: Try) {
    match tried {
        Try::Issued { expires_at } => {
            let expires = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
            info!(
                expires_at = expires.as_secs(),
                "Minted the X509-SVID of the webhook"
            );
        }
        Try::Failed(why) => warn!(reason = why, "No new X509-SVID for the webhook"),
    }
}

fn tell_refused(refused: Refused<'_>) {
    let Refused {
        namespace,
        name,
        user,
        why,
    } = refused;
    info!(namespace, name, user, reason = why, "Refused a SpiffeID");
}

/// Whether files in `dir` are given to us, and cannot be ours.
fn is_read_only(dir: &Path) -> bool {
    let probe = dir.join(".k8s-workload-registrar");
    match std::fs::File::create(&probe) {
        Ok(_) => {
            // What cannot be removed is an empty file.
            let _ = std::fs::remove_file(&probe);
            false
        }
        Err(error) => error.kind() == ErrorKind::ReadOnlyFilesystem,
    }
}

/// SPIRE Server and API server, as the webhook asks them.
struct Server {
    spire: Arc<SpireClient>,
    client: kubernetes::Client,
    own_user: OnceLock<String>,
}

impl Server {
    fn new(spire: Arc<SpireClient>, client: kubernetes::Client) -> Self {
        Self {
            spire,
            client,
            own_user: OnceLock::new(),
        }
    }

    async fn learn_our_name(self: Arc<Self>) {
        loop {
            match kubernetes::own_user(&self.client).await {
                Ok(user) => {
                    info!(user, "Our own SpiffeIDs are not reviewed");
                    let _ = self.own_user.set(user);
                    return;
                }
                Err(why) => warn!(reason = why, "The API server does not say who we are"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

#[async_trait]
impl Issuer for Server {
    async fn issue(&self, request: Vec<u8>) -> Result<Issued, String> {
        let minted = self.spire.mint_x509_svid(request).await;
        let minted = minted.map_err(|failure| failure.message.to_string())?;
        let seconds = u64::try_from(minted.expires_at).unwrap_or_default();
        Ok(Issued {
            chain: minted.chain,
            expires_at: UNIX_EPOCH + Duration::from_secs(seconds),
        })
    }
}

#[async_trait]
impl LookUps for Server {
    async fn similar(&self, entry: &Entry) -> Result<Vec<RegisteredEntry>, String> {
        let call = SpireCall::Find {
            parent: entry.parent_id.clone(),
            selectors: entry.selectors.clone(),
        };
        match self.spire.perform(call).await {
            Ok(SpireAnswer::Page { entries, .. }) => Ok(entries),
            Ok(_) => Err("the answer is to another question".into()),
            Err(failure) => Err(failure.message.to_string()),
        }
    }

    async fn is_named(&self, namespace: &str, entry: &EntryId) -> Result<bool, String> {
        kubernetes::is_named(&self.client, namespace, entry).await
    }

    fn own_user(&self) -> Option<String> {
        self.own_user.get().cloned()
    }
}
