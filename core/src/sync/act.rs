//! Acting: looks at the subjects that want it, and turns differences into operations.

use super::{
    CallId, DeleteReason, Fact, Now, Reconciler,
    mirror::Record,
    plan::{Operation, Want, diff, may_become},
    queue::Urgency,
    resources::resource_of,
};
use crate::{
    cluster::Kind,
    entry::{Entry, EntryId, Field},
    ports::SpireCall,
    rules::Subject,
};

impl Reconciler {
    pub(super) fn act(&mut self, now: Now, calls: &mut Vec<(CallId, SpireCall)>) {
        self.look_where_named(now);
        self.poll_bundles(now, calls);
        self.poll_definition(now);
        self.scan_on(now, calls);
        if !self.began && self.inputs_complete() {
            self.began = true;
            self.look_at_unexplained(now);
            for subject in std::mem::take(&mut self.unfinished) {
                let urgency = self.urgency_of(&subject);
                self.queue.mark(&subject, urgency, now);
            }
        }
        if self.leading && !self.paused {
            self.release_with_definition(now);
            self.send_writes(now);
        }
        let least = match (self.may_sweep(), self.may_answer()) {
            _ if self.paused => return,
            (true, _) => Urgency::Standing,
            (false, _) if self.may_create() => Urgency::New,
            (false, true) => Urgency::Asked,
            (false, false) => return,
        };
        self.find_on(now, calls);
        let mut looks = 0;
        loop {
            self.send_staged(now, calls);
            self.send_writes(now);
            if !self.gate.is_open(now, self.flights.len()) {
                break;
            }
            let before = looks;
            while looks < self.looks_a_step
                && let Some(least) = self.least_with_room(least, now)
                && let Some(subject) = self.queue.pop(least, self.kube.room())
            {
                looks += 1;
                self.look_at(&subject, now);
                self.look_where_named(now);
                if least == Urgency::Asked {
                    self.leave_the_rest(&subject, now);
                }
                self.release_waiting(&subject, now);
            }
            if looks == self.looks_a_step {
                self.more = true;
            }
            if looks == before {
                break;
            }
        }
        if !self.may_sweep() {
            return;
        }
        self.finish_first_sync();
        if self.judge_deletes(now) {
            self.act(now, calls);
        }
    }

    /// Whether this replica keeps all entries right.
    fn may_sweep(&self) -> bool {
        self.began && self.leading
    }

    /// Whether new objects may have their entries before the list of the pods is complete: nothing that is yet to come can
    /// make those wrong, and the server need not wait for it.
    fn may_create(&self) -> bool {
        self.leading
            && self.policy.spiffe_ids.is_none()
            && self.scan.has_completed()
            && self.bundle_poll.attempted
            && Self::kinds(&self.policy)
                .into_iter()
                .all(|kind| kind == Kind::Pod || self.observed.is_synced(kind))
    }

    /// What is left to do is decided when everything is known.
    fn leave_unfinished(&mut self, subject: &Subject) {
        if !self.began {
            self.unfinished.insert(subject.clone());
        }
    }

    /// Whether this replica does what reviews ask for; that needs no lead, and no list of the pods.
    fn may_answer(&self) -> bool {
        self.reviews.answering && self.scan.has_completed() && self.bundle_poll.attempted
    }

    /// What nobody waits for is left to whoever leads; if that is us one day, we look again.
    fn leave_the_rest(&mut self, subject: &Subject, now: Now) {
        let urgency = self.urgency_of(subject);
        if urgency != Urgency::Asked {
            self.queue.mark(subject, urgency, now);
        }
    }

