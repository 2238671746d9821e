//! The mass-delete breaker: deletes for any reason but a watched deletion gather here, and go only if they are few.

use std::{collections::VecDeque, time::Duration};

use super::{DeleteReason, Fact, Now, TripId};
use crate::{entry::EntryId, index::Index, policy::MaxDeletes, rules::Subject};

const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// To be deleted, not allowed yet.
    condemned: Index<EntryId, (Subject, DeleteReason)>,
    /// Allowed, not deleted yet, and at whose wish.
    released: Index<EntryId, Subject>,
    /// When how many were allowed, within the window.
    allowed: VecDeque<(Now, usize)>,
    tripped: Option<TripId>,
    trips: u64,
}

impl Breaker {
    /// Asks to delete an entry; whether it may go now.
    pub(super) fn condemn(
        &mut self,
        id: &EntryId,
        subject: &Subject,
        reason: DeleteReason,
    ) -> bool {
        if self.released.contains_key(id) {
            return true;
        }
        self.condemned.insert(id.clone(), (subject.clone(), reason));
        false
    }

    /// The entry is wanted after all, or gone.
    pub(super) fn pardon(&mut self, id: &EntryId) {
        self.condemned.remove(id);
        self.released.remove(id);
    }

    /// This subject wants the entry. That does not help a SpiffeID that its pod or node is to take away.
    pub(super) fn pardon_for(&mut self, id: &EntryId, subject: &Subject) {
        let taken = matches!(
            self.wished_by(id),
            Some(Subject::Pod(..) | Subject::Node(_))
        );
        if !taken || !matches!(subject, Subject::SpiffeId(..)) {
            self.pardon(id);
        }
    }

    /// What this subject wished is not its wish any more.
    pub(super) fn withdraw(&mut self, id: &EntryId, subject: &Subject) {
        if self.wished_by(id) == Some(subject) {
            self.pardon(id);
        }
    }

    /// Who wants the entry deleted.
    fn wished_by(&self, id: &EntryId) -> Option<&Subject> {
        let condemned = self.condemned.get(id).map(|(by, _)| by);
        condemned.or_else(|| self.released.get(id))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.condemned.is_empty()
    }

    pub(super) fn tripped(&self) -> Option<&TripId> {
        self.tripped.as_ref()
    }

    pub(super) fn condemned(&self) -> usize {
        self.condemned.len()
    }

    /// Everything that is to go is known: lets it go if it is not too much. Returns the subjects to look at again.
    pub(super) fn judge(
        &mut self,
        limit: MaxDeletes,
        owned: usize,
        nonce: u64,
        now: Now,
        facts: &mut Vec<Fact>,
    ) -> Vec<Subject> {
        self.expire(now);
        let allowed: usize = self.allowed.iter().map(|(_, n)| n).sum();
        let limit = limit.limit(owned + allowed);
        if self.condemned.len() + allowed > limit {
            if self.tripped.is_none() {
                self.trips += 1;
                let trip = TripId(format!("{:08x}-{}", nonce as u32, self.trips).into());
                self.tripped = Some(trip.clone());
                let condemned = self.condemned.len();
                facts.push(Fact::BreakerTripped {
                    trip,
                    condemned,
                    limit,
                });
            }
            return Vec::new();
        }
        if self.tripped.take().is_some() {
            facts.push(Fact::BreakerClosed { confirmed: false });
        }
        self.release(now)
    }

    fn expire(&mut self, now: Now) {
        while self
            .allowed
            .front()
            .is_some_and(|(at, _)| *at + WINDOW <= now)
        {
            self.allowed.pop_front();
        }
    }

    fn release(&mut self, now: Now) -> Vec<Subject> {
        if self.condemned.is_empty() {
            return Vec::new();
        }
        self.allowed.push_back((now, self.condemned.len()));
        let condemned = std::mem::take(&mut self.condemned);
        let subjects = condemned.values().map(|(s, _)| s.clone()).collect();
        let released = condemned
            .into_iter()
            .map(|(id, (subject, _))| (id, subject));
        self.released.extend(released);
        subjects
    }

    /// An operator says that these deletes are meant. Returns the subjects to look at again.
    pub(super) fn confirm(&mut self, trip: Option<TripId>, facts: &mut Vec<Fact>) -> Vec<Subject> {
        if self.tripped.is_none()
            || trip
                .as_ref()
                .is_some_and(|t| Some(t) != self.tripped.as_ref())
        {
            facts.extend(trip.map(Fact::UnknownTrip));
            return Vec::new();
        }
        self.tripped = None;
        facts.push(Fact::BreakerClosed { confirmed: true });
        // Confirmed deletes do not count against the next minute's.
        let condemned = std::mem::take(&mut self.condemned);
        let subjects = condemned.values().map(|(s, _)| s.clone()).collect();
        let released = condemned
            .into_iter()
            .map(|(id, (subject, _))| (id, subject));
        self.released.extend(released);
        subjects
    }

    /// When a full window makes room again.
    pub(super) fn next_expiry(&self) -> Option<Now> {
        if self.condemned.is_empty() {
            return None;
        }
        self.allowed.front().map(|(at, _)| *at + WINDOW)
    }
}
