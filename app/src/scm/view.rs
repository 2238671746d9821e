//! The comparison as `-o json` and `-o yaml`: see docs/json/from-scm.schema.json.

use std::collections::BTreeMap;

use registrar_core::cluster::ObjectKey;
use serde::Serialize;

use super::{Compared, Fate, advice::Advice};
use crate::render::view::ObjectView;

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct ComparisonView<'a> {
    settings: Vec<Settings<'a>>,
    pods: Vec<Pod<'a>>,
}

#[derive(Debug, Serialize)]
struct Settings<'a> {
    of: &'a str,
    settings: &'a [String],
    remarks: &'a [String],
}

#[derive(Debug, Serialize)]
struct Pod<'a> {
    object: ObjectView,
    fate: &'static str,
    theirs: &'a [String],
    ours: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'static str>,
    differences: Vec<Field<'a>>,
}

#[derive(Debug, Serialize)]
struct Field<'a> {
    field: &'static str,
    theirs: &'a str,
    ours: &'a str,
}

impl<'a> ComparisonView<'a> {
    /// Of everything.
    pub fn new(advice: &'a [Advice], pods: &'a BTreeMap<ObjectKey, Compared>) -> Self {
        let settings = advice.iter().map(|a| Settings {
            of: &a.of,
            settings: &a.settings,
            remarks: &a.remarks,
        });
        Self {
            settings: settings.collect(),
            pods: pods
                .iter()
                .map(|(key, compared)| pod(key, compared))
                .collect(),
        }
    }
}

fn pod<'a>(key: &ObjectKey, compared: &'a Compared) -> Pod<'a> {
    let none: &[String] = &[];
    let (fate, theirs, ours, why) = match &compared.fate {
        Fate::Same(ids) => ("same", &ids[..], &ids[..], None),
        Fate::Changed { theirs, ours } => ("changed", &theirs[..], &ours[..], None),
        Fate::Added(ours) => ("added", none, &ours[..], None),
        Fate::Lost(theirs, why) => ("lost", &theirs[..], none, Some(&**why)),
        Fate::Untold(why) => ("unknown", none, none, Some(&**why)),
    };
    let differences = compared.differences.iter().map(|d| Field {
        field: d.field,
        theirs: &d.theirs,
        ours: &d.ours,
    });
    Pod {
        object: key.into(),
        fate,
        theirs,
        ours,
        why,
        entry: compared.entry.map(super::EntryFate::word),
        differences: differences.collect(),
    }
}