    /// Decides what one subject should have, and stages what is next for it.
    fn look_at(&mut self, subject: &Subject, now: Now) {
        self.pod_is_seen(subject);
        if self.read_doubtful(subject) {
            return;
        }
        match subject {
            Subject::SpiffeId(..) => return self.look_at_resource(subject, now),
            Subject::Entry(id) => return self.look_at_unclaimed(subject, id, now),
            _ if self.gets_resource(subject) => return self.look_at_object(subject, now),
            _ => {}
        }
        if self.is_blocked(subject)
            || self.waits_for_all_nodes(subject)
            || self.awaits_proof(subject, now)
        {
            self.queue.rest(subject);
            return;
        }
        let may_delete = !self.policy.pods.watched || self.may_sweep();
        match self.want(subject) {
            Want::Hold { .. } | Want::Nothing(_) if !may_delete => {
                self.leave_unfinished(subject);
                self.reviews.resolve(subject, &Ok(()));
                self.queue.rest(subject);
            }
            Want::Unknown => {
                self.leave_unfinished(subject);
                self.reviews.resolve(subject, &Ok(()));
                self.queue.rest(subject);
            }
            Want::Hold { owner } => {
                self.reviews.resolve(subject, &Ok(()));
                self.hold_entries(subject, owner);
            }
            Want::Nothing(reason) => self.remove_entries(subject, reason, now),
            Want::Entries { entries, owner } => {
                let asked = self.reviews.waits_for(subject);
                if !asked && !self.scan.is_fresh() && self.mirror.has(subject) {
                    // Another replica may have changed it: compare when the mirror is read again.
                    self.scan.postpone(subject.clone());
                    self.queue.rest(subject);
                    return;
                }
                self.bring_about(subject, &entries, &owner, now);
                self.queue.rest(subject);
            }
        }
    }

    /// Whether an unanswered write must be cleared up first.
    fn read_doubtful(&mut self, subject: &Subject) -> bool {
        let Some(work) = self.queue.get(subject) else {
            return false;
        };
        let ids: Vec<EntryId> = work.doubtful.keys().cloned().collect();
        for id in &ids {
            self.stage(subject, Operation::Read { id: id.clone() });
        }
        !ids.is_empty()
    }

    /// Stages what is missing between the entries that a subject has and those it should have. Returns the right one once
    /// nothing is.
    pub(super) fn bring_about(
        &mut self,
        subject: &Subject,
        entries: &[std::sync::Arc<Entry>],
        owner: &crate::cluster::Uid,
        now: Now,
    ) -> Option<EntryId> {
        let records: Vec<_> = self.mirror.of(subject).collect();
        let has = !records.is_empty();
        let policy = &self.policy;
        let diff = diff(entries, &records, |record, entry| {
            may_become(policy, record, entry)
        });
        let kept = diff
            .right
            .iter()
            .chain(diff.update.iter().map(|(id, ..)| id));
        for id in kept {
            self.breaker.pardon_for(id, subject);
        }
        for id in &diff.right {
            self.mirror.set_owner(id, owner);
        }
        let right = diff.right.first().cloned();
        let complete = diff.update.is_empty() && diff.create.is_empty();
        if !complete && !self.may_change(subject, owner, entries, has, now) {
            return None;
        }
        for (id, entry, mask) in diff.update {
            if mask.contains(Field::ParentId) && self.waits_for_node(subject, &entry) {
                continue;
            }
            let owner = owner.clone();
            self.stage(
                subject,
                Operation::Update {
                    id,
                    entry,
                    mask,
                    owner,
                },
            );
        }
        for entry in diff.create {
            let id = self.next_entry_id(subject, owner);
            self.stage(
                subject,
                Operation::Create {
                    id,
                    entry,
                    owner: owner.clone(),
                },
            );
        }
        let surplus = !diff.surplus.is_empty();
        if complete {
            self.ended.remove(subject);
            self.refused.remove(subject);
            self.reviews.resolve(subject, &Ok(()));
            let may_delete = self.policy.pods.watched && self.may_sweep();
            if surplus && !may_delete {
                self.leave_unfinished(subject);
            }
            let may_delete = may_delete && surplus && !self.may_end_with_definition(subject);
            for id in diff.surplus.into_iter().filter(|_| may_delete) {
                self.stage(
                    subject,
                    Operation::Delete {
                        id,
                        reason: DeleteReason::Surplus,
                    },
                );
            }
        }
        right.filter(|_| complete && !surplus)
    }

    fn hold_entries(&mut self, subject: &Subject, owner: Option<crate::cluster::Uid>) {
        self.keep_held(subject, owner);
        self.queue.rest(subject);
    }

    pub(super) fn keep_held(&mut self, subject: &Subject, owner: Option<crate::cluster::Uid>) {
        for (id, of_former) in self.entries_of_held(subject, owner.as_ref()) {
            if of_former {
                self.stage(
                    subject,
                    Operation::Delete {
                        id,
                        reason: DeleteReason::FormerObject,
                    },
                );
                continue;
            }
            self.breaker.pardon_for(&id, subject);
            if let Some(owner) = &owner {
                self.mirror.set_owner(&id, owner);
            }
        }
        self.refused.remove(subject);
        if self.queue.get(subject).is_some_and(|w| w.in_flight == 0) {
            self.ended.remove(subject);
        }
    }

