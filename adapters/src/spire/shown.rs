//! Entries as `spire-server entry show -output json` prints them.

use std::{fmt, io::Read};

use registrar_core::entry::RegisteredEntry;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{convert, pb::types};

/// Entries of a file.
#[derive(Debug, Default)]
pub struct Shown {
    /// Those that can be understood.
    pub entries: Vec<RegisteredEntry>,
    /// How many could not (an ID that is none, say). They are never ours.
    pub unreadable: usize,
}

/// Reads the program's output: `{"entries": [...]}`, in an array (before SPIRE 1.15) or not.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn read(text: impl Read) -> Result<Shown, String> {
    let mut decoder = serde_json::Deserializer::from_reader(std::io::BufReader::new(text));
    let printed = Printed::deserialize(&mut decoder)
        .and_then(|printed| decoder.end().map(|()| printed))
        .map_err(|e| {
            format!(
                "not what `spire-server entry show -output json` prints: {e}; mind the -output json"
            )
        })?;
    let mut shown = Shown::default();
    for entry in printed.0 {
        match convert::registered(entry.into()) {
            Ok(entry) => shown.entries.push(entry),
            Err(_) => shown.unreadable += 1,
        }
    }
    Ok(shown)
}

/// All entries, whatever they are wrapped in.
struct Printed(Vec<Entry>);

impl<'de> Deserialize<'de> for Printed {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Wrapped;
        impl<'de> Visitor<'de> for Wrapped {
            type Value = Printed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with entries")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Printed, A::Error> {
                let reply = Reply::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Printed(reply.entries.unwrap_or_default()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Printed, A::Error> {
                let mut all = Vec::new();
                while let Some(reply) = seq.next_element::<Reply>()? {
                    all.extend(reply.entries.unwrap_or_default());
                }
                Ok(Printed(all))
            }
        }
        decoder.deserialize_any(Wrapped)
    }
}

#[derive(Deserialize)]
struct Reply {
    entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Id {
    #[serde(default)]
    trust_domain: String,
    #[serde(default)]
    path: String,
}

impl From<Id> for types::Spiffeid {
    fn from(id: Id) -> Self {
        Self {
            trust_domain: id.trust_domain,
            path: id.path,
        }
    }
}

#[derive(Deserialize)]
struct Selector {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    spiffe_id: Id,
    parent_id: Id,
    #[serde(default)]
    selectors: Vec<Selector>,
    #[serde(default)]
    x509_svid_ttl: i32,
    #[serde(default)]
    jwt_svid_ttl: i32,
    #[serde(default)]
    federates_with: Vec<String>,
    #[serde(default)]
    hint: String,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    downstream: bool,
    #[serde(default)]
    dns_names: Vec<String>,
    #[serde(default)]
    store_svid: bool,
    #[serde(default, deserialize_with = "number")]
    created_at: i64,
}

/// A 64-bit number: printed as a string.
fn number<'de, D: Deserializer<'de>>(decoder: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(decoder)? {
        Either::Number(n) => Ok(n),
        Either::Text(text) => text.parse().map_err(de::Error::custom),
    }
}

impl From<Entry> for types::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            spiffe_id: Some(entry.spiffe_id.into()),
            parent_id: Some(entry.parent_id.into()),
            selectors: entry
                .selectors
                .into_iter()
                .map(|s| types::Selector {
                    r#type: s.kind,
                    value: s.value,
                })
                .collect(),
            x509_svid_ttl: entry.x509_svid_ttl,
            jwt_svid_ttl: entry.jwt_svid_ttl,
            federates_with: entry.federates_with,
            hint: entry.hint,
            admin: entry.admin,
            downstream: entry.downstream,
            dns_names: entry.dns_names,
            store_svid: entry.store_svid,
            created_at: entry.created_at,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"id":"e1","spiffe_id":{"trust_domain":"example.org","path":"/ns/a/sa/b"},
        "parent_id":{"trust_domain":"example.org","path":"/p"},"selectors":[{"type":"k8s","value":"ns:a"}],
        "x509_svid_ttl":60,"federates_with":["other.test"],"hint":"h","admin":true,"created_at":"1547583197",
        "downstream":false,"expires_at":"0","dns_names":["x"],"revision_number":"3","store_svid":false,
        "jwt_svid_ttl":0}"#;

    #[test]
    fn both_forms_of_the_programs_output_are_read() {
        for text in [
            format!(r#"{{"entries":[{ENTRY}],"next_page_token":""}}"#),
            format!(r#"[{{"entries":[{ENTRY}],"next_page_token":""}}]"#),
        ] {
            let shown = read(text.as_bytes()).expect("read");
            let entry = &shown.entries[0];
            assert_eq!(
                entry.spiffe_id.to_string(),
                "spiffe://example.org/ns/a/sa/b"
            );
            assert_eq!(
                (entry.created_at, entry.admin, &*entry.hint),
                (1_547_583_197, true, "h")
            );
            assert_eq!((entry.dns_names.len(), entry.federates_with.len()), (1, 1));
        }
        assert!(
            read(&b"{}"[..])
                .expect("no entries at all")
                .entries
                .is_empty()
        );
    }

    #[test]
    fn an_entry_that_cannot_be_ours_is_counted_and_another_programs_output_is_an_error() {
        let odd = ENTRY.replace("/ns/a/sa/b", "no slash");
        let shown = read(format!(r#"{{"entries":[{odd}]}}"#).as_bytes()).expect("read");
        assert_eq!((shown.entries.len(), shown.unreadable), (0, 1));
        for other in [
            "Found 0 entries",
            "",
            "{\"entries\":[{}]}",
            "{\"entries\":[",
        ] {
            let error = read(other.as_bytes()).expect_err("refused");
            assert!(error.contains("-output json"), "{error}");
        }
    }
}
