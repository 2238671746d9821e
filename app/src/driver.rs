//! The loop: takes in what happened, steps, performs the effects. Everything that decides anything is in the core.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use registrar_adapters::{
    kubernetes::{self, Control, KubeApi, Watched},
    spire::SpireServer,
    telemetry::{Health, LogFile, Metrics, metrics::KindLabel},
};
use registrar_core::{
    ports::FailureClass,
    spiffe::TrustDomain,
    sync::{Event, Reconciler, TripId},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    election::Candidacy,
    intake::{Incoming, Intake},
    replies::Calls,
    report::Reporter,
    signals::{Asked, Signals},
};

/// Events taken in one step at most; a first list of a large cluster should not delay replies.
const LARGEST_STEP: usize = 4096;
/// How soon metrics tell of a change: not with every step, of which there may be thousands a second.
const SHOW_WITHIN: Duration = Duration::from_millis(100);
/// How often the probes hear of us, and ages grow while something waits.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How long calls under way may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(12);

/// Everything the loop listens to and speaks to.
pub struct Driver {
    pub machine: Reconciler,
    pub server: Arc<dyn SpireServer>,
    /// Where SpiffeIDs are written, in the mode that has them.
    pub kube: Option<Arc<dyn KubeApi>>,
    pub watched: mpsc::Receiver<Watched>,
    pub control: mpsc::Receiver<Control>,
    pub candidacy: Candidacy,
    /// Admission reviews, where there are any.
    pub intake: Option<Intake>,
    pub signals: Signals,
    pub reporter: Reporter,
    pub metrics: Metrics,
    pub health: Health,
    pub log_file: Option<LogFile>,
}

/// Seconds since 1970.
fn unix_time() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// What comes in from reviews; never anything where there are none.
async fn next(intake: &mut Option<Intake>) -> Incoming {
    match intake {
        Some(intake) => intake.next().await,
        None => std::future::pending().await,
    }
}