    /// The entries of a held subject, and whether each belonged to a former object.
    pub(super) fn entries_of_held(
        &self,
        subject: &Subject,
        owner: Option<&crate::cluster::Uid>,
    ) -> Vec<(EntryId, bool)> {
        let former = self.ended.contains(subject);
        let name = resource_of(subject);
        let resource = name.and_then(|n| Some((self.observed.resources.get(&n)?, n)));
        let of_former = |record: &Record| match (&resource, &record.owner, owner) {
            (Some((resource, name)), ..) => {
                self.is_of_former(subject, name, resource, record)
                    && !self.is_under_pods(name, &record.entry)
            }
            (None, Some(was), Some(is)) => was != is,
            (None, None, _) => former,
            (None, Some(_), None) => false,
        };
        self.mirror
            .of(subject)
            .map(|r| (r.entry.id.clone(), of_former(r)))
            .collect()
    }

    pub(super) fn remove_entries(&mut self, subject: &Subject, reason: DeleteReason, now: Now) {
        let ids: Vec<EntryId> = self
            .mirror
            .of(subject)
            .map(|r| r.entry.id.clone())
            .collect();
        if ids.is_empty() {
            if !matches!(reason, DeleteReason::Skipped(_)) {
                self.forget(subject);
            }
            self.ended.remove(subject);
            self.refused.remove(subject);
            self.reviews.resolve(subject, &Ok(()));
        } else if self.policy.pods.watched && !self.scan.is_fresh() {
            self.scan.postpone(subject.clone());
        } else if !reason.is_absence() || self.is_orphan(subject, now) {
            if matches!(reason, DeleteReason::Skipped(_)) {
                self.note_skipped(subject, now);
            }
            for id in ids {
                let allowed = reason.is_proven() || self.breaker.condemn(&id, subject, reason);
                if allowed && (!reason.is_absence() || self.is_absent_for_sure(subject)) {
                    self.stage(subject, Operation::Delete { id, reason });
                }
            }
        }
        self.queue.rest(subject);
    }

    fn finish_first_sync(&mut self) {
        if !self.first_sync_done
            && !self.all_nodes_missing()
            && self.scan.is_fresh()
            && (self.policy.dry_run || self.writes_are_settled())
            && self.is_settled()
        {
            self.first_sync_done = true;
            self.mirror.close_ranks();
            self.facts.push(Fact::FirstSyncDone);
        }
    }

    /// Whether every object that wants an entry has it, or was refused.
    fn is_settled(&self) -> bool {
        self.queue.waiting_objects() == 0
            && self.queue.all().all(|(s, w)| {
                let tried = self.refused.contains(s) || w.failures >= 3;
                let held = w.is_backing_off() && self.flurries.holds(s);
                w.in_flight == 0 && (tried || held) || self.urgency_of(s) == Urgency::Gone
            })
    }

    /// Whether every object has the SpiffeID that it should have, and what is missing is not just yet to come.
    fn resources_known(&self, now: Now) -> bool {
        self.policy.spiffe_ids.is_none()
            || self.kube.is_at_rest()
                && self.kube.definition.is_settled()
                && self
                    .kube
                    .definition
                    .grace_ends()
                    .is_none_or(|end| now >= end)
    }

    /// When all that is to go is known, lets the breaker decide. Returns whether there is more to do now.
    fn judge_deletes(&mut self, now: Now) -> bool {
        if self.breaker.is_empty() && self.breaker.tripped().is_none() {
            return false;
        }
        let all_looked_at = self.queue.len() == 0 && self.resources_known(now);
        if !self.first_sync_done || !self.scan.is_fresh() || !all_looked_at {
            return false;
        }
        let owned = self.mirror.len();
        let released = self.breaker.judge(
            self.policy.max_deletes,
            owned,
            self.nonce,
            now,
            &mut self.facts,
        );
        for subject in &released {
            self.queue.mark(subject, Urgency::Gone, now);
        }
        !released.is_empty()
    }
}
