//! The validating webhook of SpiffeIDs, called by a real API server, with a certificate of a real SPIRE Server.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use kube::Client;
use registrar_adapters::{
    admission::{
        self, Endpoints, Issued, Issuer, Limits, Named, SimilarEntries, SpiffeIdValidator, Try,
        issued, spiffe_id::PATH,
    },
    definition::CUSTOM_RESOURCE_DEFINITION,
    kubernetes::{Published, ServiceName, publish_ca_bundle},
    spire::{Deadlines, SpireClient, SpireServer, Wire},
};
use registrar_core::{
    entry::{Entry, RegisteredEntry},
    policy::Policy,
    ports::{SpireAnswer, SpireCall},
    spiffe::SpiffeId,
};
use registrar_tests::{
    ControlPlane, Options,
    dynamic::{apply_yaml, create, delete, get, merge, respecify, spiffe_id},
    entries::entry,
    eventually,
    wait::eventually_within,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use crate::plane::private;

const SERVICE: &str = "k8s-workload-registrar";

/// The SPIRE Server, as the program asks it.
struct Server(SpireClient);

#[async_trait]
impl Issuer for Server {
    async fn issue(&self, request: Vec<u8>) -> Result<Issued, String> {
        let minted = self.0.mint_x509_svid(request).await;
        let minted = minted.map_err(|f| f.message.to_string())?;
        Ok(Issued {
            chain: minted.chain,
            expires_at: UNIX_EPOCH + Duration::from_secs(minted.expires_at as u64),
        })
    }
}

#[async_trait]
impl SimilarEntries for Server {
    async fn similar(&self, entry: &Entry) -> Result<Vec<RegisteredEntry>, String> {
        let call = SpireCall::Find {
            parent: entry.parent_id.clone(),
            selectors: entry.selectors.clone(),
        };
        match self.0.perform(call).await {
            Ok(SpireAnswer::Page { entries, .. }) => Ok(entries),
            other => Err(format!("{other:?}")),
        }
    }
}

/// A running webhook, and what it told.
struct Webhook {
    certificates: Arc<Mutex<Vec<SystemTime>>>,
    _stop: oneshot::Sender<()>,
    _tasks: JoinSet<()>,
}

fn spire(plane: &ControlPlane) -> Arc<Server> {
    let wire = Wire::unix(plane.spire_socket());
    Arc::new(Server(SpireClient::new(
        wire,
        Deadlines::default(),
        Arc::new(|| true),
    )))
}

/// Serves in this process, behind a Service by whose name the API server calls it.
async fn webhook(plane: &ControlPlane, client: &Client) -> Webhook {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let service = ServiceName {
        namespace: "spire".into(),
        name: SERVICE.into(),
    };
    install(client, port).await;
    let server = spire(plane);
    let named = Named {
        id: SpiffeId::parse("spiffe://example.org/k8s-workload-registrar/demo/webhook")
            .expect("an ID"),
        dns_name: format!("{SERVICE}.spire.svc"),
    };
    let certificates = Arc::new(Mutex::new(Vec::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    let seen = certificates.clone();
    let (tls, renewal) = issued(server.clone(), named, move |tried| match tried {
        Try::Issued { expires_at } => seen.lock().expect("sane").push(expires_at),
        Try::Failed(why) => println!("no certificate: {why}"),
    })
    .await;
    tasks.spawn(renewal);
    let publisher = server.clone();
    let authorities = async move || {
        let authorities = publisher.0.x509_authorities().await;
        authorities.map_err(|f| f.message.to_string())
    };
    let told = |published| match published {
        Published::Changed(names) => println!("bundle written: {names:?}"),
        Published::Failed(why) => println!("no bundle: {why}"),
    };
    tasks.spawn(publish_ca_bundle(
        client.clone(),
        service,
        authorities,
        told,
    ));
    let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    policy.reserved.reserve("/admin").expect("a path");
    let validator = SpiffeIdValidator::new(policy, server, |refused| println!("{refused:?}"));
    let endpoints = Endpoints::new().at(PATH, Arc::new(validator));
    tasks.spawn(async move {
        let stop = async {
            let _ = stopped.await;
        };
        let observe = |outcome, _| println!("{outcome:?}");
        admission::serve(listener, tls, endpoints, Limits::default(), observe, stop)
            .await
            .expect("it serves");
    });
    Webhook {
        certificates,
        _stop: stop,
        _tasks: tasks,
    }
}

/// The definition, the Service, and the webhook configuration with `failurePolicy: Fail`; the CA bundle is left to us.
async fn install(client: &Client, port: u16) {
    let objects = json!([
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "spire", "name": SERVICE},
            // There is no network of pods here: the name leads back to this machine.
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "spiffeids", "labels": {"spiffe.io/webhook": "true"}},
            "webhooks": [{
                "name": "spiffeids.k8s-workload-registrar.spire.svc",
                "admissionReviewVersions": ["v1", "v1beta1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "clientConfig": {"service": {"namespace": "spire", "name": SERVICE, "path": PATH, "port": port}},
                "rules": [{
                    "apiGroups": ["spiffeid.spiffe.io"], "apiVersions": ["v1beta1"],
                    "operations": ["CREATE", "UPDATE"], "resources": ["spiffeids"],
                }],
                "matchConditions": [
                    {"name": "not-being-deleted", "expression": "!has(object.metadata.deletionTimestamp)"},
                ],
            }],
        },
    ]);
    apply_yaml(client, CUSTOM_RESOURCE_DEFINITION)
        .await
        .expect("the definition");
    for object in objects.as_array().expect("a list") {
        apply_yaml(client, &object.to_string())
            .await
            .expect("an object");
    }
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
async fn decides(client: &Client, name: &str) {
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

async fn ca_bundle(client: &Client) -> Option<String> {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "spiffeids"},
    });
    let found = get(client, &object).await.ok()??;
    let bundle = &found.data["webhooks"][0]["clientConfig"]["caBundle"];
    bundle.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_refuses_in_the_originals_words() {
    let p = private(Options::default()).await;
    p.cluster.namespace("spire").await.expect("a namespace");
    let client = p.cluster.client();
    let _webhook = webhook(&p.plane, &client).await;
    decides(&client, "first").await;
    let denied =
        "admission webhook \"spiffeids.k8s-workload-registrar.spire.svc\" denied the request: ";
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
        (change("downstream", json!(true)), "spec.downstream can only be used"),
    ]
    .into_iter()
    .enumerate()
    {
        let expected = format!("{denied}{text}");
        let object = spiffe_id("apps", &format!("refused-{n}"), spec.clone());
        let created = create(&client, &object).await.map(drop);
        let updated = respecify(&client, &named("first"), spec).await;
        for verdict in [created, updated] {
            let refusal = verdict.expect_err("refused");
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
    // An entry of this tuple is there already, whoever made it.
    let stored = entry("/nodes/demo", "/twice", &["k8s:ns:apps"]);
    p.entries.create(stored).await.expect("an entry");
    let refusal = create(&client, &named("twice")).await.expect_err("refused");
    assert!(
        refusal.contains(&format!("{denied}Duplicate detected")),
        "{refusal}"
    );
    // The same SPIFFE ID under another parent is none.
    let mut other = named("twice");
    other["spec"]["parentId"] = json!("spiffe://example.org/nodes/other");
    create(&client, &other).await.expect("taken");
    delete(&client, &other).await.expect("deleted");
}

/// A server whose certificates last seconds, and whose CA minutes.
fn short_lived() -> Options {
    Options {
        spire_server: "default_x509_svid_ttl = \"8s\"\nca_ttl = \"60s\"".into(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_survives_expiry_rotation_and_restarts_and_deletion_is_never_locked_out() {
    let mut p = private(short_lived()).await;
    p.cluster.namespace("spire").await.expect("a namespace");
    let client = p.cluster.client();
    let webhook = webhook(&p.plane, &client).await;
    decides(&client, "first").await;
    let bundle = ca_bundle(&client).await.expect("a bundle");
    let first = webhook.certificates.lock().expect("sane")[0];

    // The first certificate has ended: another one is served.
    eventually("the first certificate has ended", async || {
        match SystemTime::now() > first + Duration::from_secs(2) {
            true => Ok(()),
            false => Err("it has not"),
        }
    })
    .await;
    assert!(webhook.certificates.lock().expect("sane").len() >= 2);
    decides(&client, "after-expiry").await;

    // Without SPIRE there is no new certificate; what holds then is failurePolicy, but not for deletions.
    let mut held = named("held");
    held["metadata"]["finalizers"] = json!(["finalizers.spiffeid.spiffe.io"]);
    create(&client, &held).await.expect("taken");
    p.plane.spire_server.kill();
    eventually("nothing can be created", async || {
        let name = format!(
            "probe-{:?}",
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos()
        );
        match create(&client, &named(&name)).await {
            Err(text)
                if text.contains("failed calling webhook")
                    || text.contains("unable to look for duplicates") =>
            {
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => Err("it is taken".into()),
        }
    })
    .await;
    delete(&client, &held).await.expect("deletion begins");
    let release = json!({"metadata": {"finalizers": null}});
    merge(&client, &held, release)
        .await
        .expect("the finalizer comes off");
    assert!(
        get(&client, &held).await.expect("an answer").is_none(),
        "it is gone"
    );
    p.plane.spire_server.start_again().expect("SPIRE starts");
    p.plane.spire_ready().await.expect("SPIRE is ready");
    decides(&client, "after-spire").await;

    p.plane.api_server.kill();
    p.plane
        .api_server
        .start_again()
        .expect("the API server starts");
    p.plane.api_ready().await.expect("ready");
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
