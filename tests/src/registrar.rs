//! The registrar's own program, as an operator runs it.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    control_plane::{ControlPlane, TRUST_DOMAIN},
    process::{Process, free_port},
    wait::eventually,
};

/// A running registrar.
#[derive(Debug)]
pub struct Registrar {
    /// The program.
    pub process: Process,
    metrics_port: u16,
    config: PathBuf,
}

/// The program, built beside the tests.
///
/// # Errors
/// If it is not built.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("REGISTRAR_BIN") {
        return Ok(path.into());
    }
    let name = "k8s-workload-registrar";
    let here = std::env::current_exe()?;
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|p| p.exists());
    found.with_context(|| format!("{name} is not built: cargo build --bin {name}"))
}

impl Registrar {
    /// Runs reconcile mode for cluster `cluster`, with further lines of configuration.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(plane: &ControlPlane, cluster: &str, extra: &str) -> anyhow::Result<Self> {
        Self::start_with(
            plane,
            &plane.kubeconfig(),
            &plane.spire_socket(),
            cluster,
            extra,
        )
    }

    /// As [`Registrar::start`], with another kubeconfig and another server socket.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with(
        plane: &ControlPlane,
        kubeconfig: &Path,
        socket: &Path,
        cluster: &str,
        extra: &str,
    ) -> anyhow::Result<Self> {
        Self::start_in(plane, kubeconfig, socket, cluster, extra, &[])
    }

    /// As [`Registrar::start_with`], with further variables in its environment.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_in(
        plane: &ControlPlane,
        kubeconfig: &Path,
        socket: &Path,
        cluster: &str,
        extra: &str,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let metrics_port = free_port()?;
        let text = format!(
            "mode = \"reconcile\"\ntrust_domain = \"{TRUST_DOMAIN}\"\ncluster = \"{cluster}\"\n\
             server_socket_path = \"{}\"\nmetrics_addr = \"127.0.0.1:{metrics_port}\"\n\
             kubeconfig = \"{}\"\nlog_level = \"debug\"\n{extra}\n",
            socket.display(),
            kubeconfig.display()
        );
        let name = format!("registrar-{cluster}-{metrics_port}");
        let config = plane.dir().join(format!("{name}.conf"));
        std::fs::write(&config, text)?;
        let log = plane.dir().join(format!("{name}.log"));
        let args = ["run", "-config", &config.display().to_string()];
        let further = environment.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let env: Vec<(&str, &str)> = [("NO_COLOR", "1")].into_iter().chain(further).collect();
        let process = Process::start(&program()?, args, &env, &log)?;
        Ok(Self {
            process,
            metrics_port,
            config,
        })
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A page of its probes and metrics: the status and the text.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let (status, _, body) = self.answer(path).await?;
        Ok((status, body))
    }

    /// As [`Registrar::get`], with the head of the answer between.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn answer(&self, path: &str) -> anyhow::Result<(u16, String, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.metrics_port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        let status = head
            .split_whitespace()
            .nth(1)
            .context("a status")?
            .parse()?;
        Ok((status, head.to_owned(), body.to_owned()))
    }

    /// Waits until `/readyz` says 200.
    pub async fn ready(&mut self) {
        eventually("the registrar is ready", async || {
            self.process.must_run().map_err(|e| e.to_string())?;
            match self.get("/readyz").await {
                Ok((200, _)) => Ok(()),
                Ok((status, text)) => Err(format!("{status}: {text}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// The value of a metric's line that begins with `line` (name and labels), 0 where there is none.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn metric(&self, line: &str) -> anyhow::Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let wanted = format!("k8s_workload_registrar_{line} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&wanted));
        Ok(value.map_or(Ok(0.0), str::parse)?)
    }

    /// How many operations of all kinds the server acknowledged.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn writes(&self) -> anyhow::Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let prefix = "k8s_workload_registrar_operations_total{";
        let lines = text
            .lines()
            .filter(|l| l.starts_with(prefix) && l.contains("outcome=\"ok\""));
        lines
            .map(|l| {
                l.rsplit(' ')
                    .next()
                    .unwrap_or("0")
                    .parse::<f64>()
                    .context("a number")
            })
            .sum()
    }
}
