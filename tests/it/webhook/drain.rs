//! The end of the program while reviews wait for SPIRE.

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

async fn started(plane: &ControlPlane, webhook: &Webhook, relay: &Relay) -> Registrar {
    let config = format!(
        "{}sweep = \"off\"\nwrites_in_flight = 32\n",
        webhook.config()
    );
    let mut registrar = Registrar::start_with(
        plane,
        &plane.kubeconfig(),
        relay.socket(),
        "webhook",
        &config,
    )
    .expect("starts");
    registrar.ready().await;
    registrar
}

async fn registered(entries: &Entries) -> usize {
    lines(entries, "drained").await.expect("listed").len()
}

#[tokio::test]
async fn reviews_that_wait_for_spire_are_answered_before_the_end_and_no_new_ones_taken() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    let webhook = Webhook::generate("fail").expect("generated");
    let relay = Relay::start(
        p.plane.dir(),
        "held",
        &p.plane.spire_socket(),
        Record::default(),
    )
    .expect("a relay");
    let mut registrar = started(&p.plane, &webhook, &relay).await;
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
