//! SPIRE over TCP: mutual TLS with an SVID from a real agent, whatever becomes of server, agent, addresses and SVID.

use std::collections::BTreeSet;

use registrar_tests::{
    Options, PodSpec, Registrar,
    agent::Agent,
    entries::{Entry, entry, line},
    eventually, eventually_within,
    process::free_port,
    proxy::Proxy,
};

use crate::plane::{Private, private};

const CLUSTER: &str = "tcp";
const ROOT: &str = "/spire-k8s-registrar/tcp/node";
const OWN_ID: &str = "/registrar";

async fn plane() -> Private {
    private(Options {
        psat_clusters: vec![CLUSTER.into()],
        ..Options::default()
    })
    .await
}

/// The registrar's own entry; an SVID lives this long, and is rotated after half of it.
async fn own_entry(p: &Private, admin: bool, ttl: i32) -> Entry {
    let agent = Agent::id(&p.plane, CLUSTER, "node-1")
        .await
        .expect("a node");
    let mut own = Entry {
        admin,
        x509_svid_ttl: ttl,
        ..entry(&agent, OWN_ID, &["unix:uid:0"])
    };
    own.id = p.entries.create(own.clone()).await.expect("created");
    own
}

fn start(p: &Private, addresses: &str, extra: &str) -> Registrar {
    let agent = Agent::socket_of(&p.plane, "node-1");
    let extra = format!(
        "server_address = \"{addresses}\"\nagent_socket_path = \"{}\"\n{extra}",
        agent.display()
    );
    Registrar::start(&p.plane, CLUSTER, &extra).expect("starts")
}

async fn exactly(p: &Private, registrar: &mut Registrar, pods: &BTreeSet<usize>) {
    let wanted: BTreeSet<String> = pods
        .iter()
        .map(|n| format!("/ns/apps/sa/default <- {ROOT}/node-1 [k8s:ns:apps k8s:pod-name:p-{n}]"))
        .collect();
    eventually("exactly the living pods have entries", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let found = p.entries.selecting(ROOT, &["k8s:ns:apps"]).await;
        let found = found.map_err(|e| e.to_string())?;
        let lines: BTreeSet<String> = found.iter().map(line).collect();
        if found.len() == lines.len() && lines == wanted {
            return Ok(());
        }
        Err(format!("{} found, {} wanted", found.len(), wanted.len()))
    })
    .await;
}

async fn logged(registrar: &mut Registrar, words: &[&str]) {
    eventually(&format!("the log says {words:?}"), async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        let log = registrar.process.log();
        match log.lines().any(|l| words.iter().all(|w| l.contains(w))) {
            true => Ok(()),
            false => Err(registrar.process.log_tail()),
        }
    })
    .await;
}

#[tokio::test]
async fn an_svid_that_is_rotated_again_and_again_fails_no_call() {
    let p = plane().await;
    own_entry(&p, true, 6).await;
    let _agent = Agent::start(&p.plane, CLUSTER, "node-1")
        .await
        .expect("an agent");
    let proxy = Proxy::start(p.plane.spire_port()).await.expect("a proxy");
    let mut registrar = start(
        &p,
        &format!("127.0.0.1:{}", proxy.port()),
        "drift_interval = \"2s\"",
    );
    registrar.ready().await;
    let mut pods = BTreeSet::new();
    let mut n = 0;
    let failures_at_first = failures(&registrar).await;
    let connections = proxy.accepted();
    eventually("twenty rotations pass under churn", async || {
        p.cluster
            .pod(&PodSpec::new("apps", &format!("p-{n}")))
            .await
            .map_err(|e| e.to_string())?;
        pods.insert(n);
        if n >= 5 {
            let old = n - 5;
            p.cluster
                .delete_pod("apps", &format!("p-{old}"))
                .await
                .map_err(|e| e.to_string())?;
            pods.remove(&old);
        }
        n += 1;
        match proxy.accepted() - connections {
            made if made >= 20 => Ok(()),
            made => Err(format!("{made} new connections")),
        }
    })
    .await;
    exactly(&p, &mut registrar, &pods).await;
    assert_eq!(
        failures(&registrar).await,
        failures_at_first,
        "{}",
        registrar.process.log_tail()
    );
}

