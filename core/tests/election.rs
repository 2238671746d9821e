//! The election step by step: what one replica asks for, when, and what it says of it. That two never write at once is
//! explored in `leader.rs`.

use std::{sync::Arc, time::Duration};

use registrar_core::leader::{
    Answer, Election, Failed, LONGEST_DURATION, News, Record, Request, Terms, TermsError, Why,
    Write, WriteFailure,
};

const ME: &str = "me";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The default terms, moving in step.
fn exact() -> Terms {
    Terms {
        jitter: Duration::ZERO,
        ..Terms::default()
    }
}

fn record(holder: &str, renewed: &str) -> Record {
    Record {
        holder: holder.into(),
        duration: seconds(15),
        transitions: 3,
        acquired: "before".into(),
        renewed: renewed.into(),
    }
}

/// A replica before an API server that answers at once.
struct Rig {
    election: Election,
    now: Duration,
    lease: Option<(u32, Record)>,
    locks: Vec<(&'static str, Record)>,
    writes: u32,
    /// Whether writes are performed, but not answered.
    silent: bool,
    asked: Vec<(Duration, Request)>,
    news: Vec<(Duration, News)>,
    over: bool,
    wake_at: Option<Duration>,
}

impl Rig {
    fn new(terms: Terms) -> Self {
        Self {
            election: Election::new(ME.into(), terms),
            now: seconds(100),
            lease: None,
            locks: Vec::new(),
            writes: 0,
            silent: false,
            asked: Vec::new(),
            news: Vec::new(),
            over: false,
            wake_at: Some(seconds(100)),
        }
    }

    fn held_by(holder: &str) -> Self {
        let mut rig = Self::new(exact());
        rig.lease = Some((1, record(holder, "once")));
        rig
    }

    fn leading() -> Self {
        let mut rig = Self::new(exact());
        rig.turn();
        assert!(rig.election.leads(rig.now));
        rig.asked.clear();
        rig.news.clear();
        rig
    }

    fn perform(&mut self, request: &Request) -> Answer {
        let version = |v: u32| -> Arc<str> { v.to_string().into() };
        match request {
            Request::Read => {
                let lease = self.lease.clone();
                Answer::Lease(Ok(lease.map(|(v, record)| (version(v), record))))
            }
            Request::ReadOldLocks => Answer::OldLocks(Ok(self.locks.clone())),
            Request::Write(write) => {
                let stored = self.lease.as_ref().map(|(v, _)| version(*v));
                if stored != write.version {
                    return Answer::Written(Err(WriteFailure::Conflict));
                }
                self.writes += 1;
                let acquired = write.acquired.clone();
                let record = Record {
                    holder: write.holder.clone(),
                    duration: write.duration,
                    transitions: write.transitions,
                    acquired: acquired.unwrap_or_else(|| format!("{:?}", self.now).into()),
                    renewed: format!("{:?}", self.now).into(),
                };
                let next = self.lease.as_ref().map_or(1, |(v, _)| v + 1);
                self.lease = Some((next, record.clone()));
                match self.silent {
                    true => Answer::Written(Err(WriteFailure::Unknown)),
                    false => Answer::Written(Ok((version(next), record))),
                }
            }
        }
    }

    fn step(&mut self, answer: Option<Answer>) -> Option<Request> {
        let turn = self.election.step(self.now, answer);
        let now = self.now;
        self.news.extend(turn.news.into_iter().map(|n| (now, n)));
        self.over = turn.over;
        self.wake_at = turn.wake_at;
        if let Some(request) = &turn.request {
            self.asked.push((now, request.clone()));
        }
        turn.request
    }

