//! Certificates exchanged beneath the running program, as Kubernetes does it, while reviews go on.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use registrar_tests::{Options, Registrar, eventually, webhook::Webhook};

use crate::plane::private;

/// A whole new file takes the old one's place.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, path).expect("renamed");
}

#[tokio::test]
async fn certificates_are_exchanged_under_load_without_a_review_that_fails() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    let old = Webhook::generate("fail").expect("generated");
    let new = Webhook::generate_at("fail", old.port()).expect("generated");
    let config = format!("{}sweep = \"off\"\n", old.config());
    let mut registrar = Registrar::start(&p.plane, "webhook", &config).expect("starts");
    registrar.ready().await;
    let done = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let done = done.clone();
        let asker = old.asker(old.port()).await.expect("a client");
        async move {
            let mut turn = tokio::time::interval(Duration::from_millis(20));
            let mut count = 0;
            while !done.load(Ordering::SeqCst) {
                turn.tick().await;
                let asked = asker.create("exchanged", &format!("p-{count}")).await;
                asked.unwrap_or_else(|e| panic!("review {count}: {e:#}"));
                count += 1;
            }
            count
        }
    });
    // The new ones are of another CA, so that only who knows it can tell the difference: they are let in, and let us in.
    let stranger = new.asker(new.port()).await.expect("a client");
    let refused = stranger.create("exchanged", "early").await;
    assert!(refused.is_err(), "a client of another CA is refused");
    let read =
        |from: &Webhook, name: &str| fs::read_to_string(from.dir().join(name)).expect("readable");
    let both = read(&old, "cacert.pem") + &read(&new, "cacert.pem");
    let whole = read(&new, "server-cert.pem");
    replace(&old.dir().join("cacert.pem"), &both);
    replace(
        &old.dir().join("server-cert.pem"),
        &whole[..whole.len() / 2],
    );
    eventually("the half of a certificate is told", async || {
        let log = registrar.process.log();
        match log.contains("New certificates cannot be used") && log.contains("server-cert.pem") {
            true => Ok(()),
            false => Err("not told"),
        }
    })
    .await;
    assert!(stranger.create("exchanged", "half").await.is_err());
    replace(
        &old.dir().join("server-key.pem"),
        &read(&new, "server-key.pem"),
    );
    replace(&old.dir().join("server-cert.pem"), &whole);
    let written = Instant::now();
    eventually("the new certificate is served", async || {
        let asked = stranger.create("exchanged", "late").await;
        asked.map_err(|e| format!("{e:#}"))
    })
    .await;
    eprintln!("served {:?} after it was written", written.elapsed());
    done.store(true, Ordering::SeqCst);
    let count = load.await.expect("no review fails");
    assert!(count > 0, "there was a load");
    registrar.process.must_run().expect("runs");
}
