//! A SPIRE Server that takes its time: at the beginning of the program, and at its end.

use std::io::ErrorKind;

use registrar_tests::{
    ControlPlane, Entries, Options, Registrar, eventually,
    relay::{Record, Relay},
    webhook::Webhook,
};
use tokio::net::TcpStream;

use super::lines;
use crate::plane::private;

const REVIEWS: usize = 20;

/// A registrar whose way to SPIRE can be held.
fn started(plane: &ControlPlane, webhook: &Webhook, relay: &Relay) -> Registrar {
    let config = format!(
        "{}sweep = \"off\"\nwrites_in_flight = 32\n",
        webhook.config()
    );
    let kubeconfig = plane.kubeconfig();
    Registrar::start_with(plane, &kubeconfig, relay.socket(), "webhook", &config).expect("starts")
}

fn relay(plane: &ControlPlane) -> Relay {
    let (dir, target) = (plane.dir(), plane.spire_socket());
    Relay::start(dir, "held", &target, Record::default()).expect("a relay")
}

fn alone() -> Options {
    Options {
        controller_manager: false,
        ..Options::default()
    }
}

async fn registered(entries: &Entries) -> usize {
    lines(entries, "drained").await.expect("listed").len()
}

#[tokio::test]
async fn reviews_that_wait_for_spire_are_answered_before_the_end_and_no_new_ones_taken() {
    let p = private(alone()).await;
    let webhook = Webhook::generate("fail").expect("generated");
    let relay = relay(&p.plane);
    let mut registrar = started(&p.plane, &webhook, &relay);
    registrar.ready().await;
    let asker = webhook.asker(webhook.port()).await.expect("a client");
    asker.create("drained", "before").await.expect("allowed");

    relay.hold();
    let asked: Vec<_> = (0..REVIEWS)
        .map(|n| {
            let asker = asker.clone();
            tokio::spawn(async move { asker.create("drained", &format!("p-{n}")).await })
        })
        .collect();
    eventually("all reviews wait for SPIRE", async || {
        match relay.waiting() {
            REVIEWS => Ok(()),
            other => Err(other),
        }
    })
    .await;
    registrar.process.terminate();
    eventually(
        "nobody listens any more",
        async || match TcpStream::connect(("127.0.0.1", webhook.port())).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    assert_eq!(
        registered(&p.entries).await,
        1,
        "nothing has reached the server yet"
    );
    registrar.process.must_run().expect("it waits");
    relay.release();
    for (n, review) in asked.into_iter().enumerate() {
        let answer = review.await.expect("no panic");
        answer.unwrap_or_else(|e| panic!("review {n} under way was not granted: {e:#}"));
    }
    assert_eq!(registered(&p.entries).await, REVIEWS + 1);
    let status = eventually("the registrar ends", async || {
        registrar.process.ended().ok_or("it runs")
    })
    .await;
    assert_eq!(status.code(), Some(0), "{}", registrar.process.log_tail());
}

#[tokio::test]
async fn until_the_node_entry_is_there_it_is_not_ready_and_reviews_fail_with_that_reason() {
    let p = private(alone()).await;
    let webhook = Webhook::generate("fail").expect("generated");
    let relay = relay(&p.plane);
    relay.hold();
    let mut registrar = started(&p.plane, &webhook, &relay);
    eventually("the node entry waits for SPIRE", async || {
        match relay.waiting() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    eventually("that alone is missing", async || {
        let (status, text) = registrar.get("/readyz").await.map_err(|e| e.to_string())?;
        match status == 503 && text.contains("entry of all nodes") {
            true => Ok(()),
            false => Err(format!("{status}: {text}")),
        }
    })
    .await;
    assert_eq!(registrar.get("/livez").await.expect("answers").0, 200);
    let asker = webhook.asker(webhook.port()).await.expect("a client");
    let refused = asker.create("early", "a").await.expect_err("not granted");
    let text = format!("{refused:?}");
    assert!(
        text.contains("500") && text.contains("unable to register the pod"),
        "{text}"
    );
    relay.release();
    registrar.ready().await;
    asker.create("early", "a").await.expect("granted");
    assert_eq!(lines(&p.entries, "early").await.expect("listed").len(), 1);
}
