//! In webhook mode: the API server's way to the registrars, as through a Service, and the files that both sides know each
//! other by.

use std::path::PathBuf;

use crate::{Cluster, Options, proxy::Proxy, webhook::Webhook};

/// The files of the registrars' side.
const FILES: [&str; 3] = ["server-cert.pem", "server-key.pem", "cacert.pem"];

/// What pods are reviewed by.
pub struct Reviews {
    webhook: Webhook,
    /// Bytes pass here, to whichever replica takes them.
    pub way: Proxy,
    whole: Vec<(PathBuf, String)>,
    /// Of an authority that nobody knows.
    strange: Vec<(PathBuf, String)>,
}

impl Reviews {
    /// Makes keys and certificates; nobody is asked yet.
    ///
    /// # Errors
    /// As the program says.
    pub async fn prepare() -> anyhow::Result<Self> {
        let way = Proxy::start(0).await?;
        // Pods are admitted whatever becomes of their reviews: churn goes on.
        let webhook = Webhook::generate_at("ignore", way.port())?;
        let stranger = Webhook::generate_at("ignore", way.port())?;
        let files = |from: &Webhook| -> anyhow::Result<Vec<(PathBuf, String)>> {
            let read = FILES.map(|file| -> anyhow::Result<(PathBuf, String)> {
                let text = std::fs::read_to_string(from.dir().join(file))?;
                Ok((webhook.dir().join(file), text))
            });
            read.into_iter().collect()
        };
        Ok(Self {
            whole: files(&webhook)?,
            strange: files(&stranger)?,
            webhook,
            way,
        })
    }

    /// What the API server is started with.
    pub fn options(&self) -> Options {
        Options {
            controller_manager: false,
            ..self.webhook.options()
        }
    }

    /// The lines of the configuration of a registrar that listens on this port.
    pub fn config_at(&self, port: u16) -> String {
        self.webhook.config_at(port)
    }

    /// Makes the API server ask the registrars on these ports.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn begin(&self, cluster: &Cluster, ports: &[u16]) -> anyhow::Result<()> {
        self.way.lead_to_any(ports);
        self.webhook.install(cluster).await
    }

    /// Swaps the files for those of a stranger.
    ///
    /// # Errors
    /// As the system says.
    pub fn swap(&self) -> anyhow::Result<()> {
        replace(&self.strange)
    }

    /// Leaves half of the certificate.
    ///
    /// # Errors
    /// As the system says.
    pub fn halve(&self) -> anyhow::Result<()> {
        let (path, text) = &self.whole[0];
        Ok(std::fs::write(path, &text[..text.len() / 2])?)
    }

    /// The right files again.
    ///
    /// # Errors
    /// As the system says.
    pub fn restore(&self) -> anyhow::Result<()> {
        replace(&self.whole)
    }
}

/// Whole new files take the places of the old ones.
fn replace(files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    for (path, text) in files {
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, path)?;
    }
    Ok(())
}
