//! Attacks of the threat table that need all parts at once: a server that is none, and what the log gives away.

use registrar_tests::{
    Options, PodSpec, Registrar,
    agent::Agent,
    control_plane::programs,
    entries::{Entry, entry},
    eventually,
    process::{Process, free_port},
    webhook::Webhook,
};

use crate::plane::{Private, private};

const CLUSTER: &str = "demo";

/// Lets the registrar be an administrator by an SVID of the node's agent.
async fn known(p: &Private) -> Agent {
    let node = Agent::id(&p.plane, CLUSTER, "node-1").await;
    let own = Entry {
        admin: true,
        ..entry(&node.expect("a node"), "/registrar", &["unix:uid:0"])
    };
    p.entries.create(own).await.expect("created");
    let agent = Agent::start(&p.plane, CLUSTER, "node-1").await;
    agent.expect("an agent")
}

fn over_tcp(p: &Private, port: u16, extra: &str) -> Registrar {
    let socket = Agent::socket_of(&p.plane, "node-1");
    let extra = format!(
        "server_address = \"127.0.0.1:{port}\"\nagent_socket_path = \"{}\"\n{extra}",
        socket.display()
    );
    Registrar::start(&p.plane, CLUSTER, &extra).expect("starts")
}

/// A SPIRE Server of the same trust domain and the same SPIFFE ID, with keys of its own.
async fn impostor(p: &Private) -> (Process, u16) {
    let dir = p.plane.dir().join("impostor");
    std::fs::create_dir_all(dir.join("spire")).expect("a folder");
    let real = std::fs::read_to_string(p.plane.dir().join("spire-server.conf")).expect("text");
    let port = free_port().expect("a port");
    let (ours, theirs) = (
        dir.display().to_string(),
        p.plane.dir().display().to_string(),
    );
    let config = real
        .replace(&p.plane.spire_port().to_string(), &port.to_string())
        .replace(
            &p.plane.spire_socket().display().to_string(),
            &format!("{ours}/api.sock"),
        )
        .replace(&format!("{theirs}/spire"), &format!("{ours}/spire"));
    let path = dir.join("spire-server.conf");
    std::fs::write(&path, config).expect("written");
    let program = programs().expect("built").join("spire-server");
    let path = path.display().to_string();
    let log = dir.join("log");
    let mut process =
        Process::start(&program, ["run", "-config", &path], &[], &log).expect("starts");
    eventually("the impostor listens", async || {
        process.must_run().map_err(|e| e.to_string())?;
        let made = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        made.map(drop).map_err(|e| e.to_string())
    })
    .await;
    (process, port)
}

#[tokio::test]
async fn a_server_that_only_calls_itself_the_spire_server_is_not_spoken_to() {
    let p = private(Options::default()).await;
    let _agent = known(&p).await;
    let (_impostor, port) = impostor(&p).await;
    let mut registrar = over_tcp(&p, port, "");
    eventually("the log says why", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let log = registrar.process.log();
        let told = |l: &str| l.contains(&port.to_string()) && l.contains("certificate");
        match log.lines().any(told) {
            true => Ok(()),
            false => Err(registrar.process.log_tail()),
        }
    })
    .await;
    assert_eq!(registrar.get("/readyz").await.expect("answers").0, 503);
    let (_, metrics) = registrar.get("/metrics").await.expect("answers");
    let answered = metrics
        .lines()
        .any(|l| l.starts_with("k8s_workload_registrar_rpc_total{") && l.contains("code=\"ok\""));
    assert!(!answered, "no call came through: {metrics}");
    // Beside the real one it costs nothing but itself.
    let both = format!("127.0.0.1:{port}, 127.0.0.1:{}", p.plane.spire_port());
    let socket = Agent::socket_of(&p.plane, "node-1").display().to_string();
    let extra = format!("server_address = \"{both}\"\nagent_socket_path = \"{socket}\"");
    let mut registrar = Registrar::start(&p.plane, CLUSTER, &extra).expect("starts");
    registrar.ready().await;
}

