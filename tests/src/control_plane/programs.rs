//! The programs of a control plane: where they are, and how each is started.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{Options, TRUST_DOMAIN};
use crate::process::{Process, free_port};

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

pub(super) fn start_etcd(bin: &Path, dir: &Path, port: u16, peer: u16) -> anyhow::Result<Process> {
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

pub(super) fn start_api_server(
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

pub(super) fn start_controller_manager(bin: &Path, dir: &Path) -> anyhow::Result<Process> {
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

pub(super) fn spire_socket(dir: &Path) -> PathBuf {
    dir.join("spire").join("api.sock")
}

pub(super) fn start_spire_server(
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
