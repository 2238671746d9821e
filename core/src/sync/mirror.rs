//! Our entries on the server, as last read or acknowledged.

use super::{ids::Ids, observed::filled};
use crate::{
    cluster::{PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    index::{Index, IndexSet},
    intern::Interner,
    rules::{Subject, Tuple},
    spiffe::SpiffeId,
};

/// One entry of ours.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) entry: RegisteredEntry,
    pub(super) subject: Subject,
    /// The object that the entry was made for or confirmed for; unknown after a restart, until its object is decided.
    pub(super) owner: Option<Uid>,
    /// When we last learnt of it, by the machine's own count: what was asked before cannot be newer.
    touched: u64,
    /// The last scan that found it.
    pub(super) scan: u64,
    /// Whether nothing is done about it for its subject's sake: another that asks for exactly this may have it.
    laid_aside: bool,
}

#[derive(Debug)]
pub(super) struct Mirror {
    /// Boxed: the nodes of the tree are never quite full.
    records: Index<EntryId, Box<Record>>,
    /// What nodes' entries hang under.
    server_id: SpiffeId,
    /// How many of the records are nodes'.
    of_nodes: usize,
    by_subject: Index<Subject, Ids>,
    /// Those without a known SpiffeID or laid aside, by what they are.
    unclaimed: Index<Tuple, Ids>,
    spiffe_ids: Interner<SpiffeId>,
    /// Deleted while a list was under way that may still show them.
    deleted: Index<EntryId, u64>,
    /// Gone, or another subject's than before: who was refused them for their former subject's sake is looked at again.
    moved: IndexSet<EntryId>,
}

/// What a reading of the server changed in the mirror.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    New,
    Changed,
}

impl Mirror {
    /// Empty.
    pub(super) fn new(server_id: SpiffeId) -> Self {
        Self {
            records: Index::new(),
            server_id,
            of_nodes: 0,
            by_subject: Index::new(),
            unclaimed: Index::new(),
            spiffe_ids: Interner::default(),
            deleted: Index::new(),
            moved: IndexSet::new(),
        }
    }

    /// How many of the entries are nodes'.
    pub(super) fn of_nodes(&self) -> usize {
        self.of_nodes
    }

    fn is_of_node(&self, record: &Record) -> bool {
        match &record.subject {
            Subject::SpiffeId(..) | Subject::Entry(_) => record.entry.parent_id == self.server_id,
            subject => matches!(subject, Subject::Node(_)),
        }
    }

    fn insert(&mut self, id: EntryId, record: Box<Record>) {
        self.of_nodes += usize::from(self.is_of_node(&record));
        if let Some(former) = self.records.insert(id, record) {
            self.of_nodes -= usize::from(self.is_of_node(&former));
        }
    }

    fn take(&mut self, id: &EntryId) -> Option<Box<Record>> {
        let record = self.records.remove(id)?;
        self.of_nodes -= usize::from(self.is_of_node(&record));
        Some(record)
    }

    /// Makes the names of a pod those that its entries are known by.
    pub(super) fn share_names(&self, subject: &Subject, pod: &mut PodSnapshot) {
        match self.by_subject.get_key_value(subject) {
            Some((Subject::Pod(_, name), _)) => pod.name = name.clone(),
            Some((Subject::PodUid(uid), _)) => pod.uid = uid.clone(),
            _ => {}
        }
    }

    /// Fills the nodes of the trees, which are half empty after so many insertions in order.
    pub(super) fn close_ranks(&mut self) {
        filled(&mut self.records);
        filled(&mut self.by_subject);
        filled(&mut self.unclaimed);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, id: &EntryId) -> Option<&Record> {
        self.records.get(id).map(|r| &**r)
    }

