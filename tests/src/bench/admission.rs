//! Webhook mode: what a review adds to the creation of a pod, beside the bare RPC that makes its entry.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    bare::{Bare, pod_entry},
    fake::Fake,
    numbers::Samples,
    report::{Figure, Report},
};
use crate::{
    ControlPlane, Options, Registrar,
    webhook::{Asker, Webhook, create_review},
};

/// Reviews of a series.
const SERIES: usize = 1000;
/// Reviews before anything is measured: connections, caches, the server's tables.
const WARM_UP: usize = 200;
/// Reviews in flight when as many as possible are asked.
const IN_FLIGHT: usize = 16;
/// Those who send hostile bodies, each as fast as it is answered.
const HOSTILE: usize = 4;

async fn registrar(
    plane: &ControlPlane,
    webhook: &Webhook,
    socket: &Path,
) -> anyhow::Result<Registrar> {
    let extra = format!("{}log_level = \"info\"\nsweep = \"off\"", webhook.config());
    let kubeconfig = plane.kubeconfig();
    let mut registrar = Registrar::start_with(plane, &kubeconfig, socket, "bench", &extra)?;
    registrar.ready().await;
    Ok(registrar)
}

/// One after the other; each review's time.
async fn one_by_one(asker: &Asker, word: &str, count: usize) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for n in 0..count {
        let begun = Instant::now();
        asker.create("bench", &format!("{word}-one-{n}")).await?;
        samples.add_ms(begun.elapsed());
    }
    Ok(samples)
}