/// What must never be in a log: what key files hold, tokens, and anything long in base64.
fn gives_away(log: &str, secrets: &[String]) -> Vec<String> {
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '=');
    let mut found = Vec::new();
    for line in log.lines() {
        let long = line
            .split(|c: char| !base64(c))
            .any(|word| word.len() >= 56);
        if long || line.contains("PRIVATE") || secrets.iter().any(|s| line.contains(s.as_str())) {
            found.push(line.to_owned());
        }
    }
    found
}

#[test]
fn what_gives_a_secret_away_is_found() {
    let secrets = ["admintoken".to_owned()];
    let der = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5f2x8aXcb9d0e1fa";
    for line in [
        "ts=1 token=admintoken".to_owned(),
        format!("ts=1 key={der}"),
        "-----BEGIN PRIVATE KEY-----".to_owned(),
    ] {
        assert_eq!(gives_away(&line, &secrets).len(), 1, "{line}");
    }
    let harmless = "ts=1 message=Created entry_id=kwr-5bf81cf5ffca8a11.e7efed4f8cc5b1a2-2";
    assert_eq!(gives_away(harmless, &secrets), [""; 0]);
}

#[tokio::test]
async fn neither_keys_nor_tokens_are_logged_at_any_level() {
    let webhook = Webhook::generate("fail").expect("generated");
    let p = private(webhook.options()).await;
    let _agent = known(&p).await;
    let lines_of = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(webhook.dir().join(file)).expect("text");
        text.lines()
            .filter(|l| l.len() > 20)
            .map(str::to_owned)
            .collect()
    };
    let mut secrets = vec!["admintoken".to_owned()];
    secrets.extend(lines_of("server-key.pem"));
    let ids = registrar_tests::SpiffeIds::new(p.plane.client().await.expect("a client"));
    ids.install(registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("installed");
    p.cluster.namespace("spire").await.expect("a namespace");
    let port = free_port().expect("a port");
    // Its SVID comes from the agent, and the webhook's from the server.
    let crd = format!(
        "mode = \"crd\"\nnamespace = \"spire\"\nwebhook_enabled = true\nwebhook_port = {port}\nlog_level = \"trace\"\n\
         drift_interval = \"1s\""
    );
    let mut of_crd = over_tcp(&p, p.plane.spire_port(), &crd);
    let extra = format!(
        "{}log_level = \"trace\"\nlog_format = \"json\"\ndrift_interval = \"1s\"",
        webhook.config()
    );
    let mut of_webhook = Registrar::start(&p.plane, "webhook", &extra).expect("starts");
    of_crd.ready().await;
    of_webhook.ready().await;
    webhook.install(&p.cluster).await.expect("installed");
    eventually("a pod is admitted after a review", async || {
        let pod = PodSpec::new("apps", "web");
        p.cluster.pod(&pod).await.map_err(|e| format!("{e:#}"))
    })
    .await;
    // What goes wrong is logged in more words than what goes well.
    let mut p = p;
    p.plane.spire_server.kill();
    let refused = p.cluster.pod(&PodSpec::new("apps", "late")).await;
    assert!(refused.is_err(), "nobody can register it");
    for registrar in [&mut of_crd, &mut of_webhook] {
        eventually("the outage is logged", async || {
            match registrar.process.log().contains("SPIRE Server failed") {
                true => Ok(()),
                false => Err(registrar.process.log_tail()),
            }
        })
        .await;
    }
    p.plane.spire_server.start_again().expect("starts");
    p.plane.spire_ready().await.expect("ready");
    for registrar in [&mut of_crd, &mut of_webhook] {
        registrar.ready().await;
        let log = registrar.process.log();
        assert!(log.lines().count() > 5, "{log}");
        assert_eq!(gives_away(&log, &secrets), [""; 0]);
    }
}
