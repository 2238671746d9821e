//! What the model server remembers, in the API's messages: what it cannot hold of one (values given twice, masks, dates) is
//! answered here, the rest by the model that the histories run on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use registrar_adapters::spire::{
    convert,
    pb::types::{self, EntryMask},
};
use registrar_core::{
    entry::{DnsName, EntryId, Field, FieldMask, Selector, Selectors},
    ports::{FailureClass, Outcome, SpireAnswer, SpireCall},
    spiffe::{SpiffeId, TrustDomain},
    testing::{ModelServer, Row},
};
use registrar_tests::control_plane::TRUST_DOMAIN;
use tonic::Status;

use super::filter;

/// What became of an item: the status, and the row as it is then.
type Told = (types::Status, Option<types::Entry>);

#[derive(Default)]
pub struct Memory {
    pub server: ModelServer,
    expiry: BTreeMap<EntryId, i64>,
    pub spoilt: BTreeSet<EntryId>,
    given: u64,
}

pub fn status(code: tonic::Code, message: impl Into<String>) -> types::Status {
    types::Status {
        code: code.into(),
        message: message.into(),
    }
}

pub fn told(verb: &str, outcome: &Outcome) -> types::Status {
    match outcome {
        Outcome::Ok => status(tonic::Code::Ok, "OK"),
        Outcome::AlreadyExists(Some(_)) => {
            status(tonic::Code::AlreadyExists, "similar entry already exists")
        }
        Outcome::AlreadyExists(None) => twice(verb),
        Outcome::NotFound if verb == "delete" => status(tonic::Code::NotFound, "entry not found"),
        Outcome::NotFound => status(tonic::Code::NotFound, format!("failed to {verb} entry")),
        Outcome::Refused(failure) => {
            let code = match failure.class {
                FailureClass::Permanent => tonic::Code::InvalidArgument,
                _ => tonic::Code::Internal,
            };
            status(code, &*failure.message)
        }
    }
}

fn twice(verb: &str) -> types::Status {
    let message = format!("failed to {verb} entry: datastore-sql: UNIQUE constraint failed");
    status(tonic::Code::AlreadyExists, message)
}

fn id_of(id: Option<&types::Spiffeid>, what: &str) -> Result<SpiffeId, types::Status> {
    let invalid = |why: String| {
        let message = format!("failed to convert entry: invalid {what} ID: {why}");
        status(tonic::Code::InvalidArgument, message)
    };
    let id = id.ok_or_else(|| invalid("request must specify SPIFFE ID".into()))?;
    let td = TrustDomain::new(&id.trust_domain).map_err(|e| invalid(e.to_string()))?;
    SpiffeId::stored(td, id.path.clone()).map_err(|e| invalid(e.to_string()))
}

