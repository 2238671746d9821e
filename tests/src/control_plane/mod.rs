//! A real control plane: etcd, kube-apiserver, kube-controller-manager and spire-server on free ports in a fresh folder.

mod programs;
mod stores;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use programs::programs;
use programs::{
    spire_socket, start_api_server, start_controller_manager, start_etcd, start_spire_server,
};

use crate::{
    cluster::Cluster,
    entries::Entries,
    process::{Process, Scratch, free_port},
};

/// The trust domain of every server we start.
pub const TRUST_DOMAIN: &str = "example.org";
const ADMIN_TOKEN: &str = "admintoken";
const START_WITHIN: Duration = Duration::from_secs(90);

/// What a control plane is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clusters that agents may attest from (service account `spire:spire-agent`).
    pub psat_clusters: Vec<String>,
    /// Whether kube-controller-manager runs: service accounts, EndpointSlices, garbage collection.
    pub controller_manager: bool,
    /// Further flags of kube-apiserver.
    pub api_server_flags: Vec<String>,
    /// Further lines of spire-server's configuration, in its block `server`.
    pub spire_server: String,
    /// How often spire-server reads all its tables anew for its agents: soon, for tests; its own default is `5s`.
    pub spire_cache_reload: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            psat_clusters: vec!["demo".into()],
            controller_manager: true,
            api_server_flags: Vec::new(),
            spire_server: String::new(),
            spire_cache_reload: "1s",
        }
    }
}

/// A running control plane; everything ends and is removed when it is dropped, or when we end.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: programs before the folder they write to.
    /// The SPIRE Server.
    pub spire_server: Process,
    /// The controller manager, where there is one.
    pub controller_manager: Option<Process>,
    /// The API server.
    pub api_server: Process,
    /// etcd.
    pub etcd: Process,
    scratch: Scratch,
    api_port: u16,
    etcd_port: u16,
    spire_port: u16,
}

impl ControlPlane {
    /// Starts one; about 4 s.
    ///
    /// # Errors
    /// If a program does not start, with the end of its log.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let bin = programs()?;
        let scratch = Scratch::new()?;
        let dir = scratch.path().to_owned();
        let (etcd_port, peer_port, api_port) = (free_port()?, free_port()?, free_port()?);
        let etcd = start_etcd(&bin, &dir, etcd_port, peer_port)?;
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(dir.join("sa.key"), key.serialize_pem())?;
        std::fs::write(dir.join("sa.pub"), key.public_key_pem())?;
        std::fs::write(
            dir.join("tokens.csv"),
            format!("{ADMIN_TOKEN},admin,1,\"system:masters\"\n"),
        )?;
        let mut api_server = start_api_server(&bin, &dir, api_port, etcd_port, &options)?;
        std::fs::write(
            dir.join("kubeconfig"),
            kubeconfig(&dir, api_port, ADMIN_TOKEN),
        )?;
        let spire_port = free_port()?;
        let mut spire_server = start_spire_server(&bin, &dir, spire_port, &options)?;
        api_ready(&dir, &mut api_server).await?;
        let controller_manager = match options.controller_manager {
            true => Some(start_controller_manager(&bin, &dir)?),
            false => None,
        };
        spire_ready(&dir, &mut spire_server).await?;
        let mut plane = Self {
            spire_server,
            controller_manager,
            api_server,
            etcd,
            scratch,
            api_port,
            etcd_port,
            spire_port,
        };
        plane.default_namespace().await?;
        Ok(plane)
    }

    /// The folder with logs, keys and sockets.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// Writes a kubeconfig with another token.
    ///
    /// # Errors
    /// As the system says.
    pub fn kubeconfig_for(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir().join(format!("kubeconfig-{name}"));
        std::fs::write(&path, kubeconfig(self.dir(), self.api_port, token))?;
        Ok(path)
    }

    /// Writes a kubeconfig of the administrator that goes through a proxy on this port.
    ///
    /// # Errors
    /// As the system says.
    pub fn kubeconfig_through(&self, name: &str, port: u16) -> anyhow::Result<PathBuf> {
        let path = self.dir().join(format!("kubeconfig-{name}"));
        std::fs::write(&path, kubeconfig(self.dir(), port, ADMIN_TOKEN))?;
        Ok(path)
    }

    /// The API server's port.
    pub fn api_port(&self) -> u16 {
        self.api_port
    }

    /// The SPIRE Server's private socket.
    pub fn spire_socket(&self) -> PathBuf {
        spire_socket(self.dir())
    }

    /// The SPIRE Server's TCP port.
    pub fn spire_port(&self) -> u16 {
        self.spire_port
    }

    /// etcd's client port.
    pub fn etcd_port(&self) -> u16 {
        self.etcd_port
    }

    /// A client of the API server, as its administrator. Belongs to the runtime it is made in.
    ///
    /// # Errors
    /// If the kubeconfig cannot be used.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig()).await
    }

    /// The cluster, as its administrator sees it.
    ///
    /// # Errors
    /// As [`ControlPlane::client`].
    pub async fn cluster(&self) -> anyhow::Result<Cluster> {
        Ok(Cluster::new(self.client().await?))
    }

    /// The SPIRE Server's entries.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn entries(&self) -> anyhow::Result<Entries> {
        Entries::new(&self.spire_socket())
    }

    /// Waits until the API server answers again after a restart.
    ///
    /// # Errors
    /// If it does not.
    pub async fn api_ready(&mut self) -> anyhow::Result<()> {
        api_ready(self.scratch.path(), &mut self.api_server).await
    }

    /// Waits until the SPIRE Server answers again after a restart.
    ///
    /// # Errors
    /// If it does not.
    pub async fn spire_ready(&mut self) -> anyhow::Result<()> {
        spire_ready(self.scratch.path(), &mut self.spire_server).await
    }

    async fn default_namespace(&mut self) -> anyhow::Result<()> {
        let cluster = self.cluster().await?;
        answers(&mut self.api_server, "namespace default", async || {
            cluster.namespace_exists("default").await == Ok(true)
        })
        .await
    }
}

fn kubeconfig(dir: &Path, port: u16, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority: {}/apiserver.crt\n\
         contexts:\n- name: c\n  context: {{cluster: c, user: u, namespace: default}}\n\
         users:\n- name: u\n  user: {{token: {token}}}\n",
        dir.display()
    )
}

pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).context("our own kubeconfig")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn api_ready(dir: &Path, server: &mut Process) -> anyhow::Result<()> {
    answers(server, "/readyz of kube-apiserver", async || {
        // The certificate appears with the server.
        let Ok(client) = client(&dir.join("kubeconfig")).await else {
            return false;
        };
        let request = http::Request::get("/readyz").body(Vec::new());
        match request {
            Ok(request) => client.request_text(request).await.is_ok(),
            Err(_) => false,
        }
    })
    .await
}

async fn spire_ready(dir: &Path, server: &mut Process) -> anyhow::Result<()> {
    let entries = Entries::new(&spire_socket(dir))?;
    answers(server, "spire-server", async || entries.all().await.is_ok()).await
}

/// Waits until `look` finds what it looks for, as long as the server runs.
async fn answers(
    server: &mut Process,
    what: &str,
    look: impl AsyncFn() -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !look().await {
        server.must_run()?;
        if begun.elapsed() > START_WITHIN {
            bail!("{what} does not answer\n{}", server.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
