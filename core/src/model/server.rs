//! A model of the SPIRE Server: what it stores and answers, by the semantics of its Entry API (create, update, delete,
//! list in pages, similar entries, federated bundles). Small enough to be obviously right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    entry::{Entry, EntryId, Field, FieldMask, RegisteredEntry},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
    rules::Tuple,
    spiffe::{TrustDomain, is_under},
};

/// The server's memory.
#[derive(Debug, Clone, Default)]
pub struct ModelServer {
    /// In the order of creation, which is the order of pages.
    rows: BTreeMap<u64, RegisteredEntry>,
    by_id: BTreeMap<EntryId, u64>,
    by_tuple: BTreeMap<Tuple, BTreeSet<u64>>,
    next_row: u64,
    /// Trust domains with a bundle.
    pub bundles: BTreeSet<TrustDomain>,
    /// Whether it is as if every trust domain had one.
    pub any_bundle: bool,
    /// How many items of writes changed something.
    pub writes: usize,
}

impl ModelServer {
    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &RegisteredEntry> {
        self.rows.values()
    }

    /// The entry with this ID.
    pub fn get(&self, id: &EntryId) -> Option<&RegisteredEntry> {
        self.rows.get(self.by_id.get(id)?)
    }

    /// The first of the entries with this SPIFFE ID, parent and set of selectors.
    pub fn similar(&self, entry: &Entry) -> Option<&RegisteredEntry> {
        let rows = self.by_tuple.get(&Tuple::wanted(entry))?;
        self.rows.get(rows.first()?)
    }

    /// Stores an entry behind everyone's back.
    pub fn put(&mut self, entry: RegisteredEntry) {
        self.remove(&entry.id.clone());
        self.next_row += 1;
        self.store(self.next_row, entry);
    }

    fn store(&mut self, row: u64, entry: RegisteredEntry) {
        self.by_id.insert(entry.id.clone(), row);
        let same = self.by_tuple.entry(Tuple::stored(&entry)).or_default();
        same.insert(row);
        self.rows.insert(row, entry);
    }

    fn take(&mut self, row: u64) -> Option<RegisteredEntry> {
        let entry = self.rows.remove(&row)?;
        self.by_id.remove(&entry.id);
        let tuple = Tuple::stored(&entry);
        if let Some(same) = self.by_tuple.get_mut(&tuple) {
            same.remove(&row);
            if same.is_empty() {
                self.by_tuple.remove(&tuple);
            }
        }
        Some(entry)
    }

    /// Deletes an entry behind everyone's back.
    pub fn remove(&mut self, id: &EntryId) -> Option<RegisteredEntry> {
        self.take(*self.by_id.get(id)?)
    }

    /// Changes an entry behind everyone's back.
    pub fn change(&mut self, id: &EntryId, change: impl FnOnce(&mut RegisteredEntry)) {
        let row = self.by_id.get(id).copied();
        if let Some((row, mut entry)) = row.and_then(|row| Some((row, self.take(row)?))) {
            change(&mut entry);
            self.store(row, entry);
        }
    }

    /// Takes a bundle away, and with it the trust domain from all entries (the API's mode DISSOCIATE).
    pub fn dissociate(&mut self, td: &TrustDomain) {
        self.bundles.remove(td);
        for entry in self.rows.values_mut() {
            if entry.federates_with.contains(td) {
                let mut left = (*entry.federates_with).clone();
                left.remove(td);
                entry.federates_with = Arc::new(left);
            }
        }
    }

