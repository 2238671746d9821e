//! The machine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Answer, Failed, LONGEST_DURATION, News, Now, Record, Request, Terms, Turn, Version, Why, Write,
    WriteFailure,
};

/// One replica's part in an election.
///
/// ```
/// use registrar_core::leader::{Election, Request, Terms};
/// use std::time::Duration;
/// let mut election = Election::new("registrar-0_1f".into(), Terms::default());
/// let turn = election.step(Duration::ZERO, None);
/// assert_eq!(turn.request, Some(Request::Read));
/// assert!(!election.leads(Duration::ZERO));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Election {
    identity: Arc<str>,
    terms: Terms,
    /// The Lease as last read or written.
    lease: Option<Lease>,
    old: BTreeMap<&'static str, Seen>,
    old_read_at: Option<Now>,
    /// We lead until then.
    until: Option<Now>,
    next: Next,
    next_at: Now,
    under_way: Option<Now>,
    resigned: bool,
    /// A write was not answered: it may have made the Lease ours.
    doubtful: bool,
    told_holder: Option<Arc<str>>,
    told_old: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Lease {
    Absent,
    There(Version, Seen),
}

/// A record, and since when it has not changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    record: Record,
    since: Now,
}

impl Seen {
    /// Whether its holder may still act.
    fn holds(&self, now: Now, terms: &Terms) -> bool {
        !self.record.holder.is_empty() && now < self.ends(terms)
    }

