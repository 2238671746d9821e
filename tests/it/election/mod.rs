//! Several replicas: one writes, another takes over whatever becomes of it, and nothing is lost or written twice.

mod hand_over;
mod locks;
mod wall_clock;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use registrar_tests::{
    Options, PodSpec, Registrar,
    entries::line,
    eventually,
    proxy::Proxy,
    relay::{Record, Relay},
    wall_clock::WallClock,
};

use crate::plane::{Private, private};

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
    /// Before the folder with their logs, which a failed test shows.
    all: Vec<Replica>,
    p: Private,
    record: Record,
    renewals: Renewals,
    watching: tokio::task::JoinHandle<()>,
    /// Who was frozen as the leader and went on, and when.
    thawed: Vec<(&'static str, SystemTime)>,
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
            thawed: Vec::new(),
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

    /// A leader that was frozen goes on, where it was.
    fn thaw(&mut self, n: usize) {
        self.thawed.push((self.all[n].name, SystemTime::now()));
        self.all[n].registrar.process.thaw();
    }

    /// The calls that wrote, in order, but for those that a leader had begun when it was frozen and that arrive when it
    /// goes on: as many as may be in flight.
    fn begun(&self) -> Vec<(&'static str, SystemTime)> {
        const IN_FLIGHT: usize = 4;
        const AT_ONCE: Duration = Duration::from_secs(1);
        let mut calls = self.record.writes();
        for (name, thawed) in &self.thawed {
            let arrives = |writer: &str, at: &SystemTime| {
                writer == *name && *thawed <= *at && *at <= *thawed + AT_ONCE
            };
            let late = calls.iter().filter(|(w, at)| arrives(w, at)).count();
            assert!(
                late <= IN_FLIGHT,
                "{name} began {late} calls when it went on"
            );
            calls.retain(|(w, at)| !arrives(w, at));
        }
        calls
    }

    /// Who wrote, each named once for a row of calls of its own.
    fn turns(&self) -> Vec<&'static str> {
        let mut writers: Vec<_> = self.begun().into_iter().map(|(writer, _)| writer).collect();
        writers.dedup();
        writers
    }

    /// Whoever wrote at some time wrote in one row: nobody wrote again after another one had begun to.
    fn each_wrote_in_one_row(&self) {
        let turns = self.turns();
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
        let writes = self.begun();
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
