//! What fails, at random: processes, ways between them, what servers answer, and third parties.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use registrar_adapters::spire::pb::types::EntryMask;

use super::{
    kind::{Kind, kinds},
    mode::Mode,
    observer::Shared,
    replica::Replica,
    reviews::Reviews,
    right::sorted_line,
};
use crate::{
    ControlPlane, Entries,
    api_proxy::Fault,
    entries::{Entry, id},
    fate::Random,
};

struct Active {
    kind: Kind,
    replica: usize,
    until: Instant,
}

/// Everything that can fail, and what fails now.
pub struct Injector {
    /// The servers.
    pub plane: ControlPlane,
    /// The registrars.
    pub replicas: Vec<Replica>,
    /// How pods are reviewed, in webhook mode.
    pub reviews: Option<Reviews>,
    mode: Mode,
    kinds: Vec<(Kind, &'static str)>,
    entries: Entries,
    random: Random,
    active: Vec<Active>,
    counts: BTreeMap<Kind, usize>,
    observed: Shared,
    /// When what began and ended: what a failure is read beside.
    timeline: File,
    begun: Instant,
}

impl Injector {
    /// Nothing fails yet.
    ///
    /// # Errors
    /// If the server's entries cannot be reached, or the timeline cannot be written.
    pub fn new(
        plane: ControlPlane,
        replicas: Vec<Replica>,
        reviews: Option<Reviews>,
        (mode, seed): (Mode, u64),
        observed: Shared,
        timeline: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            timeline: File::create(timeline)?,
            begun: Instant::now(),
            entries: plane.entries()?,
            plane,
            replicas,
            reviews,
            mode,
            kinds: kinds(mode),
            random: Random::new(seed),
            active: Vec::new(),
            counts: BTreeMap::new(),
            observed,
        })
    }

    /// What was injected how often.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let count = |kind| self.counts.get(&kind).copied().unwrap_or_default();
        let counted = |(kind, name): &(Kind, &'static str)| (*name, count(*kind));
        self.kinds.iter().map(counted).collect()
    }

    /// Writes a line of the timeline.
    pub fn note(&mut self, what: &str) {
        self.note_at(Instant::now(), what);
    }

    /// The same of something that was seen at `at`.
    pub fn note_at(&mut self, at: Instant, what: &str) {
        let at = at.duration_since(self.begun).as_secs_f64();
        // It is there to help; a full disk is no fault of what is tested.
        let _ = writeln!(self.timeline, "{at:8.1} s {what}");
    }

    /// How much was injected so far, and what fails now.
    pub fn word(&self) -> String {
        let all: usize = self.counts.values().sum();
        let now: Vec<_> = self.active.iter().map(|a| a.kind.name()).collect();
        format!("{all} faults; now: {}", now.join(", "))
    }

    /// Ends what is over, and perhaps begins something.
    ///
    /// # Errors
    /// If a program ended that nobody killed, or something cannot be injected.
    pub async fn turn(&mut self) -> anyhow::Result<()> {
        self.end(|active| active.until <= Instant::now())?;
        self.all_run()?;
        if self.active.len() < 5 && self.random.below(3) == 0 {
            let (kind, name) = self.random.one_of(&self.kinds);
            let replica = self.random.below(self.replicas.len());
            let target = kind.target(replica);
            let (least, most) = kind.lasts();
            let lasts = self.random.millis(least, most);
            let taken = |a: &Active| a.kind.target(a.replica) == target;
            if !self.active.iter().any(taken) {
                self.note(&format!("begins: {name}, replica {}", replica + 1));
                self.begin(kind, replica)
                    .await
                    .with_context(|| format!("{name}, replica {replica}"))?;
                *self.counts.entry(kind).or_default() += 1;
                self.active.push(Active {
                    kind,
                    replica,
                    until: Instant::now() + lasts,
                });
            }
        }
        Ok(())
    }

    /// Ends everything: all programs run, all ways are well. The garbage collector begins anew: an API server that is killed
    /// every few seconds makes it forget objects whose owner is gone, and only its first look at everything finds them again.
    ///
    /// # Errors
    /// If a program cannot be started.
    pub async fn heal(&mut self) -> anyhow::Result<()> {
        self.end(|_| true)?;
        for replica in &self.replicas {
            replica.heal();
        }
        self.plane.api_ready().await?;
        if let Some(manager) = &mut self.plane.controller_manager {
            manager.start_again()?;
        }
        self.plane.spire_ready().await
    }

    fn all_run(&mut self) -> anyhow::Result<()> {
        let killed = |kind| self.active.iter().any(|a: &Active| a.kind == kind);
        if !killed(Kind::SpireKilled) {
            self.plane.spire_server.must_run()?;
        }
        if !killed(Kind::ApiKilled) {
            self.plane.api_server.must_run()?;
        }
        self.plane.etcd.must_run()?;
        // Without it no SpiffeID would go with its pod.
        if let Some(manager) = &mut self.plane.controller_manager {
            manager.must_run()?;
        }
        for (n, replica) in self.replicas.iter_mut().enumerate() {
            let dead = |a: &Active| a.kind == Kind::RegistrarKilled && a.replica == n;
            if self.active.iter().any(dead) {
                continue;
            }
            let process = &mut replica.registrar.process;
            // A kubelet starts it again, too.
            if process.ended().is_some() && could_not_begin(&process.log_tail()) {
                process.start_again()?;
            }
            process.must_run()?;
        }
        Ok(())
    }

    async fn begin(&mut self, kind: Kind, n: usize) -> anyhow::Result<()> {
        let some = self.random.below(20_000) as u32;
        let replica = &mut self.replicas[n];
        let reviews = self.reviews.as_ref();
        match kind {
            Kind::SpireKilled => self.plane.spire_server.kill(),
            Kind::SpireFrozen => self.plane.spire_server.freeze(),
            Kind::ApiKilled => self.plane.api_server.kill(),
            Kind::ApiFrozen => self.plane.api_server.freeze(),
            Kind::RegistrarKilled => replica.registrar.process.kill(),
            Kind::RegistrarFrozen => replica.registrar.process.freeze(),
            Kind::DiskFull => replica.fill_disk()?,
            Kind::FilesExhausted => replica.exhaust_files()?,
            Kind::SpireWayCut => replica.spire.cut(),
            Kind::SpireWayCutInFrame => replica.spire.cut_after(some),
            Kind::SpireWayStill => replica.spire.be_still(),
            Kind::ApiWayCut => replica.api.cut(),
            Kind::ApiWayCutInFrame => replica.api.cut_after(some),
            Kind::ApiWayStill => replica.api.be_still(),
            Kind::BadFates => replica.relay.fates().set(100 + self.random.any() % 700),
            Kind::ApiStatus => {
                let code = self
                    .random
                    .one_of(&[400, 401, 403, 404, 409, 410, 429, 500, 503, 504]);
                // Not what the program asks once at its start, and takes an answer for.
                replica.objects.fault("/api", None, Fault::Status(code));
                replica.objects.cut_streams();
            }
            Kind::ApiHalf => {
                replica.objects.fault("?limit", None, Fault::Cut);
                replica.objects.fault("/leases", None, Fault::Cut);
                replica.objects.fault("?watch", None, Fault::Status(410));
                replica.objects.cut_streams();
            }
            Kind::WatchTwice => {
                replica.objects.fault("watch=", None, Fault::Twice);
                replica.objects.cut_streams();
            }
            Kind::WatchReordered => {
                replica.objects.fault("watch=", None, Fault::Reordered);
                replica.objects.cut_streams();
            }
            Kind::StaleList => {
                replica.objects.fault("watch=", None, Fault::Status(410));
                replica.objects.fault("limit=", None, Fault::Stale);
                replica.objects.cut_streams();
            }
            Kind::HistoryGone => {
                // The API server may be away.
                let _ = self.plane.compact_etcd().await;
                replica.objects.cut_streams();
            }
            Kind::EntryTaken | Kind::EntryChanged => self.meddle(kind).await,
            Kind::CertificatesSwapped => reviews.map_or(Ok(()), Reviews::swap)?,
            Kind::CertificateHalf => reviews.map_or(Ok(()), Reviews::halve)?,
            Kind::WebhookWayCut => reviews.into_iter().for_each(|r| r.way.cut()),
            Kind::WebhookWayStill => reviews.into_iter().for_each(|r| r.way.be_still()),
        }
        Ok(())
    }

    fn end(&mut self, when: impl Fn(&Active) -> bool) -> anyhow::Result<()> {
        let active = std::mem::take(&mut self.active);
        let (over, going) = active.into_iter().partition(when);
        self.active = going;
        for Active { kind, replica, .. } in over {
            self.note(&format!("ends:   {}, replica {}", kind.name(), replica + 1));
            let replica = &mut self.replicas[replica];
            let reviews = self.reviews.as_ref();
            match kind {
                Kind::SpireKilled => self.plane.spire_server.start_again()?,
                Kind::SpireFrozen => self.plane.spire_server.thaw(),
                Kind::ApiKilled => self.plane.api_server.start_again()?,
                Kind::ApiFrozen => self.plane.api_server.thaw(),
                Kind::RegistrarKilled => replica.registrar.process.start_again()?,
                Kind::RegistrarFrozen => replica.registrar.process.thaw(),
                Kind::DiskFull => replica.empty_disk()?,
                Kind::FilesExhausted => replica.free_files()?,
                Kind::SpireWayCut | Kind::SpireWayCutInFrame | Kind::SpireWayStill => {
                    replica.spire.heal();
                }
                Kind::ApiWayCut | Kind::ApiWayCutInFrame | Kind::ApiWayStill => replica.api.heal(),
                Kind::BadFates => replica.relay.fates().set(0),
                Kind::ApiStatus | Kind::ApiHalf | Kind::WatchTwice | Kind::StaleList => {
                    replica.objects.heal();
                    replica.objects.cut_streams();
                }
                Kind::WatchReordered => {
                    replica.objects.heal();
                    replica.objects.expire_watches();
                }
                Kind::CertificatesSwapped | Kind::CertificateHalf => {
                    reviews.map_or(Ok(()), Reviews::restore)?;
                }
                Kind::WebhookWayCut | Kind::WebhookWayStill => {
                    reviews.into_iter().for_each(|r| r.way.heal());
                }
                Kind::HistoryGone | Kind::EntryTaken | Kind::EntryChanged => {}
            }
        }
        Ok(())
    }

    /// Someone else writes to an entry of ours, if the server answers.
    async fn meddle(&mut self, kind: Kind) {
        let asked = tokio::time::timeout(Duration::from_secs(2), self.entries.all());
        let Ok(Ok(all)) = asked.await else { return };
        let parent = |e: &Entry| e.parent_id.clone().unwrap_or_default().path;
        let ours: Vec<_> = all
            .into_iter()
            .filter(|e| parent(e).starts_with(self.mode.root()) && !e.id.starts_with("foreign"))
            .collect();
        if ours.is_empty() {
            return;
        }
        let mut entry = ours[self.random.below(ours.len())].clone();
        self.observed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .meddled
            .insert(sorted_line(&entry));
        // Whether it is done is not what matters.
        if kind == Kind::EntryTaken {
            let _ = self.entries.delete(&entry.id).await;
        } else {
            entry.spiffe_id = Some(id("/meddled"));
            let mask = EntryMask {
                spiffe_id: true,
                ..EntryMask::default()
            };
            let _ = self.entries.update(entry, mask).await;
        }
    }
}

/// Whether the last thing that a registrar said was why it could not begin, as it should: with half of a certificate nobody
/// can be served, and without file descriptors nothing can be read.
fn could_not_begin(log: &str) -> bool {
    let last = log.lines().next_back().unwrap_or_default();
    last.starts_with("unable to load server keypair") || last.contains("Too many open files")
}
