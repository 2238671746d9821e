//! One registrar, and its own bad ways to both servers.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{CLUSTER, mode::Mode, reviews::Reviews};
use crate::{
    ApiProxy, ControlPlane, Registrar,
    api_proxy::plain_kubeconfig,
    bench::probe::memory,
    process::free_port,
    proxy::Proxy,
    relay::{Record, Relay},
};

/// A registrar. Bytes pass through `api` and `spire`, requests through `objects` and `relay`.
pub struct Replica {
    /// The program.
    pub registrar: Registrar,
    /// On the way to the API server: bytes.
    pub api: Proxy,
    /// On the way to the API server: requests.
    pub objects: ApiProxy,
    /// On the way to the SPIRE Server: bytes.
    pub spire: Proxy,
    /// On the way to the SPIRE Server: calls.
    pub relay: Relay,
    /// Where it is asked for reviews, in webhook mode.
    pub port: u16,
    log: PathBuf,
    open_files: Option<usize>,
}

impl Replica {
    /// Starts one; its calls' fates follow the seed.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(
        plane: &ControlPlane,
        name: &'static str,
        seed: u64,
        mode: Mode,
        reviews: Option<&Reviews>,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let dir = plane.dir();
        let record = Record::default();
        let relay = Relay::with_seed(dir, name, &plane.spire_socket(), record, seed)?;
        let socket = dir.join(format!("{name}-bytes.sock"));
        let spire = Proxy::at_socket(&socket, relay.socket())?;
        let objects = ApiProxy::start(plane.client().await?).await?;
        let api = Proxy::start(objects.port()).await?;
        let kubeconfig = plain_kubeconfig(dir, api.port())?;
        let log = dir.join(format!("{name}-log"));
        std::os::unix::fs::symlink(log.with_extension("again"), &log)?;
        let mut extra = mode.config() + &format!("log_path = \"{}\"\n", log.display());
        if let Some(reviews) = reviews {
            extra += &reviews.config_at(port);
        }
        let registrar = Registrar::start_with(plane, &kubeconfig, &socket, CLUSTER, &extra)?;
        Ok(Self {
            registrar,
            api,
            objects,
            spire,
            relay,
            port,
            log,
            open_files: None,
        })
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.registrar.process.id().context("it runs")
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// If it does not run.
    pub fn memory(&self) -> anyhow::Result<f64> {
        Ok(memory(self.id()?)?.resident)
    }

    /// From now on, whatever it logs finds the disk full.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        self.lead_log_to(Path::new("/dev/full"))
    }

    /// There is room again.
    ///
    /// # Errors
    /// As the system says.
    pub fn empty_disk(&self) -> anyhow::Result<()> {
        self.lead_log_to(&self.log.with_extension("again"))
    }

    fn lead_log_to(&self, path: &Path) -> anyhow::Result<()> {
        let link = self.log.with_extension("link");
        std::os::unix::fs::symlink(path, &link)?;
        std::fs::rename(&link, &self.log)?;
        self.registrar.process.hang_up();
        Ok(())
    }

    /// From now on it can open no more files than it has open.
    ///
    /// # Errors
    /// As the system says.
    pub fn exhaust_files(&mut self) -> anyhow::Result<()> {
        let id = self.id()?;
        let open = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
        self.limit_files(open)?;
        self.open_files = Some(open);
        Ok(())
    }

    /// It can open files again.
    ///
    /// # Errors
    /// As the system says.
    pub fn free_files(&mut self) -> anyhow::Result<()> {
        match self.open_files.take() {
            Some(_) => self.limit_files(1024),
            None => Ok(()),
        }
    }

    fn limit_files(&self, soft: usize) -> anyhow::Result<()> {
        let limited = Command::new("prlimit")
            .args(["--pid", &self.id()?.to_string()])
            .arg(format!("--nofile={soft}:"))
            .status()
            .context("prlimit of util-linux is needed")?;
        anyhow::ensure!(limited.success(), "prlimit: {limited}");
        Ok(())
    }

    /// Everything on its ways is well again.
    pub fn heal(&self) {
        self.api.heal();
        self.spire.heal();
        self.objects.heal();
        self.relay.fates().set(0);
        self.relay.release();
    }

    /// What it logged.
    pub fn logs(&self) -> Vec<PathBuf> {
        vec![self.log.with_extension("again")]
    }
}