/// The counters of calls that did not go well.
async fn failures(registrar: &Registrar) -> Vec<String> {
    let (_, metrics) = registrar.get("/metrics").await.expect("metrics");
    let calls = metrics
        .lines()
        .filter(|l| l.starts_with("k8s_workload_registrar_rpc_total{"));
    calls
        .filter(|l| !l.contains("code=\"ok\""))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn servers_that_restart_move_or_die_are_found_again_without_a_restart() {
    let mut p = plane().await;
    own_entry(&p, true, 3600).await;
    let mut agent = Agent::start(&p.plane, CLUSTER, "node-1")
        .await
        .expect("an agent");
    let (a, b) = (
        Proxy::start(p.plane.spire_port()).await.expect("a proxy"),
        Proxy::start(p.plane.spire_port()).await.expect("a proxy"),
    );
    let dead = free_port().expect("a port");
    b.cut();
    let addresses = format!(
        "127.0.0.1:{dead}, localhost:{}, 127.0.0.1:{}",
        a.port(),
        b.port()
    );
    let mut registrar = start(&p, &addresses, "drift_interval = \"2s\"");
    registrar.ready().await;
    let mut pods = BTreeSet::new();
    let more = async |p: &Private, pods: &mut BTreeSet<usize>| {
        for _ in 0..5 {
            let n = pods.len();
            p.cluster
                .pod(&PodSpec::new("apps", &format!("p-{n}")))
                .await
                .expect("pod");
            pods.insert(n);
        }
    };
    more(&p, &mut pods).await;
    exactly(&p, &mut registrar, &pods).await;
    // The one dies, the other lives.
    b.heal();
    a.cut();
    more(&p, &mut pods).await;
    exactly(&p, &mut registrar, &pods).await;
    // And back.
    a.heal();
    b.cut();
    more(&p, &mut pods).await;
    exactly(&p, &mut registrar, &pods).await;
    // The server itself is killed, and comes back.
    p.plane.spire_server.kill();
    more(&p, &mut pods).await;
    p.plane.spire_server.start_again().expect("starts");
    p.plane.spire_ready().await.expect("ready");
    exactly(&p, &mut registrar, &pods).await;
    // The agent dies: what it gave before is good until it expires, for new connections, too.
    agent.process.kill();
    a.drop_connections();
    more(&p, &mut pods).await;
    exactly(&p, &mut registrar, &pods).await;
    let number = a.accepted();
    agent.process.start_again().expect("starts");
    eventually("its new SVID is used", async || match a.accepted() {
        made if made > number => Ok(()),
        same => Err(format!("{same} connections")),
    })
    .await;
    more(&p, &mut pods).await;
    exactly(&p, &mut registrar, &pods).await;
}

#[tokio::test]
#[ignore = "the server closes its connections after three minutes; make slow"]
async fn the_servers_three_minutes_fail_no_call() {
    let p = plane().await;
    own_entry(&p, true, 7200).await;
    let _agent = Agent::start(&p.plane, CLUSTER, "node-1")
        .await
        .expect("an agent");
    let proxy = Proxy::start(p.plane.spire_port()).await.expect("a proxy");
    let address = format!("127.0.0.1:{}", proxy.port());
    let mut registrar = start(&p, &address, "drift_interval = \"1s\"");
    registrar.ready().await;
    let failures_at_first = failures(&registrar).await;
    let (begun, connections) = (std::time::Instant::now(), proxy.accepted());
    let mut pods = BTreeSet::new();
    let ceiling = std::time::Duration::from_secs(400);
    eventually_within(
        ceiling,
        "the server closes two connections by age",
        async || {
            let n = pods.len();
            if n < 1000 {
                p.cluster
                    .pod(&PodSpec::new("apps", &format!("p-{n}")))
                    .await
                    .map_err(|e| e.to_string())?;
                pods.insert(n);
            }
            match proxy.accepted() - connections {
                made if made >= 2 => Ok(()),
                made => Err(format!("{made} new connections")),
            }
        },
    )
    .await;
    eprintln!(
        "two connections ended by age in {} s",
        begun.elapsed().as_secs()
    );
    exactly(&p, &mut registrar, &pods).await;
    assert_eq!(failures(&registrar).await, failures_at_first);
}

#[tokio::test]
async fn what_is_missing_for_mutual_tls_is_told_with_its_remedy_and_mended_without_a_restart() {
    let p = plane().await;
    let own = own_entry(&p, false, 3600).await;
    let address = format!("127.0.0.1:{}", p.plane.spire_port());
    let annotated = "pod_annotation = \"spiffe.io/id\"";
    let mut registrar = start(&p, &address, annotated);
    logged(
        &mut registrar,
        &["no X509-SVID from the SPIRE Agent", "agent_socket_path"],
    )
    .await;
    assert_eq!(registrar.get("/readyz").await.expect("answers").0, 503);
    let _agent = Agent::start(&p.plane, CLUSTER, "node-1")
        .await
        .expect("an agent");
    let known = format!("spiffe://example.org{OWN_ID}");
    logged(
        &mut registrar,
        &[
            "authorization denied",
            "spire-server entry update -admin",
            &known,
        ],
    )
    .await;
    // What the message says, done.
    let mended = Entry { admin: true, ..own };
    let mask = registrar_adapters::spire::pb::types::EntryMask {
        admin: true,
        ..Default::default()
    };
    p.entries.update(mended, mask).await.expect("updated");
    registrar.ready().await;
    // Nobody else may have the registrar's own identity: it is an administrator's.
    p.cluster
        .pod(&PodSpec::new("apps", "thief").annotation("spiffe.io/id", "registrar"))
        .await
        .expect("pod");
    logged(&mut registrar, &["Held", "ReservedPath", "thief"]).await;

    // Another server than the one that is meant is not spoken to.
    let mut other = start(&p, &address, "server_id = \"spiffe://example.org/other\"");
    logged(
        &mut other,
        &[
            "spiffe://example.org/other",
            "spiffe://example.org/spire/server",
            "server_id",
        ],
    )
    .await;
    assert_eq!(other.get("/readyz").await.expect("answers").0, 503);
    let found = p
        .entries
        .selecting(ROOT, &["k8s:ns:apps"])
        .await
        .expect("listed");
    assert!(found.is_empty(), "{found:?}");
}
