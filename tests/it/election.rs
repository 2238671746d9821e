//! Several replicas: one writes, another takes over whatever becomes of it, and nothing is lost or written twice.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use registrar_tests::{
    Options, PodSpec, Registrar,
    entries::line,
    eventually,
    proxy::Proxy,
    relay::{Record, Relay},
    steadily,
};
use serde_json::json;

use crate::plane::{Private, private, shared};

const ROOT: &str = "/spire-k8s-registrar/election/node";
const LEASE: &str = "spire-k8s-registrar-leader-election";
const ELECTED: &str = "leader_election = true\nnamespace = \"apps\"";

struct Replica {
    name: &'static str,
    registrar: Registrar,
    api: Proxy,
    _relay: Relay,
}

struct Replicas {
    p: Private,
    all: Vec<Replica>,
    record: Record,
    pods: usize,
}

impl Replicas {
    async fn start(names: &[&'static str]) -> Self {
        let p = private(Options {
            controller_manager: false,
            ..Options::default()
        })
        .await;
        let record = Record::default();
        let mut all = Vec::new();
        for name in names {
            let api = Proxy::start(p.plane.api_port()).await.expect("a proxy");
            let kubeconfig = p
                .plane
                .kubeconfig_through(name, api.port())
                .expect("a kubeconfig");
            let relay = Relay::start(p.plane.dir(), name, &p.plane.spire_socket(), record.clone())
                .expect("a relay");
            let mut registrar =
                Registrar::start_with(&p.plane, &kubeconfig, relay.socket(), "election", ELECTED)
                    .expect("starts");
            registrar.ready().await;
            all.push(Replica {
                name,
                registrar,
                api,
                _relay: relay,
            });
        }
        Self {
            p,
            all,
            record,
            pods: 0,
        }
    }

    /// Which one leads, by its own word; fails while it is not exactly one among those that answer.
    async fn leader(&mut self) -> Result<usize, String> {
        let mut leading = Vec::new();
        for (n, replica) in self.all.iter_mut().enumerate() {
            let answer =
                tokio::time::timeout(Duration::from_secs(2), replica.registrar.metric("leader"))
                    .await;
            if let Ok(Ok(1.0)) = answer {
                leading.push(n);
            }
        }
        match *leading {
            [leader] => Ok(leader),
            _ => Err(format!("{} lead: {leading:?}", leading.len())),
        }
    }

    async fn a_leader_other_than(&mut self, before: Option<usize>) -> usize {
        let begun = std::time::Instant::now();
        let leader = eventually("another replica leads", async || {
            match self.leader().await {
                Ok(leader) if Some(leader) == before => Err("still the same".to_owned()),
                other => other,
            }
        })
        .await;
        eprintln!(
            "{} leads after {} ms",
            self.all[leader].name,
            begun.elapsed().as_millis()
        );
        leader
    }

    async fn more_pods(&mut self, count: usize) {
        for n in self.pods..self.pods + count {
            self.p
                .cluster
                .pod(&PodSpec::new("apps", &format!("p-{n}")))
                .await
                .expect("pod");
        }
        self.pods += count;
    }

    /// Exactly the living pods have entries, one each.
    async fn all_registered(&self) {
        let wanted: BTreeSet<String> = (0..self.pods)
            .map(|n| {
                format!("/ns/apps/sa/default <- {ROOT}/node-1 [k8s:ns:apps k8s:pod-name:p-{n}]")
            })
            .collect();
        eventually("exactly the living pods have entries", async || {
            let found = self.p.entries.selecting(ROOT, &["k8s:ns:apps"]).await;
            let found = found.map_err(|e| e.to_string())?;
            let lines: BTreeSet<String> = found.iter().map(line).collect();
            if found.len() == lines.len() && lines == wanted {
                return Ok(());
            }
            let missing: Vec<_> = wanted.difference(&lines).take(5).collect();
            Err(format!("{} found; missing {missing:?}", found.len()))
        })
        .await;
    }

    /// Whoever wrote at some time wrote in one row: nobody wrote again after another one had begun to.
    fn each_wrote_in_one_row(&self) {
        let turns = self.record.turns();
        let distinct: BTreeSet<_> = turns.iter().collect();
        assert_eq!(turns.len(), distinct.len(), "{turns:?}");
    }
}

#[tokio::test]
async fn a_replica_that_ends_or_dies_or_freezes_is_followed_by_another_and_writes_no_more() {
    let mut r = Replicas::start(&["one", "two", "three"]).await;
    let first = r.a_leader_other_than(None).await;
    r.more_pods(20).await;
    r.all_registered().await;

    // SIGTERM: the Lease is given back.
    r.all[first].registrar.process.terminate();
    r.more_pods(10).await;
    let second = r.a_leader_other_than(Some(first)).await;
    r.all_registered().await;
    let status = eventually("the first one ends", async || {
        r.all[first]
            .registrar
            .process
            .ended()
            .ok_or("still running")
    })
    .await;
    assert_eq!(status.code(), Some(0));

    // SIGSTOP in a burst, for longer than the Lease; then it goes on where it was.
    r.more_pods(10).await;
    r.all[second].registrar.process.freeze();
    r.more_pods(10).await;
    let third = r.a_leader_other_than(Some(second)).await;
    r.all_registered().await;
    r.all[second].registrar.process.thaw();
    eventually(
        "the frozen one knows that it does not lead",
        async || match r.all[second].registrar.metric("leader").await {
            Ok(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    r.more_pods(10).await;
    r.all_registered().await;
    r.each_wrote_in_one_row();

    // SIGKILL: the Lease runs out.
    r.all[third].registrar.process.kill();
    r.more_pods(10).await;
    let fourth = r.a_leader_other_than(Some(third)).await;
    assert_eq!(fourth, second, "the only one left, never restarted");
    r.all_registered().await;
    r.all[second].registrar.process.must_run().expect("runs");
    assert_eq!(r.record.turns().len(), 4, "{:?}", r.record.turns());
}

#[tokio::test]
async fn a_leader_cut_off_from_the_api_server_stops_in_time_and_stays_up() {
    let mut r = Replicas::start(&["near", "far"]).await;
    let first = r.a_leader_other_than(None).await;
    r.more_pods(20).await;
    r.all_registered().await;
    r.all[first].api.cut();
    r.more_pods(10).await;
    let second = r.a_leader_other_than(Some(first)).await;
    r.all_registered().await;
    r.all[first].api.heal();
    eventually("it stands by", async || {
        r.all[first]
            .registrar
            .process
            .must_run()
            .map_err(|e| e.to_string())?;
        let log = r.all[first].registrar.process.log();
        let (_, after) = log
            .rsplit_once("could not be renewed in time")
            .ok_or("not stopped")?;
        if after.contains("another replica leads") {
            Ok(())
        } else {
            Err("not yet")
        }
        .map_err(str::to_owned)
    })
    .await;
    assert_eq!(
        r.all[first]
            .registrar
            .get("/livez")
            .await
            .expect("answers")
            .0,
        200
    );
    r.more_pods(10).await;
    r.all_registered().await;
    r.each_wrote_in_one_row();
    // Both replicas live through a restart of the API server, and one of them leads afterwards.
    r.p.plane.api_server.kill();
    r.p.plane.api_server.start_again().expect("starts");
    r.p.plane.api_ready().await.expect("ready");
    r.more_pods(10).await;
    r.all_registered().await;
    eventually("one leads", async || r.leader().await).await;
    for n in [first, second] {
        r.all[n].registrar.process.must_run().expect("runs");
    }
}

#[tokio::test]
async fn a_lease_or_an_old_lock_that_another_one_renews_is_never_taken() {
    let b = shared("old-lock").await;
    let leases: Api<Lease> = Api::namespaced(b.cluster.client(), "old-lock");
    let maps: Api<ConfigMap> = Api::namespaced(b.cluster.client(), "old-lock");
    let lease = json!({"metadata": {"name": LEASE}, "spec": {"holderIdentity": "someone", "leaseDurationSeconds": 4}});
    leases
        .create(
            &PostParams::default(),
            &serde_json::from_value(lease).expect("a Lease"),
        )
        .await
        .expect("created");
    let mut registrar = Registrar::start(
        b.plane,
        b.name,
        "leader_election = true\nnamespace = \"old-lock\"\nleader_election_resource_lock = \"configmaps\"",
    )
    .expect("starts");
    registrar.ready().await;
    b.cluster
        .pod(&PodSpec::new("old-lock", "a"))
        .await
        .expect("pod");
    let mut count = 0;
    steadily(
        Duration::from_secs(8),
        "the Lease is left to its holder",
        async || {
            count += 1;
            let renewed = json!({"spec": {"leaseTransitions": count}});
            leases
                .patch(LEASE, &PatchParams::default(), &Patch::Merge(renewed))
                .await
                .map_err(|e| e.to_string())?;
            match registrar.metric("leader").await {
                Ok(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
    // Its holder stops; now an original registrar renews its own kind of lock.
    let lock = |n: u32| {
        let text = format!(
            r#"{{"holderIdentity":"old-0_1","leaseDurationSeconds":4,"acquireTime":"2022-01-01T00:00:00Z","renewTime":"{n}","leaderTransitions":0}}"#
        );
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": LEASE, "annotations": {"control-plane.alpha.kubernetes.io/leader": text},
            },
        })
    };
    let mut apply = PatchParams::apply("original");
    apply.force = true;
    steadily(
        Duration::from_secs(10),
        "the old lock is honoured",
        async || {
            count += 1;
            maps.patch(LEASE, &apply, &Patch::Apply(lock(count)))
                .await
                .map_err(|e| e.to_string())?;
            match registrar.metric("leader").await {
                Ok(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
    registrar
        .process
        .must_run()
        .expect("it stands by, and never ends");
    assert!(b.pods().await.expect("listed").is_empty());
    assert!(
        registrar.process.log().contains("old-0_1"),
        "{}",
        registrar.process.log_tail()
    );
    // The original is gone: its lock runs out.
    b.settles(&[("/ns/old-lock/sa/default", "node-1", "a")])
        .await;
}
