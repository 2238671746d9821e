//! Several replicas: one writes, another takes over whatever becomes of it, and nothing is lost or written twice.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints},
};
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
    wall_clock::WallClock,
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
    clock: WallClock,
    _relay: Relay,
}

/// Every renewal of the Lease: by whom, and when by the holder's own clock.
#[derive(Clone, Default)]
struct Renewals(Arc<Mutex<Vec<(String, SystemTime)>>>);

impl Renewals {
    /// Looks at the Lease far more often than it is renewed.
    async fn watch(self, leases: Api<Lease>) {
        loop {
            if let Ok(Some(lease)) = leases.get_opt(LEASE).await
                && let Some(spec) = lease.spec
                && let (Some(holder), Some(renewed)) = (spec.holder_identity, spec.renew_time)
            {
                let renewal = (holder, SystemTime::from(renewed.0));
                let mut all = self.0.lock().expect("whole");
                if all.last() != Some(&renewal) {
                    all.push(renewal);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

struct Replicas {
    p: Private,
    all: Vec<Replica>,
    record: Record,
    renewals: Renewals,
    watching: tokio::task::JoinHandle<()>,
    pods: usize,
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.watching.abort();
    }
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
            let clock = WallClock::new(p.plane.dir(), name).expect("a clock");
            let mut registrar = Registrar::start_in(
                &p.plane,
                &kubeconfig,
                relay.socket(),
                "election",
                ELECTED,
                &clock.env(),
            )
            .expect("starts");
            registrar.ready().await;
            all.push(Replica {
                name,
                registrar,
                api,
                clock,
                _relay: relay,
            });
        }
        let renewals = Renewals::default();
        let leases = Api::namespaced(p.cluster.client(), "apps");
        Self {
            watching: tokio::spawn(renewals.clone().watch(leases)),
            p,
            all,
            record,
            renewals,
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

    /// By what the server's side saw: each call that wrote began within ten seconds of its replica's last renewal of
    /// the Lease, and not after another one's.
    fn no_call_began_after_its_lease(&self) {
        /// What the way from the replica to the record may take.
        const ON_THE_WAY: Duration = Duration::from_secs(1);
        let renewals = self.renewals.0.lock().expect("whole").clone();
        let identity = |name: &str| -> String {
            let replica = self.all.iter().find(|r| r.name == name);
            let log = replica.expect("a replica").registrar.process.log();
            let said = log.split("identity=").nth(1).expect("who it is");
            said.split_whitespace().next().expect("a word").to_owned()
        };
        let writes = self.record.writes();
        assert!(!writes.is_empty());
        for (writer, at) in writes {
            let holder = identity(writer);
            let before = renewals.iter().filter(|(_, renewed)| *renewed <= at);
            let own = before
                .clone()
                .filter(|(h, _)| *h == holder)
                .map(|(_, t)| *t);
            let renewed = own
                .max()
                .unwrap_or_else(|| panic!("{writer} wrote without the Lease"));
            let since = at.duration_since(renewed).expect("later");
            assert!(
                since <= Duration::from_secs(10) + ON_THE_WAY,
                "{writer} wrote {since:?} after its last renewal"
            );
            let (last, when) = before.max_by_key(|(_, t)| *t).expect("one");
            let after = at.duration_since(*when).expect("later");
            assert!(
                *last == holder || after <= ON_THE_WAY,
                "{writer} wrote {after:?} after {last} took the Lease"
            );
        }
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
    r.no_call_began_after_its_lease();
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
    r.no_call_began_after_its_lease();
}

#[tokio::test]
async fn a_wall_clock_that_jumps_moves_nobody() {
    let mut r = Replicas::start(&["left", "right"]).await;
    let leader = r.a_leader_other_than(None).await;
    let standby = 1 - leader;
    r.more_pods(5).await;
    r.all_registered().await;
    // An hour ahead on the one and half an hour behind on the other: further apart than any lease lasts; then the other
    // way round. (Half an hour, since the API server's certificate is not valid much longer ago.)
    for (leads, stands_by) in [(3600, -1800), (-1800, 3600)] {
        r.all[leader].clock.jump(leads).expect("set");
        r.all[standby].clock.jump(stands_by).expect("set");
        r.more_pods(5).await;
        r.all_registered().await;
        let leases: Api<Lease> = Api::namespaced(r.p.cluster.client(), "apps");
        eventually(
            "the Lease is renewed by the clock that jumped",
            async || {
                let lease = leases.get(LEASE).await.map_err(|e| e.to_string())?;
                let renewed = lease.spec.and_then(|s| s.renew_time).ok_or("no time")?;
                let now = k8s_openapi::jiff::Timestamp::now();
                let ahead = renewed.0.as_second() - now.as_second();
                match (ahead - leads).abs() < 60 {
                    true => Ok(()),
                    false => Err(format!("{ahead} s ahead")),
                }
            },
        )
        .await;
        // Longer than a lease.
        steadily(
            Duration::from_secs(17),
            "the same one leads",
            async || match r.leader().await {
                Ok(now) if now == leader => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
        r.more_pods(5).await;
        r.all_registered().await;
    }
    assert_eq!(r.record.turns(), [r.all[leader].name]);
    // And a lead that was given up is taken, whatever time it is for whom.
    r.all[leader].registrar.process.terminate();
    r.more_pods(5).await;
    let next = r.a_leader_other_than(Some(leader)).await;
    assert_eq!(next, standby);
    r.all_registered().await;
    r.each_wrote_in_one_row();
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
    // The same on an Endpoints object: the other kind that the original had. One is renewed before the other ends.
    let endpoints: Api<Endpoints> = Api::namespaced(b.cluster.client(), "old-lock");
    steadily(
        Duration::from_secs(10),
        "the old lock on Endpoints is honoured",
        async || {
            count += 1;
            let mut object = lock(count);
            object["kind"] = json!("Endpoints");
            endpoints
                .patch(LEASE, &apply, &Patch::Apply(object))
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
