//! Looking before leaping: what the machine would do to bring the entries right, without doing it.
//!
//! The decisions and the differences are those that [`Reconciler::step`] acts on. A machine that is asked for a plan is fed
//! with lists and replies like any other; it just never leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    DeleteReason, Reconciler, ResourceChange,
    plan::{Want, diff, may_become},
    resources::{resource_of, subject_of},
};
use crate::{
    cluster::{Kind, ObjectKey},
    entry::{Entry, EntryId, FieldMask, RegisteredEntry},
    ports::ResourceName,
    rules::{Note, Problem, SkipReason, Subject},
    spiffe::SpiffeId,
};

/// What the rules say of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It gets these entries; the notes say what was left out of them.
    Registered(Vec<Arc<Entry>>, Vec<Note>),
    /// It gets none, and those it has go.
    Skipped(SkipReason),
    /// Those it has stay as they are, and none is made.
    Held(Problem),
    /// There is no such object: entries that are about it go.
    Absent(DeleteReason),
    /// Whether there is such an object is not known: nothing is touched.
    Unknown,
}

/// An entry changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// As it is on the server.
    pub stored: RegisteredEntry,
    /// As it should be.
    pub entry: Arc<Entry>,
    /// Where the two differ.
    pub fields: FieldMask,
}

/// An entry that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// As it is on the server.
    pub stored: RegisteredEntry,
    /// Why it goes.
    pub reason: DeleteReason,
}

/// What is wanted for one subject, and what would be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Whom it is about.
    pub subject: Subject,
    /// Its object, where its name is known.
    pub object: Option<ObjectKey>,
    /// What the rules say.
    pub verdict: Verdict,
    /// Entries that stay as they are.
    pub right: Vec<EntryId>,
    /// Entries to be made.
    pub create: Vec<Arc<Entry>>,
    /// Entries to be changed in place.
    pub update: Vec<Update>,
    /// Entries that go, once all that are wanted are there.
    pub delete: Vec<Removal>,
}

/// An object and an entry that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The object.
    pub object: ObjectKey,
    /// Its entry.
    pub entry: Arc<Entry>,
}

/// An entry that the server would refuse to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The object and the entry that it should get.
    pub wanted: Planned,
    /// An entry of the same SPIFFE ID, parent and selectors that is not ours.
    pub taken_by: EntryId,
}

/// What the whole cluster gets, and what would be done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every entry that the rules want, by object.
    pub entries: Vec<Planned>,
    /// Objects that get none.
    pub skipped: Vec<(ObjectKey, SkipReason)>,
    /// Objects that are held.
    pub held: Vec<(ObjectKey, Problem)>,
    /// What is left out of entries.
    pub left_out: Vec<(ObjectKey, Note)>,
    /// Entries to be made.
    pub create: Vec<Planned>,
    /// Entries to be changed in place, by object.
    pub update: Vec<(ObjectKey, Update)>,
    /// Entries that go.
    pub delete: Vec<(Subject, Removal)>,
    /// Entries that the server would refuse to make.
    pub conflicts: Vec<Conflict>,
    /// Entries of ours that stay as they are.
    pub unchanged: usize,
    /// Entries of ours whose object may exist although it was not read; they stay as well.
    pub unexplained: usize,
    /// If the mass-delete breaker would hold deletes back: how many it judges, and how many may go within a minute.
    pub breaker: Option<(usize, usize)>,
    /// In crd mode: SpiffeIDs that are made, changed and deleted on the way.
    pub resources: Vec<(ResourceName, ResourceChange)>,
}

impl Reconciler {
    /// What is wanted for one subject, and what would be done about it, by what the machine knows now.
    pub fn preview(&mut self, subject: &Subject) -> Preview {
        let want = self.want(subject);
        let mut preview = Preview {
            subject: subject.clone(),
            object: self
                .object_of(subject)
                .map(|(key, _)| key)
                .filter(|_| !self.is_held_by_name(subject)),
            verdict: Verdict::Unknown,
            right: Vec::new(),
            create: Vec::new(),
            update: Vec::new(),
            delete: Vec::new(),
        };
        match want {
            Want::Unknown => preview.right = self.entry_ids_of(subject),
            Want::Nothing(reason) => {
                preview.verdict = match reason {
                    DeleteReason::Skipped(skip) => Verdict::Skipped(skip),
                    other => Verdict::Absent(other),
                };
                let ids = self.entry_ids_of(subject);
                preview.delete = self.removals(ids, reason);
            }
            Want::Hold { owner } => {
                let unreadable = || self.observed.unreadable(subject).cloned();
                let problem = self.held.get(subject).cloned();
                let problem = problem.or_else(|| unreadable().map(Problem::Undecodable));
                preview.verdict = problem.map_or(Verdict::Unknown, Verdict::Held);
                let (former, own): (Vec<_>, Vec<_>) = self
                    .entries_of_held(subject, owner.as_ref())
                    .into_iter()
                    .partition(|(_, former)| *former);
                preview.right = own.into_iter().map(|(id, _)| id).collect();
                let former = former.into_iter().map(|(id, _)| id).collect();
                preview.delete = self.removals(former, DeleteReason::FormerObject);
            }
            Want::Entries { entries, .. } => self.compare(subject, &entries, &mut preview),
        }
        preview
    }

