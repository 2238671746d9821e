//! At rest nothing is written.

use registrar_tests::{Options, PodSpec, Registrar, eventually};

use crate::plane::private;

#[tokio::test]
async fn at_rest_no_write_reaches_the_server() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    let pods: Vec<PodSpec> = (0..500)
        .map(|n| PodSpec::new("apps", &format!("p-{n}")))
        .collect();
    for some in pods.chunks(20) {
        let made = futures::future::join_all(some.iter().map(|pod| p.cluster.pod(pod))).await;
        made.into_iter().for_each(|m| drop(m.expect("pod")));
    }
    let extra = "drift_interval = \"5s\"\nadd_pod_dns_names = true";
    let mut registrar = Registrar::start(&p.plane, "rest", extra).expect("starts");
    registrar.ready().await;
    let count = async || -> Result<usize, String> {
        let under = p.entries.under("/spire-k8s-registrar/rest/node").await;
        Ok(under.map_err(|e| e.to_string())?.len())
    };
    eventually("all have entries", async || match count().await? {
        502 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    let events = p
        .plane
        .entry_events()
        .expect("the server's own count of changes");
    assert!(events >= 502, "every create was counted: {events}");
    let writes = registrar.writes().await.expect("a metric");
    let compared = || {
        let log = registrar.process.log();
        log.matches("Compared with the server").count()
    };
    let before = compared();
    eventually("the server is compared three times more", async || {
        let now = p.plane.entry_events().map_err(|e| e.to_string())?;
        let done = registrar.writes().await.map_err(|e| e.to_string())?;
        assert_eq!((now, done), (events, writes), "nothing is written");
        match compared() {
            n if n >= before + 3 => Ok(()),
            n => Err(format!("{} times", n - before)),
        }
    })
    .await;
}
