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
    /// How often each was updated, if it ever was.
    revisions: BTreeMap<u64, i64>,
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

/// One entry as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Row<'s> {
    /// Given once, in the order of creation; updates keep it. Page tokens are made of it.
    pub number: u64,
    /// How often the entry was updated.
    pub revision: i64,
    /// The entry itself.
    pub entry: &'s RegisteredEntry,
}

impl ModelServer {
    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &RegisteredEntry> {
        self.rows.values()
    }

    /// All rows, in the order of pages.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(number, entry)| Row {
            number: *number,
            revision: self.revisions.get(number).copied().unwrap_or(0),
            entry,
        })
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
        let row = *self.by_id.get(id)?;
        self.revisions.remove(&row);
        self.take(row)
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
        let all = FieldMask::from_iter(Field::ALL);
        if let Some(refusal) = invalid("create", entry, all) {
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

    /// Only masked fields are looked at, and nobody asks whether another entry is similar.
    fn update(&mut self, id: &EntryId, entry: &Entry, mask: FieldMask) -> Outcome {
        if let Some(refusal) = invalid("update", entry, mask) {
            return refusal;
        }
        let Some(row) = self.by_id.get(id).copied() else {
            return Outcome::NotFound;
        };
        if mask.contains(Field::DnsNames) && names_one_twice(entry) {
            return Outcome::AlreadyExists(None);
        }
        if mask.contains(Field::FederatesWith)
            && let Some(refusal) = self.missing_bundle("update", entry)
        {
            return refusal;
        }
        self.change(id, |stored| stored.update(entry, mask));
        // Whether anything differs is not asked.
        *self.revisions.entry(row).or_default() += 1;
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
        // The server's own bundle is one like the others here, though no list of bundles shows it.
        let own = entry.spiffe_id.trust_domain();
        let missing = entry
            .federates_with
            .iter()
            .find(|td| *td != own && !self.any_bundle && !self.bundles.contains(*td))?;
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

/// What the server checks of the masked fields before anything else; the first failure counts.
fn invalid(verb: &str, entry: &Entry, mask: FieldMask) -> Option<Outcome> {
    let masked = |field, problem: Option<String>| problem.filter(|_| mask.contains(field));
    let converted = masked(Field::ParentId, no_parent(entry))
        .or_else(|| masked(Field::SpiffeId, no_workload(entry)))
        .or_else(|| masked(Field::Selectors, no_selector(entry)))
        .or_else(|| masked(Field::Hint, no_hint(entry)))
        .map(|why| format!("failed to convert entry: {why}"));
    let stored = || {
        let negative = |ttl: Option<i32>| ttl.is_some_and(|seconds| seconds < 0);
        let x509 = mask.contains(Field::X509SvidTtl) && negative(entry.x509_svid_ttl);
        let jwt = mask.contains(Field::JwtSvidTtl) && negative(entry.jwt_svid_ttl);
        let which = match (x509, jwt) {
            (true, _) => "X509SvidTtl",
            (_, true) => "JwtSvidTtl",
            _ => return None,
        };
        Some(format!(
            "failed to {verb} entry: datastore-validation: invalid registration entry: {which} is not set"
        ))
    };
    converted.or_else(stored).map(|message| refused(&message))
}

fn no_parent(entry: &Entry) -> Option<String> {
    let id = &entry.parent_id;
    let empty = id.path().is_empty();
    empty.then(|| format!("invalid parent ID: \"{id}\": path is empty"))
}

fn no_workload(entry: &Entry) -> Option<String> {
    let id = &entry.spiffe_id;
    let why = match id.path() {
        "" => "path is empty",
        path if is_under(path, "/spire") => "path is in the reserved namespace",
        _ => return None,
    };
    Some(format!(
        "invalid spiffe ID: \"{id}\" is not a workload in trust domain \"{}\"; {why}",
        id.trust_domain()
    ))
}

fn no_selector(entry: &Entry) -> Option<String> {
    let broken = entry
        .selectors
        .iter()
        .find_map(|s| match (s.kind, s.value) {
            ("", _) => Some("missing selector type"),
            (kind, _) if kind.contains(':') => Some("selector type contains ':'"),
            (_, "") => Some("missing selector value"),
            _ => None,
        });
    let empty = entry
        .selectors
        .is_empty()
        .then_some("selector list is empty");
    empty.or(broken).map(str::to_owned)
}

fn no_hint(entry: &Entry) -> Option<String> {
    let too_long = entry.hint.as_ref().is_some_and(|h| h.len() > 1024);
    too_long.then(|| "hint is too long, max length is 1024 characters".to_owned())
}

/// The server's unique constraint on an entry's DNS names.
fn names_one_twice(entry: &Entry) -> bool {
    let unique: BTreeSet<_> = entry.dns_names.iter().collect();
    unique.len() < entry.dns_names.len()
}
