//! The election, checked by exploring every order of events of a small world: two and three replicas whose clocks run
//! apart, that freeze, crash and come back, and whose requests are lost, answered late, or served late.
//!
//! A tick is a second. Where a write to SPIRE may be on its way is counted generously: from a replica's first moment as
//! leader until one call's length after its lead's end, whatever became of the replica.

use std::{sync::Arc, time::Duration};

use registrar_core::leader::{
    Answer, Election, Failed, Record, Request, Terms, TermsError, Write, WriteFailure,
};
use stateright::{Checker, Model, Property};

const CALL: u8 = 1;

fn terms() -> Terms {
    Terms {
        duration: seconds(4),
        renew: seconds(2),
        retry: seconds(1),
        look: seconds(1),
        deadline: seconds(1),
        jitter: Duration::ZERO,
    }
}

fn seconds(n: u8) -> Duration {
    Duration::from_secs(u64::from(n))
}

fn ticks(d: Duration) -> u8 {
    d.as_secs() as u8
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Replica {
    clock: u8,
    election: Option<Election>,
    lives: u8,
    frozen: bool,
    /// By its clock: a call that it began may be on its way until then.
    calls_until: u8,
    /// What it waits for.
    wire: Option<Stage>,
    /// That takes as long as it will.
    delayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    Sent(Request),
    Served(Answer),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    replicas: Vec<Replica>,
    lease: Option<(u32, Record)>,
    /// Nobody waits for their answers any more; the API server may still get them.
    orphans: Vec<Write>,
    writes: u32,
    faults: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// A second passes for all, and whoever is awake and due acts.
    Tick,
    Serve(usize),
    Deliver(usize),
    ServeOrphan(usize),
    Thaw(usize),
    Restart(usize),
    /// A fault, as all that follow: its clock runs ahead by a second.
    Slip(usize),
    Freeze(usize),
    Delay(usize),
    /// The request or its answer is lost; a write may still be served.
    Lose(usize),
    Crash(usize),
}

struct Elections {
    replicas: usize,
    last_tick: u8,
    faults: u8,
    terms: Terms,
}

impl Elections {
    fn replica(&self, n: usize, life: u8, clock: u8) -> Replica {
        let identity: Arc<str> = format!("r{n}_{life}").into();
        Replica {
            clock,
            election: Some(Election::new(identity, self.terms)),
            lives: life + 1,
            frozen: false,
            calls_until: 0,
            wire: None,
            delayed: false,
        }
    }
}

impl World {
    fn now(&self, n: usize) -> Duration {
        seconds(self.replicas[n].clock)
    }

    fn turn(&mut self, n: usize, answer: Option<Answer>) {
        let now = self.now(n);
        let replica = &mut self.replicas[n];
        let Some(election) = &mut replica.election else {
            return;
        };
        let turn = election.step(now, answer);
        if let Some(until) = election.may_begin_until() {
            replica.calls_until = replica.calls_until.max(ticks(until) + CALL);
        }
        match turn.request {
            // The model has no old locks.
            Some(Request::ReadOldLocks) => self.turn(n, Some(Answer::OldLocks(Ok(Vec::new())))),
            Some(request) => self.replicas[n].wire = Some(Stage::Sent(request)),
            None => {}
        }
    }

    fn apply(&mut self, write: &Write) -> Result<(Arc<str>, Record), WriteFailure> {
        let stored = self
            .lease
            .as_ref()
            .map(|(v, _)| Arc::from(v.to_string().as_str()));
        if stored != write.version {
            return Err(WriteFailure::Conflict);
        }
        self.writes += 1;
        let stamp: Arc<str> = self.writes.to_string().into();
        let record = Record {
            holder: write.holder.clone(),
            duration: write.duration,
            transitions: write.transitions,
            acquired: write.acquired.clone().unwrap_or_else(|| stamp.clone()),
            renewed: stamp.clone(),
        };
        self.lease = Some((self.writes, record.clone()));
        Ok((stamp, record))
    }

    fn serve(&mut self, request: &Request) -> Answer {
        match request {
            Request::Read => Answer::Lease(Ok(self
                .lease
                .as_ref()
                .map(|(v, r)| (v.to_string().into(), r.clone())))),
            Request::ReadOldLocks => Answer::OldLocks(Ok(Vec::new())),
            Request::Write(write) => Answer::Written(self.apply(write)),
        }
    }

    fn leads(&self, n: usize) -> bool {
        let leads = |e: &Election| e.leads(self.now(n));
        self.replicas[n].election.as_ref().is_some_and(leads)
    }

    /// Nothing goes wrong from here on and all clocks tick together: does someone lead in time, and stay?
    fn recovers(&self) -> bool {
        let mut world = self.clone();
        world.orphans.clear();
        for replica in &mut world.replicas {
            replica.frozen = false;
        }
        let mut led = false;
        for _ in 0..10 {
            for n in 0..world.replicas.len() {
                world.turn(n, None);
                for _ in 0..6 {
                    match world.replicas[n].wire.take() {
                        Some(Stage::Sent(request)) => {
                            let answer = world.serve(&request);
                            world.turn(n, Some(answer));
                        }
                        Some(Stage::Served(answer)) => world.turn(n, Some(answer)),
                        _ => break,
                    }
                }
            }
            led = (0..world.replicas.len()).any(|n| world.leads(n));
            for replica in &mut world.replicas {
                replica.clock += 1;
            }
        }
        led || world.replicas.iter().all(|r| r.election.is_none())
    }
}

impl Model for Elections {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            replicas: (0..self.replicas).map(|n| self.replica(n, 0, 0)).collect(),
            lease: None,
            orphans: Vec::new(),
            writes: 0,
            faults: self.faults,
        }]
    }

    fn actions(&self, w: &World, actions: &mut Vec<Action>) {
        let settled = |r: &Replica| match &r.wire {
            None => true,
            Some(Stage::Served(_)) if r.frozen => true,
            Some(_) => r.delayed,
        };
        if w.replicas
            .iter()
            .all(|r| r.clock < self.last_tick && settled(r))
        {
            actions.push(Action::Tick);
        }
        actions.extend((0..w.orphans.len()).map(Action::ServeOrphan));
        for (n, replica) in w.replicas.iter().enumerate() {
            match (&replica.wire, &replica.election) {
                (Some(Stage::Sent(_)), _) => actions.push(Action::Serve(n)),
                (Some(Stage::Served(_)), Some(_)) if !replica.frozen => {
                    actions.push(Action::Deliver(n));
                }
                (_, None) => actions.push(Action::Restart(n)),
                _ => {}
            }
            if replica.frozen {
                actions.push(Action::Thaw(n));
            }
            if w.faults == 0 || replica.election.is_none() {
                continue;
            }
            actions.extend([Action::Slip(n), Action::Crash(n)]);
            if !replica.frozen {
                actions.push(Action::Freeze(n));
            }
            if replica.wire.is_some() {
                actions.push(Action::Lose(n));
                if !replica.delayed {
                    actions.push(Action::Delay(n));
                }
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut w = before.clone();
        match action {
            Action::Tick => {
                for n in 0..w.replicas.len() {
                    w.replicas[n].clock += 1;
                    if !w.replicas[n].frozen {
                        w.turn(n, None);
                    }
                }
            }
            Action::Serve(n) => {
                let Some(Stage::Sent(request)) = w.replicas[n].wire.take() else {
                    return None;
                };
                let answer = w.serve(&request);
                let replica = &mut w.replicas[n];
                let waits = replica.frozen || replica.delayed;
                // Whether the answer to a read is late by less than a second makes no difference.
                if matches!(request, Request::Read) && !waits && replica.election.is_some() {
                    w.turn(n, Some(answer));
                } else {
                    replica.wire = Some(Stage::Served(answer));
                }
            }
            Action::Deliver(n) => {
                let Some(Stage::Served(answer)) = w.replicas[n].wire.take() else {
                    return None;
                };
                w.replicas[n].delayed = false;
                w.turn(n, Some(answer));
            }
            Action::ServeOrphan(k) => {
                let write = w.orphans.remove(k);
                // Nobody hears what came of it.
                let _ = w.apply(&write);
            }
            Action::Thaw(n) => {
                w.replicas[n].frozen = false;
                w.turn(n, None);
            }
            Action::Restart(n) => {
                let before = &w.replicas[n];
                let mut again = self.replica(n, before.lives, before.clock);
                again.calls_until = before.calls_until;
                w.replicas[n] = again;
                w.turn(n, None);
            }
            Action::Slip(n) => {
                w.faults -= 1;
                w.replicas[n].clock += 1;
                if !w.replicas[n].frozen {
                    w.turn(n, None);
                }
            }
            Action::Freeze(n) => {
                w.faults -= 1;
                w.replicas[n].frozen = true;
            }
            Action::Delay(n) => {
                w.faults -= 1;
                w.replicas[n].delayed = true;
            }
            Action::Lose(n) => {
                w.faults -= 1;
                w.replicas[n].delayed = false;
                let lost = match w.replicas[n].wire.take() {
                    Some(Stage::Sent(Request::Write(write))) => {
                        w.orphans.push(write);
                        Answer::Written(Err(WriteFailure::Unknown))
                    }
                    Some(Stage::Served(Answer::Written(_))) => {
                        Answer::Written(Err(WriteFailure::Unknown))
                    }
                    _ => Answer::Lease(Err(Failed)),
                };
                w.turn(n, Some(lost));
            }
            Action::Crash(n) => {
                w.faults -= 1;
                let replica = &mut w.replicas[n];
                replica.election = None;
                replica.delayed = false;
                replica.frozen = false;
                if let Some(Stage::Sent(Request::Write(write))) = replica.wire.take() {
                    w.orphans.push(write);
                }
            }
        }
        (w != *before).then_some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no one leads while another's call may be on its way",
                |_, w: &World| {
                    (0..w.replicas.len()).filter(|n| w.leads(*n)).all(|leader| {
                        let others = w.replicas.iter().enumerate().filter(|(n, _)| *n != leader);
                        others.into_iter().all(|(_, r)| r.clock >= r.calls_until)
                    })
                },
            ),
            Property::always("when the faults end, someone leads", |_, w: &World| {
                w.faults > 0 || w.recovers()
            }),
            Property::sometimes("someone leads", |_, w: &World| {
                (0..w.replicas.len()).any(|n| w.leads(n))
            }),
            Property::sometimes("the lead changes hands", |_, w: &World| {
                w.lease.as_ref().is_some_and(|(_, r)| r.transitions > 0)
            }),
        ]
    }
}

