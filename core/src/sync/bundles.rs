//! Reading the trust domains whose bundles the server has; and feeling whether it is back.

use std::{collections::BTreeSet, time::Duration};

use super::{CallId, Fact, Now, Reconciler, flight::Flight, queue::Urgency};
use crate::{ports::SpireCall, spiffe::TrustDomain};

/// How often the bundles are listed while anything names a trust domain.
const BUNDLES_EVERY: Duration = Duration::from_secs(2);
/// The same where the server denies the list.
const BUNDLES_DENIED: Duration = Duration::from_secs(60);

/// Asking for the bundles.
#[derive(Debug, Default)]
pub(super) struct BundlePoll {
    /// Whether the server answered at least once, be it with a refusal.
    pub(super) attempted: bool,
    under_way: bool,
    last_at: Option<Now>,
    denied: bool,
    /// When the server last said that a bundle is missing.
    contradicted: u64,
}

impl BundlePoll {
    /// When the next list is due; `wanted` says whether anything names a trust domain.
    fn due_at(&self, wanted: bool) -> Option<Now> {
        if self.under_way || (self.attempted && !wanted) {
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
    /// When the bundles are to be listed next.
    pub(super) fn bundles_due_at(&self) -> Option<Now> {
        self.bundle_poll.due_at(!self.federating.is_empty())
    }

    pub(super) fn poll_bundles(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        if self.bundles_due_at().is_none_or(|at| at > now)
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