    /// Performs a call; of a write only the first `items` items, as a server does whose deadline passes.
    pub fn perform(&mut self, call: &SpireCall, items: usize) -> SpireAnswer {
        match call {
            SpireCall::List {
                page_token,
                page_size,
            } => self.page(page_token.as_deref(), *page_size),
            SpireCall::Find { parent, selectors } => SpireAnswer::Page {
                entries: self
                    .entries()
                    .filter(|e| e.parent_id == *parent && e.selectors.same_set(selectors))
                    .cloned()
                    .collect(),
                unreadable: 0,
                next: None,
            },
            SpireCall::Read { ids } => {
                SpireAnswer::Read(ids.iter().map(|id| Ok(self.get(id).cloned())).collect())
            }
            SpireCall::ListBundles => SpireAnswer::Bundles(self.bundles.clone()),
            SpireCall::Create { entries } => SpireAnswer::Written(
                entries
                    .iter()
                    .take(items)
                    .map(|(id, e)| self.create(id, e))
                    .collect(),
            ),
            SpireCall::Update { mask, entries } => SpireAnswer::Written(
                entries
                    .iter()
                    .take(items)
                    .map(|(id, entry)| self.update(id, entry, *mask))
                    .collect(),
            ),
            SpireCall::Delete { ids } => {
                SpireAnswer::Written(ids.iter().take(items).map(|id| self.delete(id)).collect())
            }
        }
    }

    fn create(&mut self, id: &EntryId, entry: &Entry) -> Outcome {
        if let Some(refusal) = invalid("create", entry) {
            return refusal;
        }
        if EntryId::new(id.as_str()).is_err() {
            return refused("failed to create entry: datastore-validation: invalid entry ID");
        }
        if let Some(similar) = self.similar(entry) {
            return Outcome::AlreadyExists(Some(Box::new(similar.clone())));
        }
        if self.get(id).is_some() || names_one_twice(entry) {
            return Outcome::AlreadyExists(None);
        }
        if let Some(refusal) = self.missing_bundle("create", entry) {
            return refusal;
        }
        self.put(RegisteredEntry::created(id.clone(), entry));
        self.writes += 1;
        Outcome::Ok
    }

    fn update(&mut self, id: &EntryId, entry: &Entry, mask: FieldMask) -> Outcome {
        if let Some(refusal) = invalid("update", entry).or(self.missing_bundle("update", entry)) {
            return refusal;
        }
        if self.get(id).is_none() {
            return Outcome::NotFound;
        }
        if mask.contains(Field::DnsNames) && names_one_twice(entry) {
            return Outcome::AlreadyExists(None);
        }
        self.change(id, |stored| stored.update(entry, mask));
        self.writes += 1;
        Outcome::Ok
    }

    fn delete(&mut self, id: &EntryId) -> Outcome {
        if id.as_str().is_empty() {
            return refused("missing entry ID");
        }
        match self.remove(id) {
            Some(_) => {
                self.writes += 1;
                Outcome::Ok
            }
            None => Outcome::NotFound,
        }
    }

    fn missing_bundle(&self, verb: &str, entry: &Entry) -> Option<Outcome> {
        let missing = entry
            .federates_with
            .iter()
            .find(|td| !self.any_bundle && !self.bundles.contains(*td))?;
        let message = format!(
            "failed to {verb} entry: unable to find federated bundle \"spiffe://{missing}\""
        );
        Some(Outcome::Refused(Failure::new(FailureClass::Retry, message)))
    }

    fn page(&self, token: Option<&str>, size: u32) -> SpireAnswer {
        let after: u64 = token.and_then(|t| t.parse().ok()).unwrap_or(0);
        let rows: Vec<_> = self.rows.range(after + 1..).take(size as usize).collect();
        SpireAnswer::Page {
            entries: rows.iter().map(|(_, e)| (*e).clone()).collect(),
            unreadable: 0,
            next: rows.last().map(|(row, _)| row.to_string().into()),
        }
    }
}

fn refused(message: &str) -> Outcome {
    Outcome::Refused(Failure::new(FailureClass::Permanent, message))
}

/// What the server checks of an entry before anything else: its SPIFFE ID is a workload's.
fn invalid(verb: &str, entry: &Entry) -> Option<Outcome> {
    let why = match entry.spiffe_id.path() {
        "" => "path is empty",
        path if is_under(path, "/spire") => "path is in the reserved namespace",
        _ => return None,
    };
    let message = format!(
        "failed to {verb} entry: failed to convert entry: invalid spiffe ID: \"{}\" is not a workload: {why}",
        entry.spiffe_id
    );
    Some(refused(&message))
}

/// The server's unique constraint on an entry's DNS names.
fn names_one_twice(entry: &Entry) -> bool {
    let unique: BTreeSet<_> = entry.dns_names.iter().collect();
    unique.len() < entry.dns_names.len()
}
