//! Webhook mode: what a review adds to the creation of a pod, beside the bare RPC that makes its entry.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{Client, Config};
use serde_json::json;

use super::{
    bare::{Bare, pod_entry},
    fake::Fake,
    numbers::Samples,
    report::{Figure, Report},
};
use crate::{ControlPlane, Options, Registrar, webhook::Webhook};

/// Reviews of a series.
const SERIES: usize = 300;
/// Reviews in flight when as many as possible are asked.
const IN_FLIGHT: usize = 16;

/// Someone who asks for reviews, as the API server does: over TLS, on connections that stay.
struct Asker(Client);

impl Asker {
    fn new(port: u16) -> anyhow::Result<Self> {
        let mut config = Config::new(format!("https://127.0.0.1:{port}").parse()?);
        // The certificate is made for the Service's name; who is asked is not what is measured.
        config.accept_invalid_certs = true;
        Ok(Self(Client::try_from(config)?))
    }

    async fn ask(&self, name: &str) -> anyhow::Result<()> {
        let review = json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": name, "operation": "CREATE", "namespace": "bench", "name": name,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "object": {
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"namespace": "bench", "name": name, "uid": name},
                    "spec": {"serviceAccountName": "default", "containers": []},
                },
            },
        });
        let request = http::Request::post("/validate?timeout=10s")
            .header("Content-Type", "application/json")
            .body(review.to_string().into_bytes())?;
        let text = self.0.request_text(request).await?;
        anyhow::ensure!(text.contains("\"allowed\":true"), "{text}");
        Ok(())
    }
}

async fn registrar(
    plane: &ControlPlane,
    webhook: &Webhook,
    socket: &Path,
) -> anyhow::Result<Registrar> {
    let extra = format!(
        "{}insecure_skip_client_verification = true\nlog_level = \"info\"\nsweep = \"off\"",
        webhook.config()
    );
    let kubeconfig = plane.kubeconfig();
    let mut registrar = Registrar::start_with(plane, &kubeconfig, socket, "bench", &extra)?;
    registrar.ready().await;
    Ok(registrar)
}

/// One after the other, then as many as possible; each review's time, and reviews a second.
async fn series(asker: &Asker, word: &str) -> anyhow::Result<(Samples, f64)> {
    let mut samples = Samples::default();
    for n in 0..SERIES {
        let begun = Instant::now();
        asker.ask(&format!("{word}-one-{n}")).await?;
        samples.add_ms(begun.elapsed());
    }
    let begun = Instant::now();
    stream::iter(0..SERIES * 2)
        .map(|n| async move { asker.ask(&format!("{word}-many-{n}")).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let rate = (SERIES * 2) as f64 / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    Ok((samples, rate))
}

/// The rows of webhook mode.
///
/// # Errors
/// If something does not start, or a review is refused.
pub async fn admission(report: &mut Report) -> anyhow::Result<()> {
    let plane = ControlPlane::start(Options {
        controller_manager: false,
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
    let asker = Asker::new(webhook.port())?;
    let mut real = registrar(&plane, &webhook, &plane.spire_socket()).await?;
    let (reviews, rate) = series(&asker, "real").await?;
    real.process.kill();
    let fake = Fake::start(plane.dir())?;
    let mut alone = registrar(&plane, &webhook, fake.socket()).await?;
    let (own, own_rate) = series(&asker, "fake").await?;
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
            what,
            pods: SERIES,
            unit: "ms",
            value: beyond.max(0.0),
            beside: format!(
                "review {:.1}, bare RPC {:.1}; with a server that costs nothing {:.1}",
                reviews.percentile(percent),
                rpc.percentile(percent),
                own.percentile(percent)
            ),
            target,
            met: beyond <= limit,
        });
    }
    report.add(Figure {
        what: "reviews a second, 16 at a time",
        pods: SERIES,
        unit: "/s",
        value: rate,
        beside: format!("with a server that costs nothing {own_rate:.0}/s"),
        target: "none",
        met: true,
    });
    Ok(())
}
