//! Reading the server: all entries once at start and after taking the lead, then again and again in paced pages.

use std::{sync::Arc, time::Duration};

use super::{CallId, Drift, Fact, Now, Reconciler, flight::Flight, mirror::Change, queue::Urgency};
use crate::{
    cluster::Kind,
    entry::{EntryId, RegisteredEntry},
    index::IndexSet,
    ports::SpireCall,
    rules::{Foreign, Ownership, Subject},
};

/// Entries in a page.
const PAGE: u32 = 1000;
/// Pages that are kept while whose their entries are cannot be told; and how old these may become.
const KEPT_PAGES: usize = 16;
const KEPT_FOR: Duration = Duration::from_secs(5);
/// How many foreign entries under our root are named; an operator needs a hint, not a flood.
const FOREIGN_NAMED: usize = 100;
/// The pass over all entries.
#[derive(Debug, Default)]
pub(super) struct Scan {
    number: u64,
    under_way: Option<UnderWay>,
    completed: bool,
    fresh: bool,
    next_at: Option<Now>,
    /// On the server, by the last pass.
    total: usize,
    postponed: IndexSet<Subject>,
}

#[derive(Debug)]
struct UnderWay {
    /// The machine's stamp and the time when it began.
    begun: u64,
    begun_at: Now,
    token: Option<Arc<str>>,
    next_page_at: Now,
    /// The stamp of the page in flight.
    asked: Option<u64>,
    total: usize,
    /// What was read before it could be told whose it is, and the stamps of its pages.
    kept: Vec<(u64, Vec<RegisteredEntry>)>,
    /// Whether that is all.
    read: bool,
}

impl UnderWay {
    /// Whether nothing more is to be asked for before it can be told whose all this is.
    fn waits(&self) -> bool {
        self.read || self.kept.len() >= KEPT_PAGES
    }
}

impl Scan {
    /// Whether all entries were read at least once.
    pub(super) fn has_completed(&self) -> bool {
        self.completed
    }

    /// Whether they were read since we lead.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Of the pass under way, or the last one.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// From the start, and without pauses.
    pub(super) fn restart(&mut self) {
        self.fresh = false;
        self.under_way = None;
        self.next_at = None;
    }

    /// To be looked at when the pass is complete.
    pub(super) fn postpone(&mut self, subject: Subject) {
        self.postponed.insert(subject);
    }

    pub(super) fn next_at(&self) -> Option<Now> {
        match &self.under_way {
            Some(pass) if pass.asked.is_some() || pass.waits() => None,
            Some(pass) => Some(pass.next_page_at),
            None => Some(self.next_at.unwrap_or_default()),
        }
    }

    pub(super) fn page_failed(&mut self, asked: u64, for_good: bool) {
        match &mut self.under_way {
            Some(pass) if pass.asked == Some(asked) && !for_good => pass.asked = None,
            // The token may have become invalid: a new pass.
            Some(pass) if pass.asked == Some(asked) => self.under_way = None,
            _ => {}
        }
    }
}

impl Reconciler {
    /// Whose an entry is cannot be told before the SpiffeIDs are known. The server need not wait for these with its pages.
    fn owners_are_known(&self) -> bool {
        self.policy.spiffe_ids.is_none() || self.observed.is_synced(Kind::SpiffeId)
    }

    /// Takes in what was read before it could be told whose it is; what is old by then is read again.
    fn take_in_kept(&mut self, now: Now) {
        if !self.owners_are_known() {
            return;
        }
        let Some(pass) = &mut self.scan.under_way else {
            return;
        };
        let pages = std::mem::take(&mut pass.kept);
        if pages.is_empty() {
            return;
        }
        if now.saturating_sub(pass.begun_at) > KEPT_FOR {
            return self.scan.restart();
        }
        let (number, read) = (self.scan.number, pass.read);
        for (asked, entries) in pages {
            for entry in entries {
                self.entry_read(now, entry, asked, number);
            }
        }
        if read {
            self.pass_done(now);
        }
    }

    pub(super) fn scan_on(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        self.take_in_kept(now);
        if self.scan.next_at().is_none_or(|at| at > now)
            || !self.gate.is_open(now, self.flights.len())
        {
            return;
        }
        if self.scan.under_way.is_none() {
            self.scan.number += 1;
            self.scan.under_way = Some(UnderWay {
                begun: self.stamp,
                begun_at: now,
                token: None,
                next_page_at: now,
                asked: None,
                total: 0,
                kept: Vec::new(),
                read: false,
            });
        }
        let asked = self.stamp;
        let Some(pass) = &mut self.scan.under_way else {
            return;
        };
        pass.asked = Some(asked);
        let call = SpireCall::List {
            page_token: pass.token.clone(),
            page_size: PAGE,
        };
        let id = self.launch(Flight::Page { asked });
        calls.push((id, call));
    }

