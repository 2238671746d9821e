//! Two entries of one pod beside each other: spire-controller-manager's, by its resources or as the server has it, and ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use registrar_core::{
    cluster::Uid,
    entry::{Entry, RegisteredEntry},
    policy::Policy,
    rules::{Ownership, classify},
};

/// An entry of spire-controller-manager's. A field that cannot be told says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theirs {
    pub spiffe_id: String,
    pub parent_id: Result<String, String>,
    pub selectors: Result<BTreeSet<String>, String>,
    pub dns_names: Result<Vec<String>, String>,
    pub federates_with: BTreeSet<String>,
    /// Seconds, 0 for the server's default.
    pub x509_svid_ttl: Result<i32, String>,
    /// As above.
    pub jwt_svid_ttl: Result<i32, String>,
    pub hint: String,
    pub admin: bool,
    pub downstream: bool,
}

impl Theirs {
    /// Whether a server would store only one of the two.
    pub fn same_tuple(&self, other: &Self) -> bool {
        let tuple = |e: &Self| {
            (
                e.spiffe_id.clone(),
                e.parent_id.clone(),
                e.selectors.clone(),
            )
        };
        tuple(self) == tuple(other)
    }
}

impl From<&RegisteredEntry> for Theirs {
    fn from(stored: &RegisteredEntry) -> Self {
        Self {
            spiffe_id: stored.spiffe_id.to_string(),
            parent_id: Ok(stored.parent_id.to_string()),
            selectors: Ok(stored.selectors.iter().map(|s| s.to_string()).collect()),
            dns_names: Ok(stored.dns_names.iter().map(ToString::to_string).collect()),
            federates_with: stored
                .federates_with
                .iter()
                .map(ToString::to_string)
                .collect(),
            x509_svid_ttl: Ok(stored.x509_svid_ttl),
            jwt_svid_ttl: Ok(stored.jwt_svid_ttl),
            hint: stored.hint.to_string(),
            admin: stored.admin,
            downstream: stored.downstream,
        }
    }
}

/// The entries of a server that are not ours and select one pod by its UID, by that UID.
pub fn by_uid(policy: &Policy, stored: &[RegisteredEntry]) -> BTreeMap<Uid, Vec<Theirs>> {
    let mut found: BTreeMap<Uid, Vec<Theirs>> = BTreeMap::new();
    for entry in stored {
        if matches!(classify(policy, entry), Ownership::Ours(_)) {
            continue;
        }
        let mut uids = entry.selectors.iter().filter(|s| s.kind == "k8s");
        if let Some(uid) = uids.find_map(|s| s.value.strip_prefix("pod-uid:")) {
            found.entry(Uid::new(uid)).or_default().push(entry.into());
        }
    }
    found
}

/// A field in which two entries of one SPIFFE ID differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Its name in SPIRE's API.
    pub field: &'static str,
    /// `not known: ...` where it cannot be told.
    pub theirs: String,
    /// What ours gets.
    pub ours: String,
}

impl Difference {
    /// Parents and selectors differ throughout where the two have different forms; which it is says nothing of one pod.
    pub fn is_of_the_form(&self) -> bool {
        matches!(self.field, "parent_id" | "selectors")
    }
}

/// Where the two differ.
pub fn differences(theirs: &Theirs, ours: &Entry) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut compare = |field, theirs: Result<String, &String>, ours: String| {
        let theirs = theirs.unwrap_or_else(|why| format!("not known: {why}"));
        if theirs != ours {
            all.push(Difference {
                field,
                theirs,
                ours,
            });
        }
    };
    let selectors: BTreeSet<String> = ours.selectors.iter().map(|s| s.to_string()).collect();
    let lifetime = |seconds: &i32| match seconds {
        0 => "default".to_owned(),
        seconds => format!("{seconds} s"),
    };
    let parent = theirs.parent_id.as_ref();
    compare("parent_id", parent.cloned(), ours.parent_id.to_string());
    let their_selectors = theirs.selectors.as_ref();
    compare("selectors", their_selectors.map(list), list(&selectors));
    let names = theirs.dns_names.as_ref();
    compare("dns_names", names.map(list), list(&*ours.dns_names));
    compare(
        "federates_with",
        Ok(list(&theirs.federates_with)),
        list(&*ours.federates_with),
    );
    for (field, theirs, ours) in [
        ("x509_svid_ttl", &theirs.x509_svid_ttl, ours.x509_svid_ttl),
        ("jwt_svid_ttl", &theirs.jwt_svid_ttl, ours.jwt_svid_ttl),
    ] {
        let ours = lifetime(&ours.unwrap_or(0));
        compare(field, theirs.as_ref().map(lifetime), ours);
    }
    let hint = ours.hint.as_deref().unwrap_or_default();
    compare("hint", Ok(theirs.hint.clone()), hint.to_owned());
    compare("admin", Ok(theirs.admin.to_string()), false.to_string());
    let downstream = ours.downstream.unwrap_or(false);
    compare(
        "downstream",
        Ok(theirs.downstream.to_string()),
        downstream.to_string(),
    );
    all
}

fn list<'t, T: Display + 't>(parts: impl IntoIterator<Item = &'t T>) -> String {
    let parts: Vec<String> = parts.into_iter().map(ToString::to_string).collect();
    parts.join(", ")
}
