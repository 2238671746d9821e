//! A `webhook_cert_dir` on a read-only file system: a certificate that others put there.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use k8s_openapi::ByteString;
use registrar_tests::{
    Options,
    dynamic::{get, merge},
    eventually,
    process::Process,
    registrar::program,
};
use serde_json::json;

use super::{
    bench::{Bench, bench},
    webhook::{NAME, ca_bundle, configured, decides},
};

/// Whether this machine lets us mount something for ourselves alone.
fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .stderr(Stdio::null())
        .status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: no read-only file system can be made here (unshare -rm)");
    }
    may
}

/// Runs the registrar where `dir` is read-only and holds what it holds now.
fn start(bench: &Bench, port: u16, dir: &Path) -> Process {
    let mut registrar = bench.start(&format!(
        "webhook_enabled = true\nwebhook_port = {port}\nwebhook_cert_dir = \"{}\"",
        dir.display()
    ));
    // Only its configuration is wanted.
    registrar.process.kill();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$2\" -config \"$3\"";
    let program = program().expect("the program");
    let args = [
        "-rm".to_owned(),
        "sh".into(),
        "-c".into(),
        script.into(),
        "sh".into(),
        dir.display().to_string(),
        program.display().to_string(),
        registrar.config().display().to_string(),
    ];
    let log = bench.private.plane.dir().join("read-only.log");
    Process::start(Path::new("unshare"), args, &[("NO_COLOR", "1")], &log).expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_gives_the_certificate_or_one_clear_error() {
    if !may_mount() {
        return;
    }
    let bench = bench(Options::default()).await;
    let client = bench.private.cluster.client();
    let port = configured(&bench).await;
    let dir = tempfile::tempdir().expect("a folder");

    let mut empty = start(&bench, port, dir.path());
    let status = eventually("it ends", async || empty.ended().ok_or("it runs")).await;
    let log = empty.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("webhook_cert_dir") && log.contains("put tls.crt and tls.key there"),
        "{log}"
    );

    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("a CA");
    let issuer = rcgen::Issuer::new(params, key);
    let name = "k8s-workload-registrar.spire.svc".to_owned();
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![name]).expect("parameters");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(dir.path().join("tls.crt"), leaf.pem()).expect("written");
    std::fs::write(dir.path().join("tls.key"), key.serialize_pem()).expect("written");
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
    });
    let mut found = get(&client, &object)
        .await
        .expect("an answer")
        .expect("it is there");
    let bundle = json!(ByteString(ca.pem().into_bytes()));
    found.data["webhooks"][0]["clientConfig"]["caBundle"] = bundle.clone();
    let webhooks = json!({"webhooks": found.data["webhooks"]});
    merge(&client, &object, webhooks).await.expect("changed");

    let mut given = start(&bench, port, dir.path());
    decides(&client, "given").await;
    given.must_run().expect("runs");
    assert_eq!(
        ca_bundle(&client).await.as_deref(),
        bundle.as_str(),
        "the bundle is left to whoever put the certificate there"
    );
}