/// The masked fields of a message; the others are what nobody looks at.
fn entry_of(
    sent: &types::Entry,
    mask: FieldMask,
) -> Result<registrar_core::entry::Entry, types::Status> {
    let unset = || SpiffeId::new(TrustDomain::new(TRUST_DOMAIN).expect("legal"), "/unset");
    let id = |field, id, what| match mask.contains(field) {
        true => id_of(id, what),
        false => Ok(unset().expect("legal")),
    };
    let parent = id(Field::ParentId, sent.parent_id.as_ref(), "parent")?;
    let spiffe_id = id(Field::SpiffeId, sent.spiffe_id.as_ref(), "spiffe")?;
    let domains = sent.federates_with.iter().map(|td| {
        TrustDomain::from_name_or_id(td).map_err(|e| {
            let message = format!("failed to convert entry: invalid federated trust domain: {e}");
            status(tonic::Code::InvalidArgument, message)
        })
    });
    let selectors = sent.selectors.iter();
    Ok(registrar_core::entry::Entry {
        dns_names: sent.dns_names.iter().map(|n| DnsName::stored(n)).collect(),
        federates_with: Arc::new(domains.collect::<Result<_, _>>()?),
        x509_svid_ttl: Some(sent.x509_svid_ttl),
        jwt_svid_ttl: Some(sent.jwt_svid_ttl),
        hint: Some((&*sent.hint).into()),
        downstream: Some(sent.downstream),
        ..registrar_core::entry::Entry::new(
            spiffe_id,
            parent,
            Selectors::new(selectors.map(|s| Selector::new(&*s.r#type, &*s.value))),
        )
    })
}

pub fn one(answer: SpireAnswer) -> Outcome {
    match answer {
        SpireAnswer::Written(mut outcomes) if outcomes.len() == 1 => outcomes.remove(0),
        other => panic!("one item has one outcome: {other:?}"),
    }
}

fn fields(mask: &EntryMask) -> FieldMask {
    let all = [
        (Field::SpiffeId, mask.spiffe_id),
        (Field::ParentId, mask.parent_id),
        (Field::Selectors, mask.selectors),
        (Field::DnsNames, mask.dns_names),
        (Field::FederatesWith, mask.federates_with),
        (Field::X509SvidTtl, mask.x509_svid_ttl),
        (Field::JwtSvidTtl, mask.jwt_svid_ttl),
        (Field::Hint, mask.hint),
        (Field::Downstream, mask.downstream),
    ];
    all.into_iter()
        .filter(|(_, on)| *on)
        .map(|(f, _)| f)
        .collect()
}

impl Memory {
    fn row(&self, id: &EntryId) -> Option<Row<'_>> {
        self.server.rows().find(|row| row.entry.id == *id)
    }

    fn whole(&self, row: Row<'_>) -> types::Entry {
        let e = row.entry;
        let wanted = registrar_core::entry::Entry {
            dns_names: e.dns_names.clone(),
            federates_with: e.federates_with.clone(),
            x509_svid_ttl: Some(e.x509_svid_ttl),
            jwt_svid_ttl: Some(e.jwt_svid_ttl),
            hint: Some(e.hint.clone()),
            downstream: Some(e.downstream),
            ..registrar_core::entry::Entry::new(
                e.spiffe_id.clone(),
                e.parent_id.clone(),
                e.selectors.clone(),
            )
        };
        types::Entry {
            admin: e.admin,
            store_svid: e.store_svid,
            created_at: e.created_at,
            expires_at: self.expiry.get(&e.id).copied().unwrap_or(0),
            revision_number: row.revision,
            ..convert::entry(&e.id, &wanted)
        }
    }

    pub fn shown(&self, id: &EntryId, mask: Option<&EntryMask>) -> Option<types::Entry> {
        Some(filter::masked(self.whole(self.row(id)?), mask))
    }

    pub fn create(&mut self, sent: &types::Entry, mask: Option<&EntryMask>) -> Told {
        let wanted = match entry_of(sent, FieldMask::from_iter(Field::ALL)) {
            Ok(wanted) => wanted,
            Err(invalid) => return (invalid, None),
        };
        if wanted.selectors.len() < sent.selectors.len() {
            return (twice("create"), None);
        }
        let id = match &*sent.id {
            "" => {
                self.given += 1;
                format!("given-{}", self.given)
            }
            id => id.to_owned(),
        };
        let id = EntryId::stored(&id);
        let entries = vec![(id.clone(), Arc::new(wanted))];
        let outcome = one(self
            .server
            .perform(&SpireCall::Create { entries }, usize::MAX));
        let shown = match &outcome {
            Outcome::Ok => {
                self.server.change(&id, |e| {
                    e.admin = sent.admin;
                    e.store_svid = sent.store_svid;
                    e.created_at = 1;
                });
                self.expiry.insert(id.clone(), sent.expires_at);
                self.shown(&id, mask)
            }
            Outcome::AlreadyExists(Some(similar)) => self.shown(&similar.id, mask),
            _ => None,
        };
        (told("create", &outcome), shown)
    }

    pub fn update(
        &mut self,
        sent: &types::Entry,
        input: Option<&EntryMask>,
        output: Option<&EntryMask>,
    ) -> Told {
        let mask = input.map_or(FieldMask::from_iter(Field::ALL), fields);
        let wanted = match entry_of(sent, mask) {
            Ok(wanted) => wanted,
            Err(invalid) => return (invalid, None),
        };
        if mask.contains(Field::Selectors) && wanted.selectors.len() < sent.selectors.len() {
            return (twice("update"), None);
        }
        let id = EntryId::stored(&sent.id);
        let entries = vec![(id.clone(), Arc::new(wanted))];
        let outcome = one(self
            .server
            .perform(&SpireCall::Update { mask, entries }, usize::MAX));
        if outcome != Outcome::Ok {
            return (told("update", &outcome), None);
        }
        let takes = |field: fn(&EntryMask) -> bool| input.is_none_or(field);
        self.server.change(&id, |e| {
            if takes(|m| m.admin) {
                e.admin = sent.admin;
            }
            if takes(|m| m.store_svid) {
                e.store_svid = sent.store_svid;
            }
        });
        if takes(|m| m.expires_at) {
            self.expiry.insert(id.clone(), sent.expires_at);
        }
        (told("update", &outcome), self.shown(&id, output))
    }

    pub fn matching(
        &self,
        filter: Option<&filter::Filter>,
    ) -> Result<Vec<(u64, types::Entry)>, Status> {
        let filter = filter.cloned().unwrap_or_default();
        filter::check(&filter)?;
        let rows = self.server.rows();
        Ok(rows
            .filter(|row| !self.spoilt.contains(&row.entry.id))
            .map(|row| (row.number, self.whole(row)))
            .filter(|(_, entry)| filter::fits(&filter, entry))
            .collect())
    }
}