    fn ends(&self, terms: &Terms) -> Now {
        let says = match self.record.duration {
            Duration::ZERO => terms.duration,
            says => says.min(LONGEST_DURATION),
        };
        self.since + says
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Next {
    Read,
    ReadOldLocks,
    /// Take, renew or release, as things stand.
    Write,
}

impl Election {
    /// A replica that has read nothing and does not lead. `identity` must be its own in every process.
    pub fn new(identity: Arc<str>, terms: Terms) -> Self {
        Self {
            identity,
            terms,
            lease: None,
            old: BTreeMap::new(),
            old_read_at: None,
            until: None,
            next: Next::Read,
            next_at: Now::ZERO,
            under_way: None,
            resigned: false,
            doubtful: false,
            told_holder: None,
            told_old: None,
        }
    }

    /// Until when a call that writes may begin; `None` while we do not lead.
    pub fn may_begin_until(&self) -> Option<Now> {
        self.until
    }

    /// Whether a call that writes may begin now.
    pub fn leads(&self, now: Now) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes in an answer, if there is one, and says what to do. `now` never goes back.
    pub fn step(&mut self, now: Now, answer: Option<Answer>) -> Turn {
        let mut news = Vec::new();
        let had_lead = self.until.is_some();
        if self.resigned && had_lead {
            self.stop(Why::Resigned, &mut news);
        }
        if self.resigned {
            self.next = if self.doubtful {
                Next::Read
            } else {
                Next::Write
            };
            self.next_at = if had_lead { now } else { self.next_at };
        }
        if let Some(answer) = answer {
            let sent = self.under_way.take().unwrap_or(now);
            match answer {
                Answer::Lease(read) => self.lease_read(now, read, &mut news),
                Answer::OldLocks(read) => self.old_locks_read(now, read, &mut news),
                Answer::Written(Ok((version, record))) => {
                    self.written(now, sent, version, record, &mut news);
                }
                Answer::Written(Err(failure)) => self.not_written(now, failure),
            }
        }
        if self.until.is_some_and(|until| now >= until) {
            self.stop(Why::Expired, &mut news);
        }
        let request = self.request(now);
        Turn {
            over: self.is_over(),
            wake_at: self.wake_at(),
            request,
            news,
        }
    }

    /// We are to end: from the next step on nothing may begin, and the Lease is given back. Call it when no call that
    /// writes is under way.
    pub fn resign(&mut self) {
        self.resigned = true;
    }

    fn lease_read(
        &mut self,
        now: Now,
        read: Result<Option<(Version, Record)>, Failed>,
        news: &mut Vec<News>,
    ) {
        let Ok(read) = read else {
            return self.wait(now, self.terms.retry, Next::Read);
        };
        self.doubtful = false;
        let Some((version, record)) = read else {
            self.lease = Some(Lease::Absent);
            return self.candidate(now, news);
        };
        let since = match self.lease.take() {
            Some(Lease::There(_, seen)) if seen.record == record => seen.since,
            _ => now,
        };
        let seen = Seen { record, since };
        let holder = seen.record.holder.clone();
        let (held, ends) = (seen.holds(now, &self.terms), seen.ends(&self.terms));
        self.lease = Some(Lease::There(version, seen));
        if holder == self.identity || !held {
            return self.candidate(now, news);
        }
        if self.until.is_some() {
            self.stop(Why::TakenBy(holder.clone()), news);
        }
        if self.told_holder.as_ref() != Some(&holder) {
            self.told_holder = Some(holder.clone());
            news.push(News::HeldBy(holder));
        }
        self.wait(now, self.terms.look, Next::Read);
        self.next_at = self.next_at.min(ends);
    }

    /// Nobody else holds the Lease.
    fn candidate(&mut self, now: Now, news: &mut Vec<News>) {
        self.told_holder = None;
        if self.until.is_some() && !self.holds_lease() {
            // Someone removed the object or emptied it: until it is ours again, nothing may begin.
            self.stop(Why::TakenBy("".into()), news);
        }
        self.next = match self.until {
            None if !self.resigned => Next::ReadOldLocks,
            _ => Next::Write,
        };
        self.next_at = now;
    }

    fn holds_lease(&self) -> bool {
        matches!(&self.lease, Some(Lease::There(_, seen)) if seen.record.holder == self.identity)
    }

    fn old_locks_read(
        &mut self,
        now: Now,
        read: Result<Vec<(&'static str, Record)>, Failed>,
        news: &mut Vec<News>,
    ) {
        let Ok(locks) = read else {
            return self.wait(now, self.terms.retry, Next::Read);
        };
        let before = std::mem::take(&mut self.old);
        let mut held = None;
        for (kind, record) in locks {
            let since = match before.get(kind) {
                Some(seen) if seen.record == record => seen.since,
                _ => now,
            };
            let seen = Seen { record, since };
            if seen.holds(now, &self.terms) {
                held = Some((kind, seen.record.holder.clone()));
            }
            self.old.insert(kind, seen);
        }
        self.old_read_at = (!self.old.is_empty()).then_some(now);
        let Some((kind, holder)) = held else {
            self.told_old = None;
            self.next = Next::Write;
            self.next_at = now;
            return;
        };
        if self.until.is_some() {
            self.stop(Why::OldLock(holder.clone()), news);
        }
        if self.told_old.as_ref() != Some(&holder) {
            self.told_old = Some(holder.clone());
            news.push(News::OldLock(kind, holder));
        }
        self.wait(now, self.terms.look, Next::Read);
    }

    fn written(
        &mut self,
        now: Now,
        sent: Now,
        version: Version,
        record: Record,
        news: &mut Vec<News>,
    ) {
        self.doubtful = false;
        let ours = record.holder == self.identity;
        self.lease = Some(Lease::There(version, Seen { record, since: now }));
        if self.resigned {
            self.next = Next::Write;
            self.next_at = now;
            return;
        }
        // Counted from when it was sent: others may have seen the change since then.
        let until = sent + self.terms.renew;
        if ours && now < until {
            if self.until.is_none() {
                news.push(News::Leading);
            }
            self.until = Some(until);
        }
        // Only where an old lock was found: its holder may come back in a mixed roll-out.
        let old_locks_due = self
            .old_read_at
            .is_some_and(|at| now >= at + self.terms.renew);
        let next = match self.until {
            Some(_) if old_locks_due => Next::ReadOldLocks,
            Some(_) => Next::Write,
            None => Next::Read,
        };
        self.wait(sent, self.terms.retry, next);
        self.next_at = self.next_at.max(now);
    }

    fn not_written(&mut self, now: Now, failure: WriteFailure) {
        match failure {
            // Somebody else wrote: what, is to be seen at once.
            WriteFailure::Conflict => {
                self.next = Next::Read;
                self.next_at = now;
            }
            WriteFailure::Unknown => {
                self.doubtful = true;
                let wait = if self.resigned {
                    Duration::ZERO
                } else {
                    self.terms.retry
                };
                self.wait(now, wait, Next::Read);
            }
        }
    }

    fn stop(&mut self, why: Why, news: &mut Vec<News>) {
        self.until = None;
        news.push(News::Stopped(why));
        // As a standby does: nothing is written before the Lease and the old locks are read again.
        self.next = Next::Read;
    }

    fn wait(&mut self, from: Now, wait: Duration, next: Next) {
        let seed = from.as_nanos() as u64;
        let mixed = self.identity.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let share = (mixed >> 56) as f64 / 256.0;
        self.next = next;
        self.next_at = from + wait + self.terms.jitter.mul_f64(share);
    }

    fn request(&mut self, now: Now) -> Option<Request> {
        if self.under_way.is_some() || now < self.next_at || self.is_over() {
            return None;
        }
        let request = match self.next {
            Next::Read => Request::Read,
            Next::ReadOldLocks => Request::ReadOldLocks,
            Next::Write => Request::Write(self.write()?),
        };
        self.under_way = Some(now);
        Some(request)
    }

    fn write(&self) -> Option<Write> {
        let (version, record) = match self.lease.as_ref()? {
            Lease::Absent => (None, None),
            Lease::There(version, seen) => (Some(version.clone()), Some(&seen.record)),
        };
        let ours = record.is_some_and(|r| r.holder == self.identity);
        let before = record.map_or(0, |r| r.transitions);
        if self.resigned {
            return ours.then(|| Write {
                version,
                holder: "".into(),
                duration: Duration::from_secs(1),
                transitions: before,
                acquired: None,
            });
        }
        Some(Write {
            version,
            holder: self.identity.clone(),
            duration: self.terms.duration,
            transitions: match (ours, record) {
                (false, Some(_)) => before.saturating_add(1),
                _ => before,
            },
            acquired: record.filter(|_| ours).map(|r| r.acquired.clone()),
        })
    }

    fn is_over(&self) -> bool {
        self.resigned && self.under_way.is_none() && !self.doubtful && !self.holds_lease()
    }

    fn wake_at(&self) -> Option<Now> {
        let next = self.under_way.is_none().then_some(self.next_at);
        [next, self.until].into_iter().flatten().min()
    }
}
