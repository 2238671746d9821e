//! What a subject should have, and the next operations that bring it there.

use std::sync::Arc;

use super::{DeleteReason, mirror::Record};
use crate::{
    cluster::Uid,
    entry::{Entry, EntryId, FieldMask},
    policy::{ParentForm, Policy},
};

/// What is wanted for one subject.
#[derive(Debug)]
pub(super) enum Want {
    /// These entries and no others.
    Entries {
        entries: Vec<Arc<Entry>>,
        owner: Uid,
    },
    /// None.
    Nothing(DeleteReason),
    /// It is held: what belongs to this very object stays; what belonged to a former one goes.
    Hold { owner: Option<Uid> },
    /// Not known well enough to touch anything.
    Unknown,
}

/// One operation on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Create {
        id: EntryId,
        entry: Arc<Entry>,
        owner: Uid,
    },
    Update {
        id: EntryId,
        entry: Arc<Entry>,
        mask: FieldMask,
        owner: Uid,
    },
    Delete {
        id: EntryId,
        reason: DeleteReason,
    },
    Read {
        id: EntryId,
    },
}

impl Operation {
    pub(super) fn id(&self) -> &EntryId {
        match self {
            Operation::Create { id, .. }
            | Operation::Update { id, .. }
            | Operation::Delete { id, .. }
            | Operation::Read { id } => id,
        }
    }
}

/// How the wanted entries of a subject compare with those that it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// Right as they are.
    pub(super) right: Vec<EntryId>,
    /// To be changed in place.
    pub(super) update: Vec<(EntryId, Arc<Entry>, FieldMask)>,
    /// To be made.
    pub(super) create: Vec<Arc<Entry>>,
    /// Not wanted; to be deleted once all that are wanted are there.
    pub(super) surplus: Vec<EntryId>,
}

/// Whether a stored entry of a subject may be changed into a wanted one.
pub(super) fn may_become(policy: &Policy, record: &Record, entry: &Entry) -> bool {
    // An entry that only its ID shows to be ours under its new parent must have such an ID.
    let provable = policy.pods.parent != ParentForm::Agent
        || entry.parent_id.is_under(&policy.root)
        || entry.parent_id == policy.server_id()
        || policy.entry_ids.made(&record.entry.id);
    // Where pods are not watched, the entry may be that of a living pod of this name.
    provable && (policy.pods.watched || entry.is_similar(&record.entry))
}

/// Pairs what is wanted with what is there: equal ones first, then similar ones, then the lowest ID.
///
/// `may_become` says whether a stored entry may be changed into a wanted one (else it is replaced: create, then delete).
pub(super) fn diff(
    wanted: &[Arc<Entry>],
    stored: &[&Record],
    may_become: impl Fn(&Record, &Entry) -> bool,
) -> Diff {
    let mut diff = Diff::default();
    let mut free: Vec<&Record> = stored.to_vec();
    free.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
    let mut take =
        |fits: &dyn Fn(&Record) -> bool| free.iter().position(|r| fits(r)).map(|n| free.remove(n));
    let mut unmatched = Vec::new();
    for entry in wanted {
        match take(&|r| may_become(r, entry) && entry.changed_fields(&r.entry).is_empty()) {
            Some(record) => diff.right.push(record.entry.id.clone()),
            None => unmatched.push(entry),
        }
    }
    for entry in unmatched {
        let found = take(&|r| may_become(r, entry) && entry.is_similar(&r.entry))
            .or_else(|| take(&|r| may_become(r, entry)));
        match found {
            Some(record) => {
                let mask = entry.changed_fields(&record.entry);
                diff.update
                    .push((record.entry.id.clone(), entry.clone(), mask));
            }
            None => diff.create.push(entry.clone()),
        }
    }
    diff.surplus = free.into_iter().map(|r| r.entry.id.clone()).collect();
    diff
}
