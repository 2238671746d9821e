//! The validating webhook of SpiffeIDs, called by a real API server, with a certificate of a real SPIRE Server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube::Client;
use registrar_tests::{
    Options, Registrar,
    dynamic::{apply_yaml, create, delete, get, merge, respecify, spiffe_id},
    entries::entry,
    eventually,
    process::free_port,
    wait::eventually_within,
};
use serde_json::{Value, json};

use super::bench::{Bench, OWN, bench};

/// As shipped.
const WEBHOOK: &str = include_str!("../../../deploy/base/crd/webhook.yaml");
pub const NAME: &str = "k8s-workload-registrar-spiffeids";
const DENIED: &str =
    "admission webhook \"spiffeids.k8s-workload-registrar.spire.svc\" denied the request: ";

/// A registrar with its webhook, which the API server calls by the name of its Service.
async fn reviewing(bench: &Bench, extra: &str) -> Registrar {
    let port = configured(bench).await;
    let extra = format!("webhook_enabled = true\nwebhook_port = {port}\n{extra}");
    bench.registrar(&extra).await
}

/// Makes the API server call a webhook on this machine; its port.
pub async fn configured(bench: &Bench) -> u16 {
    let port = free_port().expect("a port");
    let client = bench.private.cluster.client();
    // There is no network of pods here: the Service's name leads back to this machine.
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": OWN, "name": "k8s-workload-registrar"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    let (_, configuration) = WEBHOOK.split_once("---\n").expect("two objects");
    let configuration = configuration.replace("port: 443", &format!("port: {port}"));
    for text in [service.to_string(), configuration] {
        apply_yaml(&client, &text).await.expect("applied");
    }
    port
}

fn plain(path: &str) -> Value {
    json!({
        "parentId": "spiffe://example.org/nodes/demo",
        "spiffeId": format!("spiffe://example.org/{path}"),
        "selector": {"namespace": "apps"},
    })
}

fn named(name: &str) -> Value {
    spiffe_id("apps", name, plain(name))
}

/// Waits until the webhook is called and decides.
pub async fn decides(client: &Client, name: &str) {
    let mut bad = named(name);
    bad["spec"]["dnsNames"] = json!(["ab--cd"]);
    eventually(
        "the webhook refuses a bad DNS name",
        async || match create(client, &bad).await {
            Err(text) if text.contains("denied the request: invalid DNS name \"ab--cd\"") => Ok(()),
            Err(other) => Err(other),
            Ok(_) => {
                delete(client, &bad).await?;
                Err("it is taken".to_owned())
            }
        },
    )
    .await;
    eventually("the webhook lets a good one pass", async || {
        create(client, &named(name)).await
    })
    .await;
}

