//! What the program says when it cannot serve: one line on standard error, exit code 1. No control plane is needed.

use std::{fs, net::TcpListener, process::Command};

use registrar_tests::{registrar::program, webhook::Webhook};

fn start(config: &str) -> (Option<i32>, String) {
    start_for("20", config)
}

/// Runs it for at most so many seconds.
fn start_for(seconds: &str, config: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("registrar.conf");
    let common = "trust_domain = \"example.org\"\ncluster = \"demo\"\nmetrics_addr = \"0\"\n\
                  server_socket_path = \"/nowhere/api.sock\"\nsweep = \"off\"\n";
    fs::write(&path, format!("{common}{config}")).expect("written");
    let ended = Command::new("timeout")
        .arg(seconds)
        .arg(program().expect("built"))
        .args(["run", "-config"])
        .arg(&path)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), text)
}

#[test]
fn a_problem_with_a_certificate_or_the_address_ends_the_start_with_its_key_and_value() {
    let webhook = Webhook::generate("fail").expect("generated");
    let other = Webhook::generate("fail").expect("generated");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let right = webhook.config();
    let with = |line: String| format!("{right}{line}\n");
    let dir = webhook.dir().display();
    let other_key = other.dir().join("server-key.pem");
    for (config, expected) in [
        (
            with("cert_path = \"/nowhere/cert.pem\"".into()),
            [
                "unable to load server keypair",
                "cert_path \"/nowhere/cert.pem\"",
            ],
        ),
        (
            with("key_path = \"/nowhere/key.pem\"".into()),
            [
                "unable to load server keypair",
                "key_path \"/nowhere/key.pem\"",
            ],
        ),
        (
            with(format!("key_path = \"{}\"", other_key.display())),
            ["does not belong to the certificate", "key_path"],
        ),
        (
            with("cacert_path = \"/nowhere/ca.pem\"".into()),
            [
                "unable to read cacert file",
                "cacert_path \"/nowhere/ca.pem\"",
            ],
        ),
        (
            with("cacert_path = \"/dev/null\"".into()),
            ["unable to parse cacert file", "cacert_path \"/dev/null\""],
        ),
        (
            with(format!("cert_path = \"{dir}/server-key.pem\"")),
            ["unable to load server keypair", "server-key.pem"],
        ),
        (
            with(format!("addr = \"127.0.0.1:{port}\"")),
            ["unable to listen", "addr \"127.0.0.1:"],
        ),
        (
            with("addr = \"no-address\"".into()),
            ["addr is \"no-address\"", "host:port"],
        ),
        (
            with("addr = \"no.such.host.invalid:8443\"".into()),
            ["unable to listen", "addr is \"no.such.host.invalid:8443\""],
        ),
    ] {
        let (code, text) = start(&config);
        assert_eq!(code, Some(1), "{expected:?}: {text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[test]
fn without_client_verification_it_serves_and_warns() {
    let webhook = Webhook::generate("fail").expect("generated");
    let open = "insecure_skip_client_verification = true\ncacert_path = \"/nowhere/ca.pem\"\n";
    let (code, text) = start_for("3", &format!("{}{open}", webhook.config()));
    // Ended by SIGTERM: done.
    assert_eq!(code, Some(124), "{text}");
    assert!(text.contains("Serving HTTPS"), "{text}");
    assert!(
        text.contains("insecure_skip_client_verification is set"),
        "{text}"
    );
    assert!(text.contains("Stopped"), "{text}");
}

#[test]
fn generate_config_overwrites_nothing_unasked_and_keeps_keys_to_the_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let generate = |more: &[&str]| {
        let made = Command::new(program().expect("built"))
            .args(["generate-config", "-out"])
            .arg(dir.path())
            .args(more)
            .output()
            .expect("it runs");
        (
            made.status.code(),
            String::from_utf8_lossy(&made.stderr).into_owned(),
        )
    };
    assert_eq!(generate(&[]).0, Some(0));
    let key = dir.path().join("server-key.pem");
    let first = fs::read(&key).expect("written");
    let (code, text) = generate(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("exists") && text.contains("-force"), "{text}");
    assert_eq!(fs::read(&key).expect("there"), first, "untouched");
    assert_eq!(generate(&["-force"]).0, Some(0));
    assert_ne!(fs::read(&key).expect("there"), first, "new");
    for name in ["server-key.pem", "secret.yaml", "kubeconfig.yaml"] {
        let mode = fs::metadata(dir.path().join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for (flags, expected) in [
        (["-ttl", "soon"], "-ttl"),
        (["-address", "nowhere"], "-address"),
        (["-ca-key-alg", "rsa-2048"], "-ca-key-alg"),
        (["-namespace", "No"], "no DNS label"),
    ] {
        let (code, text) = generate(&[&flags[..], &["-force"]].concat());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn generate_config_prints_one_stream_and_leaves_spire_and_its_own_namespace_alone() {
    use serde::Deserialize as _;
    let made = Command::new(program().expect("built"))
        .args(["generate-config", "-namespace", "identity"])
        .args(["-exclude-namespace", "storage"])
        .output()
        .expect("it runs");
    assert!(made.status.success());
    let text = String::from_utf8(made.stdout).expect("text");
    let documents: Vec<serde_json::Value> = serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde_json::Value::deserialize(document).expect("YAML"))
        .collect();
    let kinds: Vec<_> = documents.iter().map(|d| &d["kind"]).collect();
    assert_eq!(
        kinds,
        [
            "ConfigMap",
            "Secret",
            "ValidatingWebhookConfiguration",
            "Config",
            "AdmissionConfiguration"
        ]
    );
    let webhook = &documents[2]["webhooks"][0];
    let excluded = &webhook["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(excluded["operator"], "NotIn");
    for namespace in ["kube-system", "spire", "identity", "storage"] {
        let values = excluded["values"].as_array().expect("a list");
        assert!(values.iter().any(|v| v == namespace), "{values:?}");
    }
    assert_eq!(webhook["sideEffects"], "NoneOnDryRun");
    assert_eq!(
        documents[2]["metadata"]["name"],
        "k8s-workload-registrar-webhook"
    );
}
