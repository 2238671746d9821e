//! Reading the server: all entries once at start and after taking the lead, then again and again in paced pages; and
//! the trust domains whose bundles it has.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{CallId, Drift, Fact, Now, Reconciler, flight::Flight, mirror::Change, queue::Urgency};
use crate::{
    cluster::Kind,
    entry::{EntryId, RegisteredEntry},
    index::IndexSet,
    ports::SpireCall,
    rules::{Foreign, Ownership, Subject},
    spiffe::TrustDomain,
};

/// Entries in a page.
const PAGE: u32 = 1000;
/// How many foreign entries under our root are named; an operator needs a hint, not a flood.
const FOREIGN_NAMED: usize = 100;
/// How often the bundles are listed while anything names a trust domain.
const BUNDLES_EVERY: Duration = Duration::from_secs(2);
/// The same where the server denies the list.
const BUNDLES_DENIED: Duration = Duration::from_secs(60);

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
            Some(pass) if pass.asked.is_some() => None,
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

/// Asking for the bundles.
#[derive(Debug, Default)]
pub(super) struct BundlePoll {
    /// Whether the server answered at least once, be it with a refusal.
    pub(super) attempted: bool,
    under_way: bool,
    wanted: bool,
    last_at: Option<Now>,
    denied: bool,
    /// When the server last said that a bundle is missing.
    contradicted: u64,
}

impl BundlePoll {
    fn due_at(&self) -> Option<Now> {
        if self.under_way || (self.attempted && !self.wanted) {
            return None;
        }
        let every = if self.denied {
            BUNDLES_DENIED
        } else {
            BUNDLES_EVERY
        };
        Some(match self.last_at {
            Some(at) if self.attempted => at + every,
            _ => Now::ZERO,
        })
    }

    pub(super) fn next_at(&self) -> Option<Now> {
        self.due_at()
    }

    pub(super) fn failed(&mut self) {
        self.under_way = false;
    }

    pub(super) fn refused(&mut self, now: Now) {
        self.under_way = false;
        self.attempted = true;
        self.denied = true;
        self.last_at = Some(now);
    }

    /// The server said that a bundle is missing which the last list, or none, said is there.
    pub(super) fn contradicted(&mut self, stamp: u64) {
        self.contradicted = stamp;
    }
}

impl Reconciler {
    /// Whose an entry is cannot be told before the SpiffeIDs are known.
    pub(super) fn may_scan(&self) -> bool {
        self.policy.spiffe_ids.is_none() || self.observed.is_synced(Kind::SpiffeId)
    }

    pub(super) fn scan_on(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        if self.scan.next_at().is_none_or(|at| at > now)
            || !self.may_scan()
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
        match &mut self.scan.under_way {
            Some(pass) if pass.asked == Some(asked) => {
                pass.asked = None;
                pass.total += entries.len();
            }
            // Of a pass that was given up.
            _ => return,
        }
        for entry in entries {
            self.entry_read(now, entry, asked, number);
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
            None => self.pass_done(now),
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

    /// Tells a difference that nobody should have made. Of what a leader before us wrote, the mirror knows only what it
    /// reads: until it was read since we lead, every write of that leader is a difference.
    fn drifted(&mut self, subject: &Subject, id: EntryId, drift: Drift) {
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

    pub(super) fn poll_bundles(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        self.bundle_poll.wanted = !self.federating.is_empty();
        if self.bundle_poll.due_at().is_none_or(|at| at > now)
            || !self.gate.is_open(now, self.flights.len())
        {
            return;
        }
        self.ask_for_bundles(now, calls);
    }

    fn ask_for_bundles(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        self.bundle_poll.under_way = true;
        self.bundle_poll.last_at = Some(now);
        let asked = self.stamp;
        let id = self.launch(Flight::Bundles { asked });
        calls.push((id, SpireCall::ListBundles));
    }

    /// What failed may not be wanted any more, or be another replica's business by now: whether the server is back is found
    /// out all the same, by a call that changes nothing.
    pub(super) fn feel_for_server(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        if !self.gate.is_well() && self.gate.is_open(now, self.flights.len()) {
            self.ask_for_bundles(now, calls);
        }
    }

    pub(super) fn bundles_read(&mut self, now: Now, asked: u64, known: BTreeSet<TrustDomain>) {
        self.bundle_poll.under_way = false;
        self.bundle_poll.attempted = true;
        self.bundle_poll.denied = false;
        let mut next = self.bundles.clone();
        if self.bundle_poll.contradicted < asked {
            next.missing.clear();
        }
        let before = next.known.replace(known);
        if next == self.bundles {
            return;
        }
        let now_known = next.known.iter().flatten();
        for td in now_known.filter(|td| !self.bundles.has(td)) {
            self.facts.push(Fact::BundleArrived((*td).clone()));
        }
        let gone: Vec<TrustDomain> = before
            .into_iter()
            .flatten()
            .filter(|td| next.known.as_ref().is_some_and(|k| !k.contains(td)))
            .collect();
        self.bundles = next;
        for td in gone {
            self.read_entries_naming(&td, now);
            self.facts.push(Fact::BundleGone(td));
        }
        for subject in self.federating.clone() {
            self.queue.mark(&subject, Urgency::Changed, now);
        }
    }

    /// The server may have changed or removed these entries together with the bundle.
    fn read_entries_naming(&mut self, td: &TrustDomain, now: Now) {
        let naming: Vec<_> = self
            .mirror
            .records()
            .filter(|r| r.entry.federates_with.contains(td))
            .map(|r| (r.subject.clone(), r.entry.id.clone()))
            .collect();
        for (subject, id) in naming {
            self.queue.mark(&subject, Urgency::Changed, now);
            if let Some(work) = self.queue.get_mut(&subject) {
                work.doubtful.entry(id).or_default();
            }
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
