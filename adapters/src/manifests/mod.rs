//! Kubernetes objects from files: manifests, `kubectl get -o json` and `-o yaml` dumps, lists, several documents in one
//! file, folders, standard input, all of it also gzipped.
//!
//! Read as a stream: of a list of a hundred thousand pods, one is in memory as text at a time. What cannot be read never
//! stops the rest: it is named in [`Reading::troubles`], or becomes an event that says so where at least its name is known.

mod json;
mod sink;
mod source;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::BufRead,
};

use registrar_core::{
    cluster::{Kind, ObjectKey},
    policy::WantedMetadata,
    sync::Event,
};
use serde_json::Value;
use sink::Sink;
pub use source::{Source, SourceError, open, sources};

/// What was read, beside the events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// How many objects of each kind that the rules read; 0 for a list of that kind without items.
    pub objects: BTreeMap<Kind, usize>,
    /// Objects whose controllers make pods, by kind. No pods are invented for them.
    pub pod_makers: BTreeMap<String, usize>,
    /// Objects of kinds that no rule reads, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Objects without a UID; a made-up one stands in for it.
    pub without_uid: BTreeSet<ObjectKey>,
    /// Objects of the API group and the namespaces that were asked for, whole ([`read_whole`]).
    pub whole: Vec<Value>,
    /// What could not be read at all.
    pub troubles: Vec<Trouble>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// File, and line or item.
    pub place: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Troubles that are kept; of what is broken from end to end, the first lines tell enough.
const MOST_TROUBLES: usize = 100;

impl Reading {
    fn trouble(&mut self, place: String, why: impl ToString) {
        if self.troubles.len() < MOST_TROUBLES {
            let why = why.to_string();
            self.troubles.push(Trouble { place, why });
        }
    }
}

/// Reads all of `sources`; every object becomes an event, in the order in which it stands there, together with the number
/// of bytes that were read so far (packed ones, where they are packed).
pub fn read(
    sources: &[Source],
    wanted: &WantedMetadata,
    out: &mut dyn FnMut(Event, u64),
) -> Reading {
    let mut sink = Sink::new(wanted, out);
    for source in sources {
        let name = source.to_string();
        match open(source) {
            Ok(input) => {
                sink.follow(input.position());
                read_one(&name, input, &mut sink);
            }
            Err(error) => sink.reading.trouble(name, error),
        }
    }
    sink.reading
}

/// As [`read`], for nothing but whole objects: those of `group`, and namespaces.
pub fn read_whole(sources: &[Source], group: &str) -> Reading {
    let wanted = WantedMetadata::default();
    let mut ignore = |_, _| {};
    let mut sink = Sink::new(&wanted, &mut ignore);
    sink.take_whole(group);
    for source in sources {
        let name = source.to_string();
        match open(source) {
            Ok(input) => read_one(&name, input, &mut sink),
            Err(error) => sink.reading.trouble(name, error),
        }
    }
    sink.reading
}

fn read_one(name: &str, mut input: source::Input, sink: &mut Sink<'_>) {
    let text = match input.text.fill_buf() {
        Ok(text) => text,
        Err(error) => return sink.reading.trouble(name.to_owned(), error),
    };
    let first = text
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(text)
        .iter()
        .find(|b| !b.is_ascii_whitespace());
    match first {
        None => {}
        Some(_) if text.contains(&0) => {
            let why = "this is not text (it has a NUL byte); YAML or JSON in UTF-8 is wanted";
            sink.reading.trouble(name.to_owned(), why);
        }
        Some(b'{' | b'[') => json::read(name, input, sink),
        Some(_) => yaml::read(name, input, sink),
    }
}