    fn compare(&self, subject: &Subject, entries: &[Arc<Entry>], preview: &mut Preview) {
        let records: Vec<_> = self.mirror.of(subject).collect();
        let diff = diff(entries, &records, |record, entry| {
            may_become(&self.policy, record, entry)
        });
        let stored = |id: &EntryId| self.mirror.get(id).map(|r| r.entry.clone());
        preview.right = diff.right;
        preview.create = diff.create;
        preview.update = diff
            .update
            .into_iter()
            .filter_map(|(id, entry, fields)| {
                let stored = stored(&id)?;
                Some(Update {
                    stored,
                    entry,
                    fields,
                })
            })
            .collect();
        preview.delete = self.removals(diff.surplus, DeleteReason::Surplus);
        let notes = self.notes.get(subject).cloned().unwrap_or_default();
        preview.verdict = Verdict::Registered(entries.to_vec(), notes);
    }

    fn stands_for_object(&self, subject: &Subject) -> bool {
        resource_of(subject)
            .and_then(|name| self.observed.resources.get(&name))
            .is_some_and(|resource| resource.controller.is_some())
    }

    fn entry_ids_of(&self, subject: &Subject) -> Vec<EntryId> {
        self.mirror
            .of(subject)
            .map(|r| r.entry.id.clone())
            .collect()
    }

    fn removals(&self, ids: Vec<EntryId>, reason: DeleteReason) -> Vec<Removal> {
        ids.iter()
            .filter_map(|id| self.mirror.get(id))
            .map(|r| Removal {
                stored: r.entry.clone(),
                reason,
            })
            .collect()
    }

    /// What the machine would do, by all that it was fed with. `others` are entries of the server that may stand in the
    /// way of ours; those that are ours by the rules are known from the replies.
    ///
    /// ```
    /// use registrar_core::{policy::Policy, sync::Reconciler};
    /// let policy = Policy::reconcile("example.org", "demo", "spire-k8s-registrar")?;
    /// let plan = Reconciler::new(policy, 1).plan(&[]);
    /// assert!(plan.entries.is_empty() && plan.delete.is_empty());
    /// # Ok::<(), registrar_core::spiffe::SpiffeError>(())
    /// ```
    pub fn plan(mut self, others: &[RegisteredEntry]) -> Plan {
        let mut subjects: BTreeSet<Subject> = self.observed.subjects().collect();
        subjects.extend(self.mirror.subjects().cloned());
        subjects.extend(self.observed.resources.names().map(subject_of));
        subjects.extend(self.all_nodes());
        // A SpiffeID that stands for a pod or a node is planned with that object.
        subjects.retain(|s| !self.stands_for_object(s));
        let mut plan = Plan::default();
        let mut unproven = 0;
        for subject in subjects {
            let preview = self.preview(&subject);
            unproven += preview
                .delete
                .iter()
                .filter(|r| !r.reason.is_proven())
                .count();
            plan.take(preview);
            // What happened is of no interest: nothing did.
            self.facts.clear();
        }
        let limit = self.policy.max_deletes.limit(self.mirror.len());
        plan.breaker = (unproven > limit).then_some((unproven, limit));
        plan.find_conflicts(others);
        plan.sort();
        plan
    }
}

impl Plan {
    fn take(&mut self, preview: Preview) {
        let Preview {
            subject,
            object,
            verdict,
            right,
            create,
            update,
            delete,
        } = preview;
        match verdict {
            Verdict::Unknown => self.unexplained += right.len(),
            _ => self.unchanged += right.len(),
        }
        self.delete
            .extend(delete.into_iter().map(|r| (subject.clone(), r)));
        // An object that is known by its UID alone is reported by its name as well.
        let Some(object) = object else { return };
        let planned = |entry: Arc<Entry>| Planned {
            object: object.clone(),
            entry,
        };
        self.create.extend(create.into_iter().map(planned));
        self.update
            .extend(update.into_iter().map(|u| (object.clone(), u)));
        match verdict {
            Verdict::Registered(entries, notes) => {
                self.entries.extend(entries.into_iter().map(planned));
                self.left_out
                    .extend(notes.into_iter().map(|n| (object.clone(), n)));
            }
            Verdict::Skipped(reason) if reason != SkipReason::NodesHaveNone => {
                self.skipped.push((object, reason));
            }
            Verdict::Held(problem) => self.held.push((object, problem)),
            Verdict::Skipped(_) | Verdict::Absent(_) | Verdict::Unknown => {}
        }
    }

    /// Moves what the server would refuse out of what is to be made.
    fn find_conflicts(&mut self, others: &[RegisteredEntry]) {
        let mut by_ids: BTreeMap<(&SpiffeId, &SpiffeId), Vec<&RegisteredEntry>> = BTreeMap::new();
        for other in others {
            by_ids
                .entry((&other.spiffe_id, &other.parent_id))
                .or_default()
                .push(other);
        }
        if by_ids.is_empty() {
            return;
        }
        for wanted in std::mem::take(&mut self.create) {
            let ids = (&wanted.entry.spiffe_id, &wanted.entry.parent_id);
            let similar = by_ids
                .get(&ids)
                .and_then(|list| list.iter().find(|e| wanted.entry.is_similar(e)));
            match similar {
                Some(similar) => {
                    let taken_by = similar.id.clone();
                    self.conflicts.push(Conflict { wanted, taken_by });
                }
                None => self.create.push(wanted),
            }
        }
    }

    pub(super) fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.object.cmp(&b.object));
        self.create.sort_by(|a, b| a.object.cmp(&b.object));
        self.skipped.sort();
        self.held.sort();
        self.left_out.sort();
        self.update.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// How many objects of a kind get entries.
    pub fn registered(&self, kind: Kind) -> usize {
        self.entries
            .iter()
            .filter(|p| p.object.kind == kind)
            .count()
    }
}
