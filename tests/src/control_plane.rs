//! A real control plane: etcd, kube-apiserver, kube-controller-manager and spire-server on free ports in a fresh folder.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
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

/// The folder with the programs, as `tests/control-plane/build` makes it.
///
/// # Errors
/// If it was not run.
pub fn programs() -> anyhow::Result<PathBuf> {
    let dir = match std::env::var_os("CONTROL_PLANE_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/control-plane"),
    };
    let bin = dir.join("bin");
    if !bin.join("spire-server").exists() {
        bail!(
            "{} has no spire-server: run tests/control-plane/build first",
            bin.display()
        );
    }
    Ok(bin.canonicalize()?)
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
        let plane = Self {
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

    /// Writes an SPIFFE ID that is none into the row of an entry. The server's own writes may fail meanwhile.
    ///
    /// # Errors
    /// If there is no such row, or the server's database cannot be written.
    pub fn spoil_entry(&self, id: &str) -> anyhow::Result<()> {
        let connection = rusqlite::Connection::open(self.dir().join("spire/db.sqlite3"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let update = "UPDATE registered_entries SET spiffe_id = 'none' WHERE entry_id = ?1";
        let rows = connection.execute(update, [id])?;
        anyhow::ensure!(rows == 1, "no entry {id}");
        Ok(())
    }

    /// How many changes of entries the SPIRE Server has recorded: every create, update and delete is one.
    ///
    /// # Errors
    /// If its database cannot be read.
    pub fn entry_events(&self) -> anyhow::Result<i64> {
        use rusqlite::{Connection, OpenFlags};
        let database = self.dir().join("spire/db.sqlite3");
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // The highest number ever given, not the number of rows: old rows are pruned.
        let query = "SELECT COALESCE(MAX(id), 0) FROM registered_entries_events";
        Ok(connection.query_row(query, [], |row| row.get(0))?)
    }

    /// Makes etcd forget the history of all objects, so that no watch from the past can be resumed.
    ///
    /// # Errors
    /// As etcd says.
    pub async fn compact_etcd(&self) -> anyhow::Result<()> {
        // etcd's JSON gateway: a range over nothing tells the revision, a compaction forgets what was before it.
        let header = self.etcd("/v3/kv/range", r#"{"key":"AA=="}"#).await?;
        let answer: serde_json::Value = serde_json::from_str(&header)?;
        let revision = answer["header"]["revision"]
            .as_str()
            .context("a revision")?
            .to_owned();
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        self.etcd("/v3/kv/compaction", &body).await?;
        Ok(())
    }

    async fn etcd(&self, path: &str, body: &str) -> anyhow::Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.etcd_port)).await?;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(body.to_owned())
    }

    async fn default_namespace(&self) -> anyhow::Result<()> {
        let cluster = self.cluster().await?;
        let begun = Instant::now();
        while cluster.namespace_exists("default").await != Ok(true) {
            if begun.elapsed() > START_WITHIN {
                bail!(
                    "namespace default does not appear\n{}",
                    self.api_server.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

fn start_etcd(bin: &Path, dir: &Path, port: u16, peer: u16) -> anyhow::Result<Process> {
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let data = dir.join("etcd").display().to_string();
    let cluster = format!("default={peer}");
    let args = [
        "--data-dir",
        &data,
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &cluster,
        "--unsafe-no-fsync",
        "--quota-backend-bytes",
        "8589934592",
    ];
    Process::start(&bin.join("etcd"), args, &[], &dir.join("etcd.log"))
}

fn start_api_server(
    bin: &Path,
    dir: &Path,
    port: u16,
    etcd: u16,
    options: &Options,
) -> anyhow::Result<Process> {
    let shown = dir.display();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={shown}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-signing-key-file={shown}/sa.key"),
        format!("--service-account-key-file={shown}/sa.pub"),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        format!("--token-auth-file={shown}/tokens.csv"),
        "--authorization-mode=RBAC".into(),
        "--endpoint-reconciler-type=none".into(),
        "--enable-priority-and-fairness=false".into(),
        "--max-requests-inflight=3000".into(),
        "--max-mutating-requests-inflight=1000".into(),
    ];
    if !options.controller_manager {
        args.push("--disable-admission-plugins=ServiceAccount".into());
    }
    args.extend(options.api_server_flags.iter().cloned());
    Process::start(
        &bin.join("kube-apiserver"),
        args,
        &[],
        &dir.join("kube-apiserver.log"),
    )
}

fn start_controller_manager(bin: &Path, dir: &Path) -> anyhow::Result<Process> {
    let shown = dir.display();
    let args = [
        format!("--kubeconfig={shown}/kubeconfig"),
        format!("--service-account-private-key-file={shown}/sa.key"),
        format!("--root-ca-file={shown}/apiserver.crt"),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={}", free_port()?),
        format!("--cert-dir={shown}"),
        "--controllers=serviceaccount-controller,endpointslice-controller,endpoints-controller,\
         garbage-collector-controller,namespace-controller"
            .into(),
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
    ];
    let log = dir.join("kube-controller-manager.log");
    Process::start(&bin.join("kube-controller-manager"), args, &[], &log)
}

fn spire_socket(dir: &Path) -> PathBuf {
    dir.join("spire").join("api.sock")
}

fn start_spire_server(
    bin: &Path,
    dir: &Path,
    port: u16,
    options: &Options,
) -> anyhow::Result<Process> {
    let shown = dir.display();
    let socket = spire_socket(dir);
    let clusters: String = options
        .psat_clusters
        .iter()
        .map(|name| {
            format!(
                "\"{name}\" = {{ service_account_allow_list = [\"spire:spire-agent\"], \
                 kube_config_file = \"{shown}/kubeconfig\" }}\n"
            )
        })
        .collect();
    let config = format!(
        r#"server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{}"
  trust_domain = "{TRUST_DOMAIN}"
  data_dir = "{shown}/spire"
  log_level = "INFO"
  {}
  experimental {{ cache_reload_interval = "{}" }}
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{shown}/spire/db.sqlite3"
    }}
  }}
  KeyManager "disk" {{
    plugin_data {{ keys_path = "{shown}/spire/keys.json" }}
  }}
  NodeAttestor "k8s_psat" {{
    plugin_data {{
      clusters = {{
        {clusters}
      }}
    }}
  }}
}}
"#,
        socket.display(),
        options.spire_server,
        options.spire_cache_reload
    );
    std::fs::create_dir_all(dir.join("spire"))?;
    let path = dir.join("spire-server.conf");
    std::fs::write(&path, config)?;
    let path = path.display().to_string();
    let args = ["run", "-config", &path];
    Process::start(
        &bin.join("spire-server"),
        args,
        &[],
        &dir.join("spire-server.log"),
    )
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

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).context("our own kubeconfig")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn api_ready(dir: &Path, server: &mut Process) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        server.must_run()?;
        // The certificate appears with the server.
        if let Ok(client) = client(&dir.join("kubeconfig")).await {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
        }
        if begun.elapsed() > START_WITHIN {
            bail!(
                "kube-apiserver does not become ready\n{}",
                server.log_tail()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn spire_ready(dir: &Path, server: &mut Process) -> anyhow::Result<()> {
    let entries = Entries::new(&spire_socket(dir))?;
    let begun = Instant::now();
    loop {
        server.must_run()?;
        if entries.all().await.is_ok() {
            return Ok(());
        }
        if begun.elapsed() > START_WITHIN {
            bail!("spire-server does not answer\n{}", server.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
