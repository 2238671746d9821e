//! Two replicas: both answer reviews, one sweeps, and the other one sweeps when that is gone.

use registrar_tests::{
    PodSpec, Registrar, eventually, process::free_port, proxy::Proxy, webhook::Webhook,
};

use super::{asked, entries_of, lines, right, settles, unbound};
use crate::plane::{Private, private};

struct Replica {
    registrar: Registrar,
    port: u16,
}

struct Replicas {
    /// Before the folder with their logs, which a failed test shows.
    all: Vec<Replica>,
    p: Private,
    service: Proxy,
    /// Its files are read again and again.
    _webhook: Webhook,
}

impl Replicas {
    /// Two behind one address, as behind a Service.
    async fn start() -> Self {
        // It leads somewhere only when there is a replica.
        let service = Proxy::start(0).await.expect("a proxy");
        let webhook = Webhook::generate_at("fail", service.port()).expect("generated");
        let p = private(webhook.options()).await;
        let mut all = Vec::new();
        for _ in 0..2 {
            let port = free_port().expect("a port");
            let config = format!(
                "{}leader_election = true\nnamespace = \"apps\"\ndrift_interval = \"3s\"\n",
                webhook.config_at(port)
            );
            let mut registrar = Registrar::start(&p.plane, "webhook", &config).expect("starts");
            registrar.ready().await;
            all.push(Replica { registrar, port });
        }
        service.lead_to(all[0].port);
        webhook.install(&p.cluster).await.expect("installed");
        asked(&p.cluster, &p.entries).await;
        Self {
            all,
            p,
            service,
            _webhook: webhook,
        }
    }

    async fn leader(&self) -> usize {
        eventually("one replica leads", async || {
            let mut leading = Vec::new();
            for (n, replica) in self.all.iter().enumerate() {
                if let Ok(1.0) = replica.registrar.metric("leader").await {
                    leading.push(n);
                }
            }
            match *leading {
                [leader] => Ok(leader),
                _ => Err(leading),
            }
        })
        .await
    }

    /// Makes a pod and looks for its entry at once.
    async fn registers(&self, pod: PodSpec, name: &str) {
        // The API server may take a connection to whom the service led before, which fails that review.
        eventually("it is admitted", async || {
            let made = self.p.cluster.pod(&pod).await;
            made.map_err(|why| format!("{why:#}"))
        })
        .await;
        self.is_there(name).await;
    }

    async fn is_there(&self, pod: &str) {
        let found = lines(&self.p.entries, "apps").await.expect("listed");
        assert!(found.contains(&right("apps", pod)), "{pod}: {found:#?}");
    }
}

#[tokio::test]
async fn both_replicas_answer_reviews_and_whoever_leads_sweeps() {
    let mut r = Replicas::start().await;
    let first = r.leader().await;
    let other = 1 - first;
    for n in [first, other] {
        r.service.lead_to(r.all[n].port);
        for pod in ["a", "b"] {
            let name = format!("{pod}-{n}");
            r.registers(PodSpec::new("apps", &name), &name).await;
        }
    }
    // The leader makes good what someone took away, whoever answered that pod's review.
    for entry in entries_of(&r.p.entries, "apps").await.expect("listed") {
        r.p.entries.delete(&entry.id).await.expect("deleted");
    }
    let all = ["a-0", "a-1", "b-0", "b-1"].map(|name| right("apps", name));
    settles(&r.p.entries, "apps", &all).await;

    // Without it, the other one still answers, and soon sweeps.
    r.all[first].registrar.process.kill();
    r.service.lead_to(r.all[other].port);
    r.registers(unbound("apps", "late"), "late").await;
    for name in ["a-0", "b-1"] {
        r.p.cluster.delete_pod("apps", name).await.expect("deleted");
    }
    let left = ["a-1", "b-0", "late"].map(|name| right("apps", name));
    settles(&r.p.entries, "apps", &left).await;
    let leads = r.all[other].registrar.metric("leader").await;
    assert_eq!(leads.expect("a metric"), 1.0);

    // One that comes back stands by, and answers.
    r.all[first]
        .registrar
        .process
        .start_again()
        .expect("starts");
    r.all[first].registrar.ready().await;
    r.service.lead_to(r.all[first].port);
    r.registers(unbound("apps", "again"), "again").await;
    assert_eq!(r.leader().await, other);
}
