//! A real spire-agent, attested by k8s_psat, and a workload that fetches its SVID through it. Only the kubelet is ours.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    cluster::PodSpec,
    control_plane::{ControlPlane, TRUST_DOMAIN, programs},
    process::{Process, free_port},
};

/// The container of every workload we pretend to run: SPIRE takes 64 hexadecimal digits for one.
const CONTAINER: &str = "aa11bb22cc33dd44ee55ff66aa77bb88cc99dd00ee11ff22aa33bb44cc55dd66";

/// A running agent of one node.
#[derive(Debug)]
pub struct Agent {
    /// The program.
    pub process: Process,
    socket: PathBuf,
    pods: Arc<Mutex<Vec<Value>>>,
}

/// What a workload got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The SPIFFE IDs of its X509-SVIDs, the default first.
    Svids(Vec<String>),
    /// This machine does not let us put a process into a cgroup, so nothing can be attested.
    Impossible(String),
}

impl Agent {
    /// Starts the agent of a node of `cluster`.
    ///
    /// # Errors
    /// If it does not attest.
    pub async fn start(
        plane: &ControlPlane,
        cluster: &str,
        node: &'static str,
    ) -> anyhow::Result<Self> {
        let k8s = plane.cluster().await?;
        k8s.namespace("spire").await?;
        k8s.service_account("spire", "spire-agent").await?;
        k8s.node(node).await?;
        let name = format!("agent-{node}");
        let pod = PodSpec::new("spire", &name)
            .node(node)
            .service_account("spire-agent");
        let uid = k8s.pod(&pod).await?;
        let token = k8s
            .token(
                "spire",
                "spire-agent",
                Some("spire-server"),
                Some((&name, &uid)),
            )
            .await?;
        let dir = plane.dir().join(&name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("token"), token)?;
        let pods = Arc::new(Mutex::new(Vec::new()));
        let kubelet = serve_pods(pods.clone()).await?;
        let socket = dir.join("api.sock");
        let config = format!(
            r#"agent {{
  data_dir = "{dir}"
  trust_domain = "{TRUST_DOMAIN}"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{socket}"
  insecure_bootstrap = true
  log_level = "INFO"
  experimental {{ sync_interval = "1s" }}
}}
plugins {{
  NodeAttestor "k8s_psat" {{ plugin_data {{ cluster = "{cluster}" token_path = "{dir}/token" }} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "k8s" {{ plugin_data {{ kubelet_read_only_port = {kubelet} }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
health_checks {{ listener_enabled = true bind_address = "127.0.0.1" bind_port = "{health}" }}
"#,
            dir = dir.display(),
            port = plane.spire_port(),
            socket = socket.display(),
            health = free_port()?,
        );
        std::fs::write(dir.join("agent.conf"), config)?;
        let path = dir.join("agent.conf").display().to_string();
        let log = plane.dir().join(format!("{name}.log"));
        let agent = programs()?.join("spire-agent");
        let mut process = Process::start(&agent, ["run", "-config", &path], &[], &log)?;
        crate::eventually("the agent's socket appears", async || {
            process.must_run().map_err(|e| e.to_string())?;
            socket
                .exists()
                .then_some(())
                .ok_or_else(|| process.log_tail())
        })
        .await;
        Ok(Self {
            process,
            socket,
            pods,
        })
    }

    /// Its Workload API's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The path of its own SPIFFE ID.
    ///
    /// # Errors
    /// If the API server does not have its node.
    pub async fn id(plane: &ControlPlane, cluster: &str, node: &str) -> anyhow::Result<String> {
        let uid = plane.cluster().await?.node(node).await?;
        Ok(format!("/spire/agent/k8s_psat/{cluster}/{uid}"))
    }

    /// Where its Workload API's socket will be.
    pub fn socket_of(plane: &ControlPlane, node: &str) -> PathBuf {
        plane.dir().join(format!("agent-{node}")).join("api.sock")
    }

    /// Lets the node's kubelet know this pod, with one running container.
    ///
    /// # Errors
    /// If the API does not have the pod.
    pub async fn runs(
        &self,
        plane: &ControlPlane,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<String> {
        let mut pod = plane.cluster().await?.pod_json(namespace, name).await?;
        let uid = pod["metadata"]["uid"]
            .as_str()
            .context("a pod has a UID")?
            .to_owned();
        pod["status"]["containerStatuses"] = json!([{
            "name": "main", "image": "example.org/image:1", "imageID": "example.org/image:1",
            "containerID": format!("containerd://{CONTAINER}"),
        }]);
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) = vec![pod];
        Ok(uid)
    }

    /// A process of the pod that asks this agent; `Err` where this machine does not let us put it into a cgroup.
    ///
    /// # Errors
    /// If the programs are not built.
    pub fn workload(&self, pod_uid: &str) -> anyhow::Result<Result<Workload, String>> {
        let agent = programs()?.join("spire-agent");
        Ok(Cgroups::enter(pod_uid).map(|cgroups| Workload {
            agent,
            socket: self.socket.clone(),
            cgroups,
        }))
    }

    /// Fetches X509-SVIDs from within the pod's cgroup, again and again until some come.
    ///
    /// # Errors
    /// If none come within a minute.
    pub async fn fetch(&self, pod_uid: &str) -> anyhow::Result<Fetched> {
        let workload = match self.workload(pod_uid)? {
            Ok(workload) => workload,
            Err(why) => return Ok(Fetched::Impossible(why)),
        };
        let mut last = String::new();
        for _ in 0..60 {
            match workload.svids().await? {
                Ok(svids) => {
                    let ids = svids.into_iter().map(|s| s.spiffe_id).collect();
                    return Ok(Fetched::Svids(ids));
                }
                Err(why) => last = why,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bail!(
            "no SVID within a minute: {last}\n{}",
            self.process.log_tail()
        )
    }
}

/// One X509-SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// The certificate itself, with its serial number: another one is another SVID.
    pub certificate: String,
}

/// A process of a pod.
pub struct Workload {
    agent: PathBuf,
    socket: PathBuf,
    cgroups: Cgroups,
}

impl Workload {
    /// Asks the agent once, from within the cgroup.
    ///
    /// # Errors
    /// If the agent's program cannot be run. The inner error is the agent's: no identity was issued, for example.
    pub async fn svids(&self) -> anyhow::Result<Result<Vec<Svid>, String>> {
        let script = format!(
            "{} exec \"$0\" api fetch x509 -timeout 5s -socketPath \"$1\" -output json",
            self.cgroups.join_script()
        );
        let output = tokio::process::Command::new("sh")
            .args(["-c", &script])
            .arg(&self.agent)
            .arg(&self.socket)
            .output()
            .await?;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let svids = answer["svids"].as_array().cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Ok(Ok(svids
            .iter()
            .map(|s| Svid {
                spiffe_id: text(&s["spiffe_id"]),
                certificate: text(&s["x509_svid"]),
            })
            .collect()))
    }
}

/// Folders of the cgroup hierarchies that name the pod and the container; removed when dropped.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn enter(pod_uid: &str) -> Result<Self, String> {
        let base = Path::new("/sys/fs/cgroup");
        let v1: Vec<PathBuf> = ["pids", "unified"].iter().map(|h| base.join(h)).collect();
        let hierarchies = match v1
            .iter()
            .filter(|h| h.is_dir())
            .cloned()
            .collect::<Vec<_>>()
        {
            found if found.is_empty() => vec![base.to_owned()],
            found => found,
        };
        let mut made = Self(Vec::new());
        for hierarchy in hierarchies {
            let dir = hierarchy
                .join("kubepods")
                .join(format!("pod{pod_uid}"))
                .join(CONTAINER);
            std::fs::create_dir_all(&dir)
                .map_err(|e| format!("{} cannot be made: {e}", dir.display()))?;
            made.0.push(dir);
        }
        // Whether a process may move there shows only when one does.
        let script = format!("{} exit 0", made.join_script());
        let moved = Command::new("sh")
            .args(["-c", &script])
            .output()
            .map_err(|e| e.to_string())?;
        match moved.status.success() {
            true => Ok(made),
            false => Err(format!(
                "no process may be moved into {}: {}",
                made.0[0].display(),
                String::from_utf8_lossy(&moved.stderr).trim()
            )),
        }
    }

    /// Shell commands by which a process moves itself into all of them.
    fn join_script(&self) -> String {
        self.0
            .iter()
            .map(|d| format!("echo $$ > {}/cgroup.procs || exit 1; ", d.display()))
            .collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for dir in &self.0 {
            for folder in [Some(dir.as_path()), dir.parent()].into_iter().flatten() {
                // Only empty folders go: a process may still be in it.
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// The one page of a kubelet that the agent's k8s attestor reads.
async fn serve_pods(pods: Arc<Mutex<Vec<Value>>>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let items = pods.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let body = json!({"kind": "PodList", "apiVersion": "v1", "items": items}).to_string();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(port)
}
