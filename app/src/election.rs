//! Standing for election: drives the core's machine against the API server, and keeps the fence that every call that
//! writes must pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use registrar_adapters::{
    config::Common,
    kubernetes::{KubeSettings, LeaseLock, connect_for_lease},
    spire::Deadlines,
    telemetry::Metrics,
};
use registrar_core::leader::{Answer, Election, News, Terms, Turn, Why};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::{debug, info, warn};

use crate::parts::nonce;

/// How long giving the Lease back may take.
const RESIGN_WITHIN: Duration = Duration::from_secs(2);
/// Without an election nothing ever expires.
const NEVER: u64 = u64::MAX;

/// Until when a call that writes may begin. Clones share it.
#[derive(Debug, Clone)]
pub struct Fence(Arc<AtomicU64>);

impl Fence {
    /// Whether a call that writes may begin now.
    pub fn is_open(&self) -> bool {
        let until = self.0.load(Ordering::Acquire);
        until == NEVER || (now().as_nanos() as u64) < until
    }

    fn set(&self, until: Option<Duration>) {
        let until = until.map_or(0, |u| u.as_nanos() as u64);
        self.0.store(until, Ordering::Release);
    }
}

/// Time since the machine was started. It goes on while the machine is suspended, as other replicas' clocks do.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .expect("Linux has had this clock since 2.6.39")
}

/// Whether this replica writes, now and later.
#[derive(Debug)]
pub struct Candidacy {
    fence: Fence,
    changes: watch::Receiver<bool>,
    standing: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    /// Without an election it stays open, so that nobody waits on a closed channel.
    _unopposed: Option<watch::Sender<bool>>,
}

impl Candidacy {
    /// The only replica: it leads from the start.
    pub fn unopposed() -> Self {
        let (sender, changes) = watch::channel(true);
        Self {
            fence: Fence(Arc::new(AtomicU64::new(NEVER))),
            changes,
            standing: None,
            _unopposed: Some(sender),
        }
    }

    /// What `leader_election` asks for: an election by the Lease `lease` of `namespace`, or none.
    ///
    /// # Errors
    /// If the API server cannot be reached at all.
    pub async fn of(
        common: &Common,
        settings: &KubeSettings,
        namespace: &str,
        lease: &str,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        if !common.leader_election {
            return Ok(Self::unopposed());
        }
        let terms = Terms::default();
        terms
            .check(Deadlines::default().write)
            .context("leader_election cannot work")?;
        let client = connect_for_lease(settings, terms.deadline).await?;
        let lock = LeaseLock::new(client, namespace, lease, terms.deadline);
        let identity = format!("{}_{:016x}", hostname(), nonce());
        info!(lease, namespace, identity, "Standing for election");
        Ok(Self::stand(
            lock,
            Election::new(identity.into(), terms),
            metrics,
        ))
    }

    fn stand(lock: LeaseLock, election: Election, metrics: Metrics) -> Self {
        let fence = Fence(Arc::new(AtomicU64::new(0)));
        let (sender, changes) = watch::channel(false);
        let (resign, resigned) = oneshot::channel();
        let standing = Standing {
            election,
            lock,
            fence: fence.clone(),
            changes: sender,
            metrics,
        };
        Self {
            fence,
            changes,
            standing: Some((resign, tokio::spawn(standing.run(resigned)))),
            _unopposed: None,
        }
    }

    /// What every call that writes must pass.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Whether this replica leads, by the clock.
    pub fn leads(&self) -> bool {
        self.fence.is_open()
    }

    /// Waits until that may have changed.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the Lease back. Call it when no call that writes is under way.
    pub async fn resign(self) {
        let Some((resign, standing)) = self.standing else {
            return;
        };
        // An error would mean that the task is gone; it then leads no more.
        let _ = resign.send(());
        if tokio::time::timeout(RESIGN_WITHIN, standing).await.is_err() {
            warn!("The Lease could not be given back; it runs out by itself");
        }
    }
}

struct Standing {
    election: Election,
    lock: LeaseLock,
    fence: Fence,
    changes: watch::Sender<bool>,
    metrics: Metrics,
}

impl Standing {
    async fn run(mut self, mut resigned: oneshot::Receiver<()>) {
        let mut turn = self.election.step(now(), None);
        let mut leaving = false;
        loop {
            self.take(&turn);
            if turn.over {
                return;
            }
            let answer = match turn.request.take() {
                Some(request) => Some(self.perform(request).await),
                None => {
                    let wait = turn
                        .wake_at
                        .map_or(Duration::from_secs(1), |at| at.saturating_sub(now()));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        asked = &mut resigned, if !leaving => {
                            leaving = true;
                            // A sender that is gone asks, too: the program ends.
                            let _ = asked;
                            self.election.resign();
                        }
                    }
                    None
                }
            };
            if !leaving && resigned.try_recv().is_ok() {
                leaving = true;
                self.election.resign();
            }
            turn = self.election.step(now(), answer);
        }
    }

    /// Performs a request; the lead may run out meanwhile, and is then given up without waiting for the answer.
    async fn perform(&mut self, request: registrar_core::leader::Request) -> Answer {
        let expires = self.election.may_begin_until();
        let fence = self.fence.clone();
        let changes = self.changes.clone();
        let watchdog = async {
            match expires {
                Some(until) => tokio::time::sleep(until.saturating_sub(now())).await,
                None => std::future::pending().await,
            }
            if !fence.is_open() {
                changes.send_replace(false);
            }
            std::future::pending::<()>().await;
        };
        let performed = tokio::select! {
            performed = self.lock.perform(request) => performed,
            () = watchdog => unreachable!("the watchdog never ends"),
        };
        match performed.trouble {
            Some(trouble) => {
                self.metrics.lease_failures.inc();
                warn!(reason = trouble, "Leader election");
            }
            None => debug!(answer = ?performed.answer, "Leader election"),
        }
        performed.answer
    }

    fn take(&mut self, turn: &Turn) {
        self.fence.set(self.election.may_begin_until());
        for news in &turn.news {
            match news {
                News::Leading => info!("Leading: this replica writes"),
                News::Stopped(Why::Expired) => {
                    warn!("Not leading any more: the Lease could not be renewed in time");
                }
                News::Stopped(Why::TakenBy(holder)) if holder.is_empty() => {
                    warn!("Not leading any more: the Lease was deleted or emptied");
                }
                News::Stopped(Why::TakenBy(holder)) => {
                    warn!(%holder, "Not leading any more: another replica holds the Lease");
                }
                News::Stopped(Why::OldLock(holder)) => {
                    warn!(%holder, "Not leading any more: an original registrar renews its own lock");
                }
                News::Stopped(Why::Resigned) => info!("Giving the Lease back"),
                News::HeldBy(holder) => info!(%holder, "Standing by: another replica leads"),
                News::OldLock(kind, holder) => warn!(
                    kind,
                    %holder,
                    "Standing by: an original registrar's lock may still be held; it is honoured as long as it is renewed"
                ),
            }
        }
        let leads = self.fence.is_open();
        self.changes.send_if_modified(|was| {
            let changed = *was != leads;
            *was = leads;
            changed
        });
    }
}

fn hostname() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|n| !n.is_empty());
    named
        .or_else(|| {
            std::fs::read_to_string("/proc/sys/kernel/hostname")
                .ok()
                .map(|n| n.trim().to_owned())
        })
        .unwrap_or_else(|| "k8s-workload-registrar".into())
}