/// `ELECTION_TICKS=4 cargo test -p registrar-core --test leader` explores four seconds more, for many minutes.
fn deeper() -> u8 {
    let more = option_env!("ELECTION_TICKS");
    more.and_then(|n| n.parse().ok()).unwrap_or(0)
}

const THREADS: usize = 2;

#[test]
fn two_replicas_never_write_at_once_and_one_of_them_leads_in_the_end() {
    let model = Elections {
        replicas: 2,
        last_tick: 7 + deeper(),
        faults: 2,
        terms: terms(),
    };
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    checker.assert_properties();
}

#[test]
fn three_replicas_never_write_at_once_and_one_of_them_leads_in_the_end() {
    let model = Elections {
        replicas: 3,
        last_tick: 7 + deeper(),
        faults: 1,
        terms: terms(),
    };
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    checker.assert_properties();
}

#[test]
fn without_the_renew_deadline_the_model_finds_two_writers() {
    // The check can fail: a replica that trusts its lease as long as others do.
    let model = Elections {
        replicas: 2,
        last_tick: 8,
        faults: 1,
        terms: Terms {
            renew: seconds(4),
            ..terms()
        },
    };
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    assert!(
        checker
            .discovery("no one leads while another's call may be on its way")
            .is_some()
    );
}

#[test]
fn terms_that_would_let_two_write_are_refused() {
    let call = Duration::from_secs(4);
    Terms::default()
        .check(call)
        .expect("the default terms hold");
    let long = Terms {
        renew: Duration::from_secs(15),
        ..Terms::default()
    };
    assert!(matches!(long.check(call), Err(TermsError::Overlap(..))));
    let message = Terms::default()
        .check(Duration::from_secs(5))
        .expect_err("a call as long as the gap")
        .to_string();
    assert_eq!(
        message,
        "the renew deadline of 10s and 5s for calls under way are not below the lease duration of 15s"
    );
    let lazy = Terms {
        retry: Duration::from_secs(10),
        ..Terms::default()
    };
    assert!(matches!(
        lazy.check(call),
        Err(TermsError::NoTimeToRenew(..))
    ));
}

#[test]
fn the_times_that_stand_in_a_record_decide_nothing() {
    // Whatever its holder's wall clock says, or said: taken when it was seen unchanged for its duration, by our own clock.
    for written in ["1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "", "noon"] {
        let record = Record {
            holder: "another".into(),
            duration: Duration::from_secs(15),
            transitions: 0,
            acquired: written.into(),
            renewed: written.into(),
        };
        let mut election = Election::new("me".into(), Terms::default());
        let mut now = Duration::from_secs(100);
        let begun = now;
        let mut turn = election.step(now, None);
        let taken = loop {
            let answer = match turn.request.take() {
                Some(Request::Read) => Some(Answer::Lease(Ok(Some(("1".into(), record.clone()))))),
                Some(Request::ReadOldLocks) => Some(Answer::OldLocks(Ok(Vec::new()))),
                Some(Request::Write(_)) => break now - begun,
                None => {
                    now = turn.wake_at.expect("it goes on");
                    None
                }
            };
            assert!(!election.leads(now));
            turn = election.step(now, answer);
        };
        let range = Duration::from_secs(15)..Duration::from_secs(16);
        assert!(range.contains(&taken), "{written:?}: taken after {taken:?}");
    }
}