pub async fn ca_bundle(client: &Client) -> Option<String> {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
    });
    let found = get(client, &object).await.ok()??;
    let bundle = &found.data["webhooks"][0]["clientConfig"]["caBundle"];
    bundle.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_refuses_in_the_originals_words() {
    let bench = bench(Options::default()).await;
    let client = bench.private.cluster.client();
    let _registrar = reviewing(&bench, "reserved_paths = [\"/admin\"]").await;
    decides(&client, "first").await;
    let change = |key: &str, value: Value| {
        let mut spec = plain("changed");
        spec[key] = value;
        spec
    };
    let mut both = plain("x");
    both["parentId"] = json!("spiffe://example.orgevil/x");
    both["spiffeId"] = json!("spiffe://example.orgevil/y");
    for (n, (spec, text)) in [
        (both, "spec.parentId must begin with spiffe://example.org"),
        (
            change("selector", json!({"namespace": "apps", "cluster": "demo"})),
            "spec.Selector.Cluster and spec.Selector.AgentNodeUid can only be used by the k8s-workload-registrar",
        ),
        (
            change("selector", json!({"namespace": "spire"})),
            "spec.Selector.Namespace must match namespace of resource",
        ),
        (
            change("spiffeId", json!("spiffe://example.org/admin")),
            "spec.spiffeId must not be reserved (rule \"/admin\")",
        ),
        (
            change("parentId", json!("spiffe://example.org/spire/agent/k8s_psat/demo/u")),
            "spec.parentId must not be reserved",
        ),
        (
            change("parentId", json!("spiffe://example.org/k8s-workload-registrar/demo/node/node-1")),
            "spec.parentId must not be reserved",
        ),
        (
            change("spiffeId", json!("spiffe://example.org/k8s-workload-registrar/demo/node/node-1")),
            "spec.spiffeId must not be reserved",
        ),
        (change("downstream", json!(true)), "spec.downstream can only be used"),
    ]
    .into_iter()
    .enumerate()
    {
        let expected = format!("{DENIED}{text}");
        let object = spiffe_id("apps", &format!("refused-{n}"), spec.clone());
        let created = create(&client, &object).await.map(drop);
        let updated = eventually("no writer comes between", async || {
            match respecify(&client, &named("first"), spec.clone()).await {
                Err(text) if text.contains("the object has been modified") => Err(text),
                verdict => Ok(verdict),
            }
        })
        .await;
        for verdict in [created, updated] {
            let refusal = verdict.expect_err("refused");
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_refused_and_an_entry_of_ours_that_waits_for_its_spiffe_id_is_none() {
    let bench = bench(Options::default()).await;
    let client = bench.private.cluster.client();
    let mut registrar = reviewing(&bench, "").await;
    decides(&client, "first").await;
    // Another's entry of this tuple.
    let stored = entry("/nodes/demo", "/twice", &["k8s:ns:apps"]);
    bench
        .private
        .entries
        .create(stored)
        .await
        .expect("an entry");
    let refusal = create(&client, &named("twice")).await.expect_err("refused");
    assert!(
        refusal.contains(&format!("{DENIED}Duplicate detected")),
        "{refusal}"
    );
    // The same SPIFFE ID under another parent is none.
    let mut other = named("twice");
    other["spec"]["parentId"] = json!("spiffe://example.org/nodes/other");
    create(&client, &other).await.expect("taken");
    // A second SpiffeID of one tuple.
    create(&client, &named("blog")).await.expect("taken");
    bench.standing("apps", "blog", "True", "Registered").await;
    let again = spiffe_id("apps", "again", plain("blog"));
    let refusal = create(&client, &again).await.expect_err("refused");
    assert!(refusal.contains("Duplicate detected"), "{refusal}");
    // A SpiffeID that was taken away without its entry, and comes back.
    registrar.process.kill();
    delete(&client, &named("blog"))
        .await
        .expect("deletion begins");
    let release = json!({"metadata": {"finalizers": null}});
    merge(&client, &named("blog"), release)
        .await
        .expect("the finalizer comes off");
    bench.gone("apps", "blog").await;
    registrar.process.start_again().expect("it starts");
    create_again(&client, &named("blog")).await;
    bench.one("/blog").await;
}

/// As soon as the webhook answers again, it takes the object.
async fn create_again(client: &Client, object: &Value) {
    eventually("the webhook answers", async || {
        match create(client, object).await {
            Ok(_) => Ok(()),
            Err(text) if text.contains("failed calling webhook") => Err(text),
            Err(text) => panic!("{text}"),
        }
    })
    .await;
}

/// When the certificates that the registrar told of end, in seconds since 1970.
fn certificates(registrar: &Registrar) -> Vec<u64> {
    let log = registrar.process.log();
    let lines = log
        .lines()
        .filter(|l| l.contains("Minted the X509-SVID of the webhook"));
    lines
        .filter_map(|l| {
            l.split("expires_at=")
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A server whose certificates last seconds, and whose CA a minute.
fn short_lived() -> Options {
    Options {
        spire_server: "default_x509_svid_ttl = \"8s\"\nca_ttl = \"60s\"".into(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_survives_expiry_rotation_and_restarts_and_deletion_is_never_locked_out() {
    let mut bench = bench(short_lived()).await;
    let client = bench.private.cluster.client();
    let registrar = reviewing(&bench, "").await;
    decides(&client, "first").await;
    let bundle = ca_bundle(&client).await.expect("a bundle");
    let first = certificates(&registrar)[0];

    // The first certificate has ended: another one is served.
    eventually("the first certificate has ended", async || {
        match seconds_now() > first + 1 {
            true => Ok(()),
            false => Err("it has not"),
        }
    })
    .await;
    assert!(certificates(&registrar).len() >= 2);
    decides(&client, "after-expiry").await;

    // Without SPIRE there is no new certificate; what holds then is failurePolicy, but not for deletions.
    let mut held = named("held");
    held["metadata"]["finalizers"] = json!(["finalizers.spiffeid.spiffe.io"]);
    create(&client, &held).await.expect("taken");
    bench.private.plane.spire_server.kill();
    let mut n = 0;
    eventually("nothing can be created", async || {
        n += 1;
        match create(&client, &named(&format!("probe-{n}"))).await {
            // As long as the API server keeps its connection, it does not look at the certificate again.
            Err(text) if text.contains("failed calling webhook") => Ok(()),
            Err(text) if text.contains("unable to look for duplicates") => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err("it is taken".into()),
        }
    })
    .await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    merge(&client, &held, label)
        .await
        .expect("what is not the spec can be changed");
    delete(&client, &held).await.expect("deletion begins");
    let release = json!({"metadata": {"finalizers": null}});
    merge(&client, &held, release)
        .await
        .expect("the finalizer comes off");
    bench.gone("apps", "held").await;
    bench
        .private
        .plane
        .spire_server
        .start_again()
        .expect("SPIRE starts");
    bench
        .private
        .plane
        .spire_ready()
        .await
        .expect("SPIRE is ready");
    decides(&client, "after-spire").await;

    bench.private.plane.api_server.kill();
    bench
        .private
        .plane
        .api_server
        .start_again()
        .expect("the API server starts");
    bench.private.plane.api_ready().await.expect("ready");
    decides(&client, "after-api-server").await;

    // The CA of a minute is succeeded by another one, which is trusted before it signs.
    let patience = Duration::from_secs(90);
    eventually_within(
        patience,
        "the bundle is another",
        async || match ca_bundle(&client).await {
            Some(now) if now != bundle => Ok(()),
            other => Err(other.map(|b| b.len())),
        },
    )
    .await;
    decides(&client, "after-rotation").await;
}

/// A bundle that someone takes out of the configuration comes back; at rest nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn the_ca_bundle_is_kept_right_and_at_rest_left_alone() {
    let bench = bench(Options::default()).await;
    let client = bench.private.cluster.client();
    let registrar = reviewing(&bench, "").await;
    decides(&client, "first").await;
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
    });
    let bundle = ca_bundle(&client).await.expect("a bundle");
    let mut emptied = get(&client, &object)
        .await
        .expect("an answer")
        .expect("it is there");
    let config = emptied.data["webhooks"][0]["clientConfig"]
        .as_object_mut()
        .expect("an object");
    config.remove("caBundle");
    let webhooks = json!({"webhooks": emptied.data["webhooks"]});
    merge(&client, &object, webhooks).await.expect("changed");
    eventually("the bundle is back", async || {
        match ca_bundle(&client).await {
            Some(now) if now == bundle => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let wrote = || {
        registrar
            .process
            .log()
            .matches("Wrote the CA bundle")
            .count()
    };
    let before = wrote();
    // Two looks later.
    let then = seconds_now() + 11;
    eventually("two more looks were taken", async || {
        match seconds_now() > then {
            true => Ok(()),
            false => Err("not yet"),
        }
    })
    .await;
    assert_eq!(wrote(), before);
}

/// The port is an operator's: what is wrong with it is said at the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_one_clear_error() {
    let bench = bench(Options::default()).await;
    let taken = std::net::TcpListener::bind("[::]:0").expect("a port");
    let port = taken.local_addr().expect("a port").port();
    let mut registrar = bench.start(&format!("webhook_enabled = true\nwebhook_port = {port}"));
    let status = eventually("it ends", async || {
        registrar.process.ended().ok_or("it runs")
    })
    .await;
    let log = registrar.process.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains(&format!("webhook_port \":{port}\" cannot be listened on")),
        "{log}"
    );
}