/// Asks the server for its trust domain until it answers.
///
/// # Errors
/// If it is another one than ours.
async fn check_trust_domain(server: Arc<dyn SpireServer>, ours: TrustDomain) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(200);
    loop {
        match server.trust_domain().await {
            Ok(theirs) if theirs == ours => return Ok(()),
            Ok(theirs) => bail!(
                "trust_domain is {:?}, but the SPIRE Server's is {:?}: write the server's into the configuration, \
                 or name another server",
                ours.as_str(),
                theirs.as_str()
            ),
            Err(failure) if failure.class == FailureClass::Denied => {
                // It serves us, but not this: the first create would tell a difference.
                warn!(reason = %failure.message, "The server's trust domain cannot be compared");
                return Ok(());
            }
            Err(failure) => {
                warn!(reason = %failure.message, "Waiting for the SPIRE Server");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

impl Driver {
    /// Runs until SIGTERM.
    ///
    /// # Errors
    /// If the server has another trust domain than the configuration says.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (reply_sender, mut replies) = mpsc::channel::<Event>(64);
        let mut calls = Calls::new(
            self.server.clone(),
            self.kube.clone(),
            self.metrics.clone(),
            reply_sender,
        );
        let mut checked = Box::pin(check_trust_domain(
            self.server.clone(),
            self.machine.policy().trust_domain.clone(),
        ));
        let mut server_checked = false;
        let mut known_as = None;
        let mut leading = false;
        let mut paused = false;
        let mut confirmed: Option<String> = None;
        let mut wake_at = None;
        let mut stopping = false;
        let mut first = Some(Event::UnixTime(unix_time()));
        let mut shown = Instant::now();
        let mut changed = false;
        self.tell_health(server_checked);
        let mut waiting = self.show(begun);
        loop {
            let show_at = shown + if changed { SHOW_WITHIN } else { SHOW_EVERY };
            let wake = wake_at.map_or(show_at, |at: Duration| (begun + at).min(show_at));
            let mut events: Vec<Event> = first.take().into_iter().collect();
            tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::Stop => {
                        // Reviews that are under way are answered first.
                        stopping = self.intake.as_mut().is_some_and(Intake::stop);
                        if !stopping {
                            break;
                        }
                    }
                    Asked::Reopen => self.reopen_log(),
                    Asked::Confirm => events.push(Event::ConfirmDeletes(None)),
                },
                result = &mut checked, if !server_checked => {
                    result?;
                    server_checked = true;
                    events.extend(self.intake.as_ref().map(|_| Event::Answering));
                }
                incoming = next(&mut self.intake) => match incoming {
                    Incoming::Event(event) => events.push(event),
                    Incoming::Ended(Ok(())) if stopping => break,
                    Incoming::Ended(result) => {
                        result.context("the webhook's server broke")?;
                        bail!("the webhook's server ended");
                    }
                },
                () = self.candidacy.changed() => {}
                Some(reply) = replies.recv() => events.push(reply),
                Some(control) = self.control.recv() => {
                    if control.pause != paused {
                        paused = control.pause;
                        warn!(paused, "All writing is paused, or goes on, by the control ConfigMap");
                        events.push(Event::Paused(paused));
                    }
                    if control.confirm_deletes != confirmed {
                        confirmed = control.confirm_deletes;
                        let trip = confirmed.as_deref().map(|t| TripId(t.into()));
                        events.extend(trip.map(|t| Event::ConfirmDeletes(Some(t))));
                    }
                }
                Some(watched) = self.watched.recv() => self.take(watched, &mut events),
                () = sleep_until(wake) => {}
            }
            while events.len() < LARGEST_STEP {
                if let Ok(reply) = replies.try_recv() {
                    events.push(reply);
                } else if let Some(event) = self.intake.as_mut().and_then(Intake::ready) {
                    events.push(event);
                } else if let Ok(watched) = self.watched.try_recv() {
                    self.take(watched, &mut events);
                } else {
                    break;
                }
            }
            let own_id = self.server.own_id();
            if own_id.is_some() && own_id != known_as {
                known_as = own_id;
                events.extend(known_as.clone().map(Event::KnownAs));
            }
            // Asked anew for every step: after a long sleep nobody has told us yet that the lead ran out.
            let leads = server_checked && self.candidacy.leads();
            if leads != leading {
                leading = leads;
                events.push(Event::Leading(leading));
            }
            changed |= !events.is_empty();
            let step = self.machine.step(begun.elapsed(), events);
            for (id, call) in step.calls {
                calls.start(id, call);
            }
            for (id, call) in step.kube_calls {
                calls.start_kube(id, call);
            }
            if let Some(intake) = &mut self.intake {
                intake.perform(step.answers, step.look_ups);
            }
            for fact in &step.facts {
                self.reporter.tell(&self.machine, fact);
            }
            wake_at = step.wake_at;
            if wake_at.is_some_and(|at| at <= begun.elapsed()) {
                // Others have their turn before the next slice.
                tokio::task::yield_now().await;
            }
            let due = show_at <= Instant::now();
            if due || !step.facts.is_empty() {
                self.tell_health(server_checked);
            }
            changed |= !step.facts.is_empty();
            if due {
                if changed || waiting {
                    waiting = self.show(begun);
                }
                changed = false;
                shown = Instant::now();
            }
        }
        info!("Stopping: no new calls, waiting for those under way");
        self.health.turned(vec!["stopping".into()]);
        // Replies go to a channel that nobody reads: their number is bounded by the calls under way.
        let drained = tokio::time::timeout(DRAIN, async {
            tokio::select! {
                () = calls.drain() => {}
                () = async { while replies.recv().await.is_some() {} } => {}
            }
        });
        match drained.await {
            Ok(()) => self.candidacy.resign().await,
            // Nobody else may begin before these have ended: the Lease runs out by itself.
            Err(_) => warn!("Calls were still under way"),
        }
        info!("Stopped");
        Ok(())
    }

    fn take(&self, watched: Watched, events: &mut Vec<Event>) {
        match watched {
            Watched::Event(event) => events.push(event),
            Watched::Failed { kind, status, why } => {
                self.metrics
                    .watch_failures
                    .get_or_create(&KindLabel { kind: kind.name() })
                    .inc();
                warn!(
                    kind = kind.name(),
                    status,
                    reason = why,
                    remedy = kubernetes::watch_remedy(kind, status),
                    "List or watch failed"
                );
            }
        }
    }

    fn reopen_log(&self) {
        if let Some(Err(error)) = self.log_file.as_ref().map(LogFile::reopen) {
            warn!(%error, "log_path cannot be opened again; the old file stays in use");
        }
    }

    /// Brings the metrics up to date. Whether something waits, so that ages go on growing.
    fn show(&self, begun: Instant) -> bool {
        let status = self.machine.status(begun.elapsed());
        self.reporter.show(&status);
        status.busy > 0 || status.in_flight > 0
    }

    fn tell_health(&self, server_checked: bool) {
        let mut missing: Vec<String> = self
            .machine
            .not_ready()
            .iter()
            .map(ToString::to_string)
            .collect();
        if !server_checked {
            missing.push("the SPIRE Server has not answered yet".into());
        }
        self.health.turned(missing);
    }
}
