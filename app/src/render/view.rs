//! The shape of `-o json` and `-o yaml`: see docs/json/plan.schema.json. The core's own types are not serialisable on
//! purpose: this is the promise, they may change.

use std::collections::BTreeMap;

use registrar_core::{
    cluster::ObjectKey,
    entry::{Entry, Field, RegisteredEntry, Selectors},
    policy::Policy,
    rules::{Note, Problem, SkipReason, Subject, WhyDropped},
    spiffe::SpiffeId,
    sync::{Conflict, Plan, Removal, Update},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::collect::{Collected, Warning};

/// A whole plan.
#[derive(Debug, Serialize)]
pub struct PlanView {
    entries: Vec<Planned>,
    skipped: Vec<Reasoned>,
    held: Vec<Reasoned>,
    warnings: Vec<Reasoned>,
    #[serde(flatten)]
    changes: Option<Changes>,
}

#[derive(Debug, Serialize)]
struct Changes {
    create: Vec<Planned>,
    update: Vec<Updated>,
    delete: Vec<Deleted>,
    unchanged: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_ids: Option<Vec<Resource>>,
}

/// A SpiffeID that is written on the way.
#[derive(Debug, Serialize)]
struct Resource {
    namespace: String,
    name: String,
    change: &'static str,
}

/// Which object.
#[derive(Debug, Serialize)]
pub struct ObjectView {
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
}

impl From<&ObjectKey> for ObjectView {
    fn from(key: &ObjectKey) -> Self {
        Self {
            kind: key.kind.name(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Planned {
    object: ObjectView,
    #[serde(flatten)]
    entry: EntryView,
}

#[derive(Debug, Serialize)]
struct Reasoned {
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectView>,
    reason: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct Updated {
    object: ObjectView,
    id: String,
    fields: BTreeMap<&'static str, Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    old: Value,
    new: Value,
}

#[derive(Debug, Serialize)]
struct Deleted {
    reason: String,
    #[serde(flatten)]
    entry: EntryView,
}

#[derive(Debug, Serialize)]
struct IdView {
    trust_domain: String,
    path: String,
}

impl From<&SpiffeId> for IdView {
    fn from(id: &SpiffeId) -> Self {
        Self {
            trust_domain: id.trust_domain().to_string(),
            path: id.path().to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct SelectorView {
    r#type: String,
    value: String,
}

fn selectors(selectors: &Selectors) -> Vec<SelectorView> {
    selectors
        .iter()
        .map(|s| SelectorView {
            r#type: s.kind.to_string(),
            value: s.value.to_string(),
        })
        .collect()
}

/// An entry in the field names of `spire-server entry show -output json`.
#[derive(Debug, Serialize)]
pub struct EntryView {
    id: String,
    spiffe_id: IdView,
    parent_id: IdView,
    selectors: Vec<SelectorView>,
    x509_svid_ttl: i32,
    federates_with: Vec<String>,
    hint: String,
    admin: bool,
    created_at: String,
    downstream: bool,
    expires_at: &'static str,
    dns_names: Vec<String>,
    revision_number: &'static str,
    store_svid: bool,
    jwt_svid_ttl: i32,
}

impl From<&RegisteredEntry> for EntryView {
    fn from(entry: &RegisteredEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            spiffe_id: (&entry.spiffe_id).into(),
            parent_id: (&entry.parent_id).into(),
            selectors: selectors(&entry.selectors),
            x509_svid_ttl: entry.x509_svid_ttl,
            federates_with: entry
                .federates_with
                .iter()
                .map(ToString::to_string)
                .collect(),
            hint: entry.hint.to_string(),
            admin: entry.admin,
            created_at: entry.created_at.to_string(),
            downstream: entry.downstream,
            expires_at: "0",
            dns_names: entry.dns_names.iter().map(ToString::to_string).collect(),
            revision_number: "0",
            store_svid: entry.store_svid,
            jwt_svid_ttl: entry.jwt_svid_ttl,
        }
    }
}

/// An entry that is not on the server yet has no ID.
impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let none = registrar_core::entry::EntryId::stored("");
        (&RegisteredEntry::created(none, entry)).into()
    }
}

/// The value of a field, as it would be written and as it is.
pub fn change(update: &Update, field: Field) -> (Value, Value) {
    let value = |entry: &EntryView| match field {
        Field::SpiffeId => json!(entry.spiffe_id),
        Field::ParentId => json!(entry.parent_id),
        Field::Selectors => json!(entry.selectors),
        Field::DnsNames => json!(entry.dns_names),
        Field::FederatesWith => json!(entry.federates_with),
        Field::X509SvidTtl => json!(entry.x509_svid_ttl),
        Field::JwtSvidTtl => json!(entry.jwt_svid_ttl),
        Field::Hint => json!(entry.hint),
        Field::Downstream => json!(entry.downstream),
    };
    (
        value(&(&update.stored).into()),
        value(&(&*update.entry).into()),
    )
}

/// What the plan says of the whole, beside single objects.
pub fn general(plan: &Plan, input: &Input, policy: &Policy) -> Vec<Warning> {
    let mut warnings = input.warnings.clone();
    let mut warn = |reason, message: String| warnings.push(Warning::new(reason, message));
    if let Some((condemned, limit)) = plan.breaker {
        warn(
            "Breaker",
            format!(
                "{condemned} deletes are more than the {limit} that max_deletes allows within a minute: \
                 `run` would hold them back until they are confirmed"
            ),
        );
    }
    if plan.unexplained > 0 {
        warn(
            "Unexplained",
            format!(
                "{} entries of ours have no object in the input and are kept, since it is not known to be complete",
                plan.unexplained
            ),
        );
    }
    let federates = |p: &registrar_core::sync::Planned| !p.entry.federates_with.is_empty();
    if !input.bundles_known && plan.entries.iter().any(federates) {
        warn(
            "BundlesUnknown",
            "which bundles the server has is not known here: a trust domain without one is left out until it \
             arrives (-live tells)"
                .into(),
        );
    }
    if policy.dry_run {
        warn(
            "DryRun",
            "dry_run is set: `run` would write nothing of this".into(),
        );
    }
    warnings
}

/// A short word for something left out.
pub fn note_word(note: &Note) -> &'static str {
    match note {
        Note::Name(_) => "DnsName",
        Note::TrustDomain(dropped) => match dropped.why {
            WhyDropped::Illegal(_) => "IllegalTrustDomain",
            WhyDropped::Own => "OwnTrustDomain",
            WhyDropped::NotAllowed => "TrustDomainNotAllowed",
            WhyDropped::NoBundle(_) => "BundleMissing",
            WhyDropped::TooMany => "TooManyTrustDomains",
        },
    }
}

/// A conflict in words.
pub fn conflict(conflict: &Conflict) -> String {
    format!(
        "its entry would be refused: entry {} has the same SPIFFE ID, parent and selectors and is not ours; \
         delete that one (spire-server entry delete -entryID {}), or leave this pod to it",
        conflict.taken_by, conflict.taken_by
    )
}

impl PlanView {
    /// Everything; `compared` says whether there was a server to compare with.
    pub fn new(plan: &Plan, collected: &Input, policy: &Policy) -> Self {
        let planned = |p: &registrar_core::sync::Planned| Planned {
            object: (&p.object).into(),
            entry: (&*p.entry).into(),
        };
        let on = |object: &ObjectKey, reason, message| Reasoned {
            object: Some(object.into()),
            reason,
            message,
        };
        let mut warnings: Vec<Reasoned> = general(plan, collected, policy)
            .into_iter()
            .map(|w| Reasoned {
                object: None,
                reason: w.reason,
                message: w.message,
            })
            .collect();
        let dropped = plan.left_out.iter();
        warnings.extend(dropped.map(|(o, n)| on(o, note_word(n), n.to_string())));
        let refused = plan.conflicts.iter();
        warnings.extend(refused.map(|c| on(&c.wanted.object, "EntryTaken", conflict(c))));
        Self {
            entries: plan.entries.iter().map(planned).collect(),
            skipped: plan
                .skipped
                .iter()
                .map(|(o, r): &(ObjectKey, SkipReason)| on(o, r.word(), r.to_string()))
                .collect(),
            held: plan
                .held
                .iter()
                .map(|(o, p): &(ObjectKey, Problem)| on(o, p.word(), p.to_string()))
                .collect(),
            warnings,
            changes: collected.compared.then(|| Changes {
                create: plan.create.iter().map(planned).collect(),
                update: plan.update.iter().map(updated).collect(),
                delete: plan.delete.iter().map(deleted).collect(),
                unchanged: plan.unchanged,
                spiffe_ids: policy.spiffe_ids.as_ref().map(|_| resources(plan)),
            }),
        }
    }
}

fn resources(plan: &Plan) -> Vec<Resource> {
    plan.resources
        .iter()
        .map(|(name, change)| Resource {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            change: change.word(),
        })
        .collect()
}

fn updated((object, update): &(ObjectKey, Update)) -> Updated {
    Updated {
        object: object.into(),
        id: update.stored.id.to_string(),
        fields: update
            .fields
            .iter()
            .map(|field| {
                let (old, new) = change(update, field);
                (field.name(), Change { old, new })
            })
            .collect(),
    }
}

fn deleted((_, removal): &(Subject, Removal)) -> Deleted {
    Deleted {
        reason: removal.reason.to_string(),
        entry: (&removal.stored).into(),
    }
}

/// What is known of the input beside the plan itself.
#[derive(Debug)]
pub struct Input {
    /// What the reader must know.
    pub warnings: Vec<Warning>,
    /// Whether there was a server to compare with.
    pub compared: bool,
    /// Whether it is known which trust domains the server has a bundle of.
    pub bundles_known: bool,
}

impl From<&Collected> for Input {
    fn from(collected: &Collected) -> Self {
        Self {
            warnings: collected.warnings.clone(),
            compared: collected.compared,
            bundles_known: collected.bundles_known,
        }
    }
}
