//! What the image holds, run as a kubelet would run it: as nobody in particular, in a folder with nothing but the binary
//! and what is mounted, reaching the API server by its service account and SPIRE over TCP.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use registrar_tests::{
    Options, PodSpec, agent::Agent, dynamic, entries::entry, eventually, process::Process,
    process::free_port,
};

use super::deployment::{deploy, documents};
use crate::plane::private;

/// A folder that `tests/image/build` made.
fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = root.join("target/image").canonicalize();
    dir.expect("run tests/image/build target/image first, or make image")
}

/// What the Dockerfile says of this.
fn said(file: &str) -> String {
    let text = std::fs::read_to_string(built().join(file)).expect("run tests/image/build first");
    text.trim().to_owned()
}

/// A list of the Dockerfile.
fn words(file: &str) -> Vec<String> {
    serde_json::from_str(&said(file)).expect("the form with brackets: there is no shell")
}

/// Writes a file that everybody may read, and nobody but its owner may change.
fn mount(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

#[tokio::test]
#[ignore = "needs the image's content; make image"]
async fn the_image_runs_as_nobody_in_an_empty_folder_and_registers_a_pod() {
    let binary = built().join("rootfs/k8s-workload-registrar");
    let ldd = Command::new("ldd").arg(&binary).output().expect("ldd runs");
    let ldd = String::from_utf8_lossy(&ldd.stderr).into_owned();
    assert!(ldd.contains("not a dynamic executable"), "{ldd}");
    let files = std::fs::read_dir(built().join("rootfs")).expect("a folder");
    assert_eq!(files.count(), 1, "the binary and nothing else");

    let p = private(Options::default()).await;
    p.cluster.namespace("spire").await.expect("a namespace");
    let client = p.plane.client().await.expect("a client");
    let roles = deploy().join("base/reconcile/rbac.yaml");
    let roles = std::fs::read_to_string(roles).expect("the rights");
    dynamic::apply_yaml(&client, &roles).await.expect("applied");
    let token = p
        .cluster
        .token("spire", "k8s-workload-registrar", None, None);
    let token = token.await.expect("a token");
    let parent = Agent::id(&p.plane, "demo", "node-1").await.expect("a node");
    let user = said("user");
    let uid = user.split(':').next().expect("a number").to_owned();
    assert_ne!(uid, "0");
    let mut own = entry(
        &parent,
        "/k8s-workload-registrar",
        &[&format!("unix:uid:{uid}")],
    );
    own.admin = true;
    p.entries.create(own).await.expect("created");
    let agent = Agent::start(&p.plane, "demo", "node-1")
        .await
        .expect("an agent");

    // What deploy/standalone mounts, and what a kubelet adds.
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path();
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::fs::copy(&binary, root.join("k8s-workload-registrar")).expect("copied");
    let metrics = free_port().expect("a port");
    let manifest = documents(&deploy().join("standalone/reconcile/config.yaml")).remove(0);
    let config = manifest["data"]["k8s-workload-registrar.conf"]
        .as_str()
        .expect("a file");
    let config = config
        .replace(
            "spire-server.spire:8081",
            &format!("spire-server.spire:{}", p.plane.spire_port()),
        )
        .replace("\":8080\"", &format!("\"127.0.0.1:{metrics}\""));
    mount(
        root,
        "etc/k8s-workload-registrar/k8s-workload-registrar.conf",
        config,
    );
    // The name has two records; behind the first is nobody.
    mount(
        root,
        "etc/hosts",
        "127.0.0.9 spire-server.spire\n127.0.0.1 spire-server.spire\n",
    );
    mount(root, "etc/host.conf", "multi on\n");
    let account = "var/run/secrets/kubernetes.io/serviceaccount";
    mount(root, &format!("{account}/token"), token);
    mount(root, &format!("{account}/namespace"), "spire");
    let authority = std::fs::read(p.plane.dir().join("apiserver.crt")).expect("a certificate");
    mount(root, &format!("{account}/ca.crt"), authority);
    let socket = "run/spire/agent-sockets/spire-agent.sock";
    mount(root, socket, "");

    // The agent's socket is mounted in a namespace of its own, so that nothing of it stays.
    let script = format!(
        "mount --bind {} {} && exec chroot --userspec={user} --groups= {} \"$@\"",
        agent.socket().display(),
        root.join(socket).display(),
        root.display()
    );
    let mut args = vec![
        "--mount".to_owned(),
        "sh".into(),
        "-ec".into(),
        script,
        "sh".into(),
    ];
    args.extend(words("entrypoint"));
    args.extend(words("cmd"));
    let api_port = p.plane.api_port().to_string();
    let env = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", api_port.as_str()),
        ("NO_COLOR", "1"),
    ];
    let log = p.plane.dir().join("image.log");
    let mut process = Process::start(Path::new("unshare"), &args, &env, &log).expect("starts");
    p.cluster
        .pod(&PodSpec::new("apps", "a"))
        .await
        .expect("pod");
    eventually("the pod has its entry", async || {
        process.must_run().map_err(|e| e.to_string())?;
        let root = "/spire-k8s-registrar/demo/node";
        let found = p.entries.selecting(root, &["k8s:pod-name:a"]).await;
        match found.map_err(|e| e.to_string())?.len() {
            1 => Ok(()),
            _ => Err(process.log_tail()),
        }
    })
    .await;
    let id = process.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = |name: &str| {
        status
            .lines()
            .find(|l| l.starts_with(name))
            .expect("a line")
            .to_owned()
    };
    let four = format!("\t{uid}\t{uid}\t{uid}\t{uid}");
    assert_eq!(line("Uid:"), format!("Uid:{four}"));
    assert_eq!(line("CapEff:"), "CapEff:\t0000000000000000");
    let seen = std::fs::read_link(format!("/proc/{id}/root")).expect("a folder");
    assert_eq!(seen, root.canonicalize().expect("a folder"));
    process.terminate();
    let ended = eventually("it ends", async || process.ended().ok_or("still running")).await;
    assert_eq!(ended.code(), Some(0), "{}", process.log_tail());
}