/// As many as possible; reviews a second.
async fn many(asker: &Asker, word: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    stream::iter(0..SERIES)
        .map(|n| async move { asker.create("bench", &format!("{word}-many-{n}")).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    Ok(SERIES as f64 / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64())
}

/// Bodies that nobody should send: too large, too deep, none at all, a pod whose every value is long.
fn hostile() -> [Vec<u8>; 4] {
    let mut long = create_review("bench", "long");
    long["request"]["object"]["metadata"]["annotations"] = (0..2000)
        .map(|n| (format!("example.org/{n}"), "x".repeat(500).into()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    long["request"]["dryRun"] = true.into();
    let deep = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":{}"#,
        "[".repeat(1 << 20)
    );
    [
        vec![b' '; (8 << 20) + 1],
        deep.into_bytes(),
        b"{\"kind\":\"\xff".to_vec(),
        long.to_string().into_bytes(),
    ]
}

/// A series beside those who send such bodies; how many of these were answered meanwhile.
async fn beside_hostile(asker: &Asker, webhook: &Webhook) -> anyhow::Result<(Samples, usize)> {
    let over = AtomicBool::new(false);
    let over = &over;
    let bodies = hostile();
    let bodies = &bodies;
    let mut attackers = Vec::new();
    for n in 0..HOSTILE {
        let attacker = webhook.asker(webhook.port()).await?;
        attackers.push(async move {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                // What they are answered is not what is measured.
                let _ = attacker
                    .send(bodies[(n + sent) % bodies.len()].clone())
                    .await;
                sent += 1;
            }
            sent
        });
    }
    let series = async {
        let samples = one_by_one(asker, "beside", SERIES).await;
        over.store(true, Ordering::Relaxed);
        samples
    };
    let (samples, sent) = tokio::join!(series, futures::future::join_all(attackers));
    Ok((samples?, sent.into_iter().sum()))
}

/// From the moment when new certificates are written under 50 reviews a second until they are served.
async fn exchange(asker: &Asker, webhook: &Webhook) -> anyhow::Result<(Duration, usize)> {
    let new = Webhook::generate_at("fail", webhook.port())?;
    let stranger = new.asker(new.port()).await?;
    let old_ca = std::fs::read_to_string(webhook.dir().join("cacert.pem"))?;
    let new_ca = std::fs::read_to_string(new.dir().join("cacert.pem"))?;
    std::fs::write(webhook.dir().join("cacert.pem"), old_ca + &new_ca)?;
    for name in ["server-key.pem", "server-cert.pem"] {
        std::fs::copy(new.dir().join(name), webhook.dir().join(name))?;
    }
    let written = Instant::now();
    let over = AtomicBool::new(false);
    let load = async {
        let mut turn = tokio::time::interval(Duration::from_millis(20));
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            turn.tick().await;
            asker.create("bench", &format!("exchange-{count}")).await?;
            count += 1;
        }
        anyhow::Ok(count)
    };
    let served = async {
        // Only those who know the new CA are let in by the new certificate alone.
        while stranger.create("bench", "stranger").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        over.store(true, Ordering::Relaxed);
        written.elapsed()
    };
    let (count, took) = tokio::join!(load, served);
    Ok((
        took,
        count.context("a review failed while certificates were exchanged")?,
    ))
}

/// The rows of webhook mode.
///
/// # Errors
/// If something does not start, or a review is refused.
pub async fn admission(report: &mut Report) -> anyhow::Result<()> {
    let plane = ControlPlane::start(Options {
        controller_manager: false,
        spire_cache_reload: "5s",
        ..Options::default()
    })
    .await?;
    let bare = Bare::new(&plane.spire_socket())?;
    let entries = |word: &str| {
        (0..SERIES)
            .map(|n| pod_entry("bench", &format!("{word}-{n}"), "node"))
            .collect()
    };
    // Warm-up, then what is compared with.
    bare.single(entries("warm"), None).await?;
    let rpc = bare.single(entries("bare"), None).await?;
    let webhook = Webhook::generate("fail")?;
    let asker = webhook.asker(webhook.port()).await?;
    let mut real = registrar(&plane, &webhook, &plane.spire_socket()).await?;
    one_by_one(&asker, "warm", WARM_UP).await?;
    let reviews = one_by_one(&asker, "real", SERIES).await?;
    let rate = many(&asker, "real").await?;
    let (beside, sent) = beside_hostile(&asker, &webhook).await?;
    real.process.kill();
    let fake = Fake::start(plane.dir())?;
    let mut alone = registrar(&plane, &webhook, fake.socket()).await?;
    one_by_one(&asker, "warm", WARM_UP).await?;
    let own = one_by_one(&asker, "fake", SERIES).await?;
    let own_rate = many(&asker, "fake").await?;
    let (took, meanwhile) = exchange(&asker, &webhook).await?;
    alone.process.kill();
    for (what, percent, target, limit) in [
        (
            "a review beyond the bare create RPC, p50",
            50.0,
            "<= 2 ms",
            2.0,
        ),
        (
            "a review beyond the bare create RPC, p99",
            99.0,
            "<= 10 ms",
            10.0,
        ),
    ] {
        let beyond = reviews.percentile(percent) - rpc.percentile(percent);
        report.add(Figure {
            what: what.to_owned(),
            pods: SERIES,
            unit: "ms".into(),
            value: beyond.max(0.0),
            beside: format!(
                "review {:.1}, bare RPC {:.1}; with a server that costs nothing {:.1}; {SERIES} reviews after {WARM_UP} to \
                 warm up, client certificates verified",
                reviews.percentile(percent),
                rpc.percentile(percent),
                own.percentile(percent)
            ),
            target: target.into(),
            met: beyond <= limit,
        });
    }
    let (disturbed, undisturbed) = (beside.percentile(99.0), reviews.percentile(99.0));
    report.add(Figure {
        what: "a review beside hostile bodies, p99".to_owned(),
        pods: SERIES,
        unit: "ms".into(),
        value: disturbed,
        beside: format!(
            "undisturbed {undisturbed:.1}; {sent} hostile bodies of up to 8 MiB from {HOSTILE} clients meanwhile"
        ),
        target: "none".into(),
        met: true,
    });
    report.add(Figure {
        what: "new certificates served after".to_owned(),
        pods: SERIES,
        unit: "s".into(),
        value: took.as_secs_f64(),
        beside: format!("{meanwhile} reviews at 50/s meanwhile, none failed"),
        target: "<= 5 s".into(),
        met: took <= Duration::from_secs(5),
    });
    report.add(Figure {
        what: "reviews a second, 16 at a time".to_owned(),
        pods: SERIES,
        unit: "/s".into(),
        value: rate,
        beside: format!("with a server that costs nothing {own_rate:.0}/s"),
        target: "none".into(),
        met: true,
    });
    Ok(())
}