    /// The entries of a subject, lowest ID first.
    pub(super) fn of(&self, subject: &Subject) -> impl Iterator<Item = &Record> {
        self.by_subject
            .get(subject)
            .into_iter()
            .flat_map(Ids::iter)
            .filter_map(|id| self.get(id))
    }

    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.by_subject.contains_key(subject)
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.by_subject.keys()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().map(|r| &**r)
    }

    pub(super) fn set_owner(&mut self, id: &EntryId, owner: &Uid) {
        if let Some(record) = self.records.get_mut(id)
            && record.owner.as_ref() != Some(owner)
        {
            record.owner = Some(owner.clone());
        }
    }

    /// What this subject has was that object's, which is no more, unless it is known to be another's.
    pub(super) fn belonged_to(&mut self, subject: &Subject, owner: &Uid) {
        let ids = self.by_subject.get(subject).into_iter().flat_map(Ids::iter);
        for id in ids {
            if let Some(record) = self.records.get_mut(id) {
                record.owner.get_or_insert_with(|| owner.clone());
            }
        }
    }

    /// What the server just acknowledged or answered.
    pub(super) fn put(
        &mut self,
        mut entry: RegisteredEntry,
        subject: Subject,
        owner: Option<Uid>,
        stamp: u64,
    ) {
        self.spiffe_ids.share(&mut entry.spiffe_id);
        self.spiffe_ids.share(&mut entry.parent_id);
        let id = entry.id.clone();
        let before = self.records.get(&id);
        let scan = before.map_or(0, |r| r.scan);
        if before.is_some_and(|r| r.subject != subject) {
            self.moved.insert(id.clone());
        }
        self.unlink(&id);
        self.deleted.remove(&id);
        self.link(&entry, &subject, false);
        self.insert(
            id,
            Box::new(Record {
                entry,
                subject,
                owner,
                touched: stamp,
                scan,
                laid_aside: false,
            }),
        );
    }

    /// The entry is another subject's from now on: that of its object as it is now, if that is known.
    pub(super) fn hand_over(&mut self, id: &EntryId, subject: &Subject, owner: Option<Uid>) {
        self.unlink(id);
        if let Some(mut record) = self.take(id) {
            self.link(&record.entry, subject, false);
            self.moved.insert(id.clone());
            record.subject = subject.clone();
            record.owner = owner;
            record.laid_aside = false;
            self.insert(id.clone(), record);
        }
    }

    /// The entry stays its subject's until another asks for exactly this.
    pub(super) fn lay_aside(&mut self, id: &EntryId) {
        if let Some(mut record) = self.take(id) {
            record.laid_aside = true;
            self.link(&record.entry, &record.subject, true);
            self.insert(id.clone(), record);
        }
    }

    /// Entries without a known SpiffeID, or laid aside, that are exactly this.
    pub(super) fn unclaimed(&self, tuple: &Tuple) -> impl Iterator<Item = &EntryId> {
        self.unclaimed.get(tuple).into_iter().flat_map(Ids::iter)
    }

    /// Entries whose ID begins so.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = &Record> {
        self.records
            .range(EntryId::stored(prefix)..)
            .map(|(_, record)| &**record)
            .take_while(move |r| r.entry.id.as_str().starts_with(prefix))
    }

    fn link(&mut self, entry: &RegisteredEntry, subject: &Subject, laid_aside: bool) {
        self.by_subject
            .entry(subject.clone())
            .or_default()
            .insert(entry.id.clone());
        if laid_aside || matches!(subject, Subject::Entry(_)) {
            self.unclaimed
                .entry(Tuple::stored(entry))
                .or_default()
                .insert(entry.id.clone());
        }
    }

    fn unlink(&mut self, id: &EntryId) {
        let Some(record) = self.records.get(id) else {
            return;
        };
        remove_from(&mut self.by_subject, &record.subject, id);
        if record.laid_aside || matches!(record.subject, Subject::Entry(_)) {
            remove_from(&mut self.unclaimed, &Tuple::stored(&record.entry), id);
        }
    }

    /// The entry is not on the server any more, or not ours.
    pub(super) fn remove(&mut self, id: &EntryId, stamp: u64) -> Option<Record> {
        self.unlink(id);
        self.deleted.insert(id.clone(), stamp);
        let record = self.take(id)?;
        self.moved.insert(id.clone());
        Some(*record)
    }

    /// What is gone or another subject's since this was asked last.
    pub(super) fn take_moved(&mut self) -> IndexSet<EntryId> {
        std::mem::take(&mut self.moved)
    }

    /// An entry as a list that was asked for at `asked` shows it. What we learnt since is newer and stays.
    pub(super) fn read(
        &mut self,
        entry: RegisteredEntry,
        subject: Subject,
        asked: u64,
        scan: u64,
    ) -> Change {
        if self.deleted.get(&entry.id).is_some_and(|at| *at >= asked) {
            return Change::None;
        }
        if let Some(record) = self.records.get_mut(&entry.id) {
            record.scan = scan;
            if record.touched >= asked {
                return Change::None;
            }
            // The time of creation is not ours to compare; we do not know it of what we made ourselves.
            record.entry.created_at = entry.created_at;
            if record.entry == entry {
                return Change::None;
            }
            let owner = record.owner.clone().filter(|_| record.subject == subject);
            self.put(entry, subject, owner, asked);
            return Change::Changed;
        }
        let id = entry.id.clone();
        self.put(entry, subject, None, asked);
        if let Some(record) = self.records.get_mut(&id) {
            record.scan = scan;
        }
        Change::New
    }

    /// Entries that a complete scan, begun at `begun`, should have found and did not.
    pub(super) fn missing_after(&self, scan: u64, begun: u64) -> Vec<EntryId> {
        self.records
            .iter()
            .filter(|(_, r)| r.scan != scan && r.touched < begun)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// No list is under way that was asked for before `stamp`: what was deleted before can be forgotten.
    pub(super) fn forget_deleted(&mut self, stamp: u64) {
        self.deleted.retain(|_, at| *at >= stamp);
    }
}

fn remove_from<K: Ord>(index: &mut Index<K, Ids>, key: &K, id: &EntryId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
