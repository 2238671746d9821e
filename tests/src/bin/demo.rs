//! The demo: the registrar's main job on a real control plane, from nothing to an SVID. Every step says what it shows and
//! how long it took.
//!
//! `demo plan` only says which entries the example pods should get. `KEEP=1` leaves everything running.
//! `REQUIRE_SVID=1` makes it a failure if the workload cannot be attested on this machine.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use registrar_tests::{
    ControlPlane, Options, Registrar,
    agent::{Agent, Fetched},
    control_plane::programs,
    eventually,
    registrar::program,
};

const CLUSTER: &str = "demo";
const POD: &str = "example-workload-98b6b79fd-jnv5m";
const ROOT: &str = "/spire-k8s-registrar/demo/node";

/// Names steps and times them.
struct Steps {
    begun: Instant,
    step: Instant,
}

impl Steps {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            step: Instant::now(),
        }
    }

    fn begin(&mut self, what: &str) {
        println!("\n== {what}");
        self.step = Instant::now();
    }

    fn end(&self, what: &str) {
        println!("   {what} ({:.1} s)", self.step.elapsed().as_secs_f64());
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo")
}

fn example(name: &str) -> anyhow::Result<String> {
    let path = examples().join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The entries that the example manifests would get, by the registrar's own `plan`; needs no server.
fn plan() -> anyhow::Result<()> {
    println!(
        "\n== What the example pods should get: k8s-workload-registrar plan -config FILE examples/demo/..."
    );
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("k8s-workload-registrar.conf");
    std::fs::write(
        &config,
        format!(
            "mode = \"reconcile\"\ntrust_domain = \"example.org\"\ncluster = \"{CLUSTER}\"\n\
             server_socket_path = \"/run/spire/sockets/server/api.sock\"\n"
        ),
    )?;
    let output = Command::new(program()?)
        .args(["plan", "-config"])
        .arg(&config)
        .args(["production.yaml", "federation.yaml"].map(|f| examples().join(f)))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{}", indented(&String::from_utf8(output.stdout)?));
    Ok(())
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("plan") {
        return plan();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            result = demo() => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

/// What `spire-server entry show` prints, as an operator would see it.
fn show_entries(plane: &ControlPlane, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(programs()?.join("spire-server"))
        .args(["entry", "show", "-socketPath"])
        .arg(plane.spire_socket())
        .args(args)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("   | {l}\n")).collect()
}

async fn demo() -> anyhow::Result<()> {
    let mut steps = Steps::new();
    steps
        .begin("A real control plane: etcd, kube-apiserver, kube-controller-manager, spire-server");
    let plane = ControlPlane::start(Options::default()).await?;
    let cluster = plane.cluster().await?;
    steps.end("started");

    steps.begin("The example manifests: namespace production, service account blog, two pods");
    for file in ["production.yaml", "federation.yaml"] {
        for applied in cluster.apply_manifests(&example(file)?).await? {
            println!("   applied {applied}");
        }
    }
    steps.end("applied");

    steps.begin("The registrar in reconcile mode");
    let mut registrar = Registrar::start(&plane, CLUSTER, "")?;
    registrar.ready().await;
    steps.end("ready: every pod and node has its entry");

    steps.begin("The entries, as `spire-server entry show` prints them");
    let shown = show_entries(&plane, &[])?;
    print!("{}", indented(&shown));
    for expected in [
        "spiffe://example.org/ns/production/sa/blog",
        "k8s:ns:production",
        &format!("k8s:pod-name:{POD}"),
        &format!("spiffe://example.org{ROOT}/node-1"),
    ] {
        ensure!(
            shown.contains(expected),
            "{expected} is not among the entries"
        );
    }
    steps.end("as planned; no trust domain is federated with, since the server has no bundle yet");

    steps.begin("A bundle arrives: the pod that waits for it federates with example.com");
    let entries = plane.entries()?;
    entries.set_bundle("example.com").await?;
    let arguments = [
        "-selector",
        "k8s:ns:production",
        "-selector",
        "k8s:pod-name:test",
    ];
    let shown = eventually("the entry federates", async || {
        let shown = show_entries(&plane, &arguments).map_err(|e| e.to_string())?;
        if shown.contains("example.com") {
            Ok(shown)
        } else {
            Err(shown)
        }
    })
    .await;
    print!("{}", indented(&shown));
    steps.end("in place, under the same entry ID");

    steps.begin("A real agent, attested by k8s_psat, hands the workload its X509-SVID");
    let agent = Agent::start(&plane, CLUSTER, "node-1").await?;
    let uid = agent.runs(&plane, "production", POD).await?;
    let svid = agent.fetch(&uid).await?;
    match &svid {
        Fetched::Svids(ids) => {
            ensure!(
                ids == &["spiffe://example.org/ns/production/sa/blog"],
                "got {ids:?}"
            );
            println!("   | {}", ids.join("\n   | "));
            steps.end("SVID STEP: SHOWN");
        }
        Fetched::Impossible(why) => {
            println!("   !! SVID STEP: SKIPPED, this machine does not let us write cgroups: {why}");
            may_be_skipped(std::env::var_os("REQUIRE_SVID").as_deref(), why)?;
        }
    }

    steps.begin("A pod is deleted, and its entry goes");
    cluster.delete_pod("production", POD).await?;
    let selector = format!("k8s:pod-name:{POD}");
    let shown = eventually("the entry is gone", async || {
        let shown = show_entries(&plane, &["-selector", &selector]).map_err(|e| e.to_string())?;
        if shown.contains("Found 0 entries") {
            Ok(shown)
        } else {
            Err(shown)
        }
    })
    .await;
    print!("{}", indented(&shown));
    steps.end("gone");

    println!(
        "\nDone in {:.0} s. What the registrar logged:",
        steps.begun.elapsed().as_secs_f64()
    );
    let log = registrar.process.log();
    for line in log.lines().filter(|l| l.contains("entry")) {
        println!("   | {line}");
    }
    if std::env::var_os("KEEP").is_some() {
        keep_running(&plane).await?;
    }
    Ok(())
}

async fn keep_running(plane: &ControlPlane) -> anyhow::Result<()> {
    println!("\nEverything is left running. Look around, in another terminal:");
    println!("   export KUBECONFIG={}", plane.kubeconfig().display());
    println!("   kubectl get pods -A");
    println!(
        "   {} entry show -socketPath {}",
        programs()?.join("spire-server").display(),
        plane.spire_socket().display()
    );
    println!(
        "   ls {}    # logs and configuration files",
        plane.dir().display()
    );
    println!("Stop it with Ctrl-C here: every program ends and the folder is removed.");
    std::future::pending::<()>().await;
    Ok(())
}

/// Whether the step with the SVID may be left out on a machine that does not let it be shown: not where `REQUIRE_SVID` is set.
fn may_be_skipped(required: Option<&OsStr>, why: &str) -> anyhow::Result<()> {
    match required {
        Some(_) => bail!("REQUIRE_SVID is set, and the workload could not be attested: {why}"),
        None => Ok(()),
    }
}

#[test]
fn a_skipped_svid_is_a_failure_only_where_it_is_required() {
    assert!(may_be_skipped(None, "read-only").is_ok());
    let error = may_be_skipped(Some(OsStr::new("1")), "read-only").expect_err("a failure");
    assert!(error.to_string().contains("read-only"), "{error}");
}