    pub(super) fn page_read(
        &mut self,
        now: Now,
        asked: u64,
        entries: Vec<RegisteredEntry>,
        next: Option<Arc<str>>,
    ) {
        let number = self.scan.number;
        let known = self.owners_are_known();
        // A page is taken in after those before it.
        self.take_in_kept(now);
        let pass = match &mut self.scan.under_way {
            Some(pass) if pass.asked == Some(asked) => pass,
            // Of a pass that was given up.
            _ => return,
        };
        pass.asked = None;
        pass.total += entries.len();
        if known {
            for entry in entries {
                self.entry_read(now, entry, asked, number);
            }
        } else {
            pass.read = next.is_none();
            pass.kept.push((asked, entries));
        }
        let interval = self.policy.drift_interval;
        let paced = self.scan.fresh;
        let pages = (self.scan.total as u32) / PAGE + 2;
        let Some(pass) = &mut self.scan.under_way else {
            return;
        };
        match next {
            Some(token) => {
                pass.token = Some(token);
                // Half of the interval, so that a pass that meets failures still ends in time.
                let pause = if paced {
                    interval / (2 * pages)
                } else {
                    Duration::ZERO
                };
                pass.next_page_at = now + pause;
            }
            None if known => self.pass_done(now),
            None => {}
        }
    }

    pub(super) fn entry_read(&mut self, now: Now, entry: RegisteredEntry, asked: u64, scan: u64) {
        let id = entry.id.clone();
        let subject = match self.classify(&entry) {
            Ownership::Ours(mut subject) => {
                self.observed.share_names(&mut subject);
                subject
            }
            Ownership::Foreign(foreign) => {
                if self.mirror.get(&id).is_some() {
                    self.lost(now, &id, Drift::Changed);
                }
                self.claim_found(&id, scan);
                if foreign == Foreign::UnderRoot && self.foreign.len() < FOREIGN_NAMED {
                    let parent_id = entry.parent_id.clone();
                    if self.foreign.insert(id.clone()) {
                        self.facts.push(Fact::Foreign { id, parent_id });
                    }
                }
                return;
            }
        };
        let busy = self.queue.get(&subject).is_some_and(|w| w.in_flight > 0);
        let before = self.mirror.get(&id).map(|r| r.entry.clone());
        let stored = entry.clone();
        let read = self.mirror.read(entry, subject.clone(), asked, scan);
        if let Some(owner) = self.meant_for(&subject, &stored) {
            self.mirror.set_owner(&id, &owner);
        }
        let drift = match read {
            Change::None => return,
            Change::New => {
                self.sign_of_entry(now, &subject, &stored);
                Drift::Unknown
            }
            Change::Changed => Drift::Changed,
        };
        if !self.scan.completed {
            return;
        }
        let after = self.mirror.get(&id).map(|r| &r.entry);
        if !busy && !same_where_managed(before.as_ref(), after) {
            self.drifted(&subject, id, drift);
        }
        let urgency = self.floor(&subject);
        self.queue.mark(&subject, urgency, now);
    }

    /// Tells a difference that nobody should have made, unless another replica did for the next pod of the name. Of what a leader before us wrote, the mirror knows only what it
    /// reads: until it was read since we lead, every write of that leader is a difference.
    fn drifted(&mut self, subject: &Subject, id: EntryId, drift: Drift) {
        self.suspect_succession(subject);
        if self.leading && self.scan.fresh {
            self.facts.push(Fact::Drifted {
                subject: subject.clone(),
                id,
                drift,
            });
        }
    }

    /// An entry of the mirror is not on the server any more, or not ours any more.
    fn lost(&mut self, now: Now, id: &EntryId, drift: Drift) {
        let stamp = self.stamp;
        let Some(record) = self.mirror.get(id) else {
            return;
        };
        if self
            .queue
            .get(&record.subject)
            .is_some_and(|w| w.in_flight > 0)
        {
            return;
        }
        let subject = record.subject.clone();
        self.mirror.remove(id, stamp);
        self.breaker.pardon(id);
        self.drifted(&subject, id.clone(), drift);
        let urgency = self.urgency_of(&subject);
        self.queue.mark(&subject, urgency, now);
    }

    fn pass_done(&mut self, now: Now) {
        let Some(pass) = self.scan.under_way.take() else {
            return;
        };
        for id in self.mirror.missing_after(self.scan.number, pass.begun) {
            self.lost(now, &id, Drift::Missing);
        }
        self.doubt_claims(now);
        self.forget_suspects();
        let stamp = self.stamp;
        self.mirror.forget_deleted(stamp);
        if !self.scan.completed {
            self.mirror.close_ranks();
        }
        self.scan.completed = true;
        self.scan.fresh = true;
        self.scan.total = pass.total;
        self.scan.next_at = Some((pass.begun_at + self.policy.drift_interval).max(now));
        self.last_compared = Some(now);
        self.facts.push(Fact::Compared {
            total: pass.total,
            owned: self.mirror.len(),
        });
        for subject in std::mem::take(&mut self.scan.postponed) {
            self.queue.mark(&subject, Urgency::Changed, now);
        }
    }
}

fn same_where_managed(a: Option<&RegisteredEntry>, b: Option<&RegisteredEntry>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.spiffe_id == b.spiffe_id
                && a.parent_id == b.parent_id
                && a.selectors.same_set(&b.selectors)
                && a.dns_names == b.dns_names
                && a.federates_with == b.federates_with
        }
        _ => false,
    }
}