    /// All that is to be done now.
    fn turn(&mut self) {
        let mut request = self.step(None);
        while let Some(asked) = request {
            let answer = self.perform(&asked);
            request = self.step(Some(answer));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wake_at.filter(|at| *at <= end && !self.over) {
            assert!(at >= self.now, "time does not go back");
            assert!(
                at > self.now || self.asked.len() < 1000,
                "it turns in circles"
            );
            self.now = at;
            self.turn();
        }
        self.now = end;
    }

    fn told(&self) -> Vec<News> {
        self.news.iter().map(|(_, n)| n.clone()).collect()
    }

    fn written(&self) -> Vec<(Duration, Write)> {
        let writes = self.asked.iter().filter_map(|(at, r)| match r {
            Request::Write(write) => Some((*at, write.clone())),
            _ => None,
        });
        writes.collect()
    }
}

#[test]
fn a_lease_that_nobody_has_is_taken_after_a_look_at_the_old_locks() {
    let mut rig = Rig::new(exact());
    assert_eq!(rig.election.may_begin_until(), None);
    rig.turn();
    let create = Write {
        version: None,
        holder: ME.into(),
        duration: seconds(15),
        transitions: 0,
        acquired: None,
    };
    let asked: Vec<Request> = rig.asked.iter().map(|(_, r)| r.clone()).collect();
    assert_eq!(
        asked,
        [Request::Read, Request::ReadOldLocks, Request::Write(create)]
    );
    assert_eq!(rig.told(), [News::Leading]);
    let until = rig.now + seconds(10);
    assert_eq!(rig.election.may_begin_until(), Some(until));
    assert!(rig.election.leads(until - Duration::from_nanos(1)) && !rig.election.leads(until));
    assert!(!rig.over);
}

#[test]
fn who_leads_renews_every_retry_and_changes_nothing_but_the_time() {
    let mut rig = Rig::leading();
    rig.run(seconds(60));
    let acquired = rig.lease.as_ref().map(|(_, r)| r.acquired.clone());
    let times: Vec<u64> = rig.written().iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times, (1..=30).map(|n| 100 + 2 * n).collect::<Vec<_>>());
    for (_, write) in rig.written() {
        assert_eq!((&*write.holder, write.transitions), (ME, 0));
        assert_eq!(write.acquired, acquired);
    }
    assert_eq!(rig.asked.len(), 30, "and nothing is read: {:?}", rig.asked);
    assert_eq!(rig.told(), []);
}

#[test]
fn anothers_lease_is_taken_when_it_was_seen_unchanged_for_its_duration() {
    let mut rig = Rig::held_by("another");
    rig.run(seconds(10));
    assert_eq!(rig.told(), [News::HeldBy("another".into())], "told once");
    let looks = rig.asked.len();
    assert!((20..=22).contains(&looks), "twice a second: {looks}");
    assert!(rig.asked.iter().all(|(_, r)| *r == Request::Read));
    // It is renewed after all.
    rig.lease = Some((2, record("another", "again")));
    rig.run(seconds(16));
    let (at, write) = rig.written()[0].clone();
    assert!(at > seconds(125) && at <= seconds(126), "{at:?}");
    assert_eq!((write.transitions, write.acquired), (4, None));
    assert_eq!(rig.told().last(), Some(&News::Leading));
}

#[test]
fn a_new_holder_is_told_and_a_lease_given_back_is_taken_at_once() {
    let mut rig = Rig::held_by("another");
    rig.run(seconds(2));
    rig.lease = Some((2, record("a-third", "once")));
    rig.run(seconds(2));
    rig.lease = Some((3, record("", "once")));
    rig.run(seconds(1));
    let expected = [
        News::HeldBy("another".into()),
        News::HeldBy("a-third".into()),
        News::Leading,
    ];
    assert_eq!(rig.told(), expected);
}

#[test]
fn our_own_lease_of_before_is_ours_again_without_a_change_of_hands() {
    let mut rig = Rig::held_by(ME);
    rig.turn();
    let (_, write) = rig.written()[0].clone();
    assert_eq!(
        (write.transitions, write.acquired.as_deref()),
        (3, Some("before"))
    );
    assert_eq!(rig.told(), [News::Leading]);
}

#[test]
fn a_duration_that_a_record_does_not_say_is_ours_and_one_too_long_is_cut() {
    for (says, honoured) in [
        (Duration::ZERO, seconds(15)),
        (seconds(40), seconds(40)),
        (seconds(1_000_000), LONGEST_DURATION),
    ] {
        let mut rig = Rig::held_by("another");
        if let Some((_, record)) = &mut rig.lease {
            record.duration = says;
        }
        let begun = rig.now;
        rig.run(honoured - seconds(1));
        assert_eq!(rig.written(), [], "{says:?}");
        rig.run(seconds(2));
        let waited = rig.written()[0].0 - begun;
        assert!(
            waited >= honoured && waited < honoured + seconds(1),
            "{says:?}: {waited:?}"
        );
    }
}

#[test]
fn who_resigns_stops_at_once_gives_the_lease_back_and_is_over() {
    let mut rig = Rig::leading();
    rig.run(seconds(3));
    rig.asked.clear();
    rig.election.resign();
    rig.turn();
    assert_eq!(rig.told(), [News::Stopped(Why::Resigned)]);
    assert!(!rig.election.leads(rig.now) && rig.over);
    let [(_, write)] = &rig.written()[..] else {
        panic!("{:?}", rig.asked);
    };
    assert_eq!((&*write.holder, write.duration), ("", seconds(1)));
    assert_eq!((write.transitions, &write.acquired), (0, &None));
    let asked = rig.asked.len();
    rig.turn();
    assert_eq!(rig.asked.len(), asked, "nothing more is asked");
}

#[test]
fn a_standby_that_resigns_has_nothing_to_give_back() {
    let mut rig = Rig::held_by("another");
    rig.turn();
    rig.election.resign();
    rig.asked.clear();
    rig.turn();
    assert!(rig.over && rig.asked.is_empty(), "{:?}", rig.asked);
    assert_eq!(rig.lease.as_ref().map(|(_, r)| &*r.holder), Some("another"));
}

#[test]
fn who_resigns_in_doubt_reads_whether_the_lease_is_ours_before_it_is_over() {
    let mut rig = Rig::new(exact());
    rig.silent = true;
    rig.turn();
    assert_eq!(rig.told(), [], "a write without an answer is no lead");
    rig.silent = false;
    rig.election.resign();
    rig.asked.clear();
    rig.run(seconds(5));
    assert!(rig.over);
    assert!(rig.asked.iter().all(|(_, r)| *r != Request::ReadOldLocks));
    assert_eq!(rig.lease.as_ref().map(|(_, r)| &*r.holder), Some(""));
    assert_eq!(rig.told(), []);
}

#[test]
fn a_renewal_without_an_answer_is_read_and_the_lead_goes_on() {
    let mut rig = Rig::leading();
    rig.silent = true;
    rig.run(seconds(2));
    rig.silent = false;
    rig.run(seconds(20));
    assert_eq!(rig.told(), []);
    assert!(rig.election.leads(rig.now));
    let reads = rig
        .asked
        .iter()
        .filter(|(_, r)| *r == Request::Read)
        .count();
    assert_eq!(reads, 1, "{:?}", rig.asked);
}

#[test]
fn who_cannot_renew_stops_at_its_deadline() {
    let mut rig = Rig::leading();
    let begun = rig.now;
    rig.now += seconds(2);
    assert!(matches!(rig.step(None), Some(Request::Write(_))));
    assert_eq!(
        rig.wake_at,
        Some(begun + seconds(10)),
        "an answer may never come"
    );
    rig.now = begun + seconds(10);
    assert_eq!(rig.step(None), None);
    assert_eq!(rig.told(), [News::Stopped(Why::Expired)]);
    // A late answer counts from when its write was sent.
    let renewed = record(ME, "late");
    let late = Answer::Written(Ok(("9".into(), renewed)));
    rig.now = begun + seconds(12);
    rig.step(Some(late));
    assert!(!rig.election.leads(rig.now), "it says nothing of now");
    assert_eq!(rig.told(), [News::Stopped(Why::Expired)]);
}

#[test]
fn a_lease_that_was_removed_or_taken_ends_the_lead_before_anything_else_begins() {
    for (lease, stopped, holder) in [
        (None, "", None),
        (Some((9, record("", "x"))), "", None),
        (
            Some((9, record("another", "x"))),
            "another",
            Some("another"),
        ),
    ] {
        let mut rig = Rig::leading();
        rig.lease = lease;
        rig.run(seconds(2));
        let mut expected = vec![News::Stopped(Why::TakenBy(stopped.into()))];
        expected.push(match holder {
            Some(holder) => News::HeldBy(holder.into()),
            None => News::Leading,
        });
        assert_eq!(rig.told(), expected);
        // The old locks are looked at again before it leads again.
        let old = rig.asked.iter().any(|(_, r)| *r == Request::ReadOldLocks);
        assert_eq!(old, holder.is_none(), "{:?}", rig.asked);
    }
}

#[test]
fn what_cannot_be_read_is_read_again_after_a_while() {
    let mut rig = Rig::new(exact());
    assert_eq!(rig.step(None), Some(Request::Read));
    assert_eq!(rig.step(Some(Answer::Lease(Err(Failed)))), None);
    assert_eq!(rig.wake_at, Some(seconds(102)));
    rig.now = seconds(102);
    assert_eq!(rig.step(None), Some(Request::Read));
    assert_eq!(
        rig.step(Some(Answer::Lease(Ok(None)))),
        Some(Request::ReadOldLocks)
    );
    assert_eq!(rig.step(Some(Answer::OldLocks(Err(Failed)))), None);
    rig.now = seconds(104);
    assert_eq!(rig.step(None), Some(Request::Read), "from the start");
}

#[test]
fn an_old_lock_that_is_held_keeps_us_standing_by_until_it_was_unchanged_for_its_duration() {
    let mut rig = Rig::new(exact());
    rig.locks = vec![
        ("Endpoints", record("", "x")),
        ("ConfigMap", record("original", "x")),
    ];
    rig.run(seconds(10));
    let held = News::OldLock("ConfigMap", "original".into());
    assert_eq!(rig.told(), vec![held.clone()], "told once");
    rig.locks[1].1.renewed = "again".into();
    rig.run(seconds(14));
    assert_eq!((rig.told(), rig.written()), (vec![held], vec![]));
    rig.run(seconds(3));
    assert_eq!(rig.told().last(), Some(&News::Leading));
    assert!(rig.written()[0].0 >= seconds(125), "{:?}", rig.written());
}

#[test]
fn who_found_an_old_lock_looks_again_every_renew_deadline_and_yields_to_its_holder() {
    let mut rig = Rig::new(exact());
    rig.locks = vec![("ConfigMap", record("", "x"))];
    rig.turn();
    assert_eq!(rig.told(), [News::Leading]);
    rig.asked.clear();
    rig.run(seconds(30));
    let looks: Vec<u64> = rig
        .asked
        .iter()
        .filter(|(_, r)| *r == Request::ReadOldLocks)
        .map(|(at, _)| at.as_secs())
        .collect();
    assert!((2..=3).contains(&looks.len()), "{looks:?}");
    assert!(rig.election.leads(rig.now));
    rig.locks = vec![("ConfigMap", record("original", "y"))];
    rig.run(seconds(14));
    let expected = [
        News::Leading,
        News::Stopped(Why::OldLock("original".into())),
        News::OldLock("ConfigMap", "original".into()),
    ];
    assert_eq!(rig.told(), expected);
    assert!(!rig.election.leads(rig.now));
}

#[test]
fn waits_are_spread_over_the_jitter_and_never_shorter_than_said() {
    let mut rig = Rig::new(Terms::default());
    rig.turn();
    rig.run(seconds(600));
    let times: Vec<Duration> = rig.written().iter().map(|(at, _)| *at).collect();
    let extra: Vec<u128> = times
        .windows(2)
        .map(|w| {
            (w[1] - w[0])
                .checked_sub(seconds(2))
                .expect("never shorter")
                .as_millis()
        })
        .collect();
    assert!(
        extra.len() > 250 && extra.iter().all(|e| *e <= 100),
        "{extra:?}"
    );
    let (low, high) = (extra.iter().min(), extra.iter().max());
    assert!(low < Some(&20) && high > Some(&80), "{low:?} to {high:?}");
}

#[test]
fn terms_are_refused_at_the_very_point_where_two_could_write_or_none_could_stay() {
    let terms = Terms::default();
    let millisecond = Duration::from_millis(1);
    assert_eq!(terms.check(seconds(5) - millisecond), Ok(()));
    let overlap = TermsError::Overlap(seconds(10), seconds(5), seconds(15));
    assert_eq!(terms.check(seconds(5)), Err(overlap));
    let retrying = |retry| Terms { retry, ..terms }.check(seconds(4));
    let latest = seconds(10) - terms.jitter;
    assert_eq!(retrying(latest - millisecond), Ok(()));
    assert_eq!(
        retrying(latest),
        Err(TermsError::NoTimeToRenew(latest, seconds(10)))
    );
}
