//! Where objects go, whatever they were written in.

use std::{borrow::Cow, cell::Cell, rc::Rc};

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, Uid},
    policy::WantedMetadata,
    sync::Event,
};
use serde::Deserialize;
use serde_yaml::Value;

use super::Reading;
use crate::objects::decode;

/// `apiVersion` and `kind`, of an object or of the list that it stands in.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct Header {
    #[serde(default, rename = "apiVersion")]
    version: String,
    #[serde(default)]
    kind: String,
}

impl Header {
    pub(super) fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    /// Takes note of a field of a JSON object.
    pub(super) fn note(&mut self, key: &str, json: &str) {
        let field = match key {
            "apiVersion" => &mut self.version,
            "kind" => &mut self.kind,
            _ => return,
        };
        *field = serde_json::from_str(json).unwrap_or_default();
    }

    /// Whether an object of this kind, as far as it is known, holds others.
    pub(super) fn may_be_list(&self) -> bool {
        self.kind.is_empty() || self.kind.ends_with("List")
    }

    /// The header of an item without one of its own.
    fn of_items(&self) -> Self {
        Self {
            version: self.version.clone(),
            kind: self
                .kind
                .strip_suffix("List")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// The text of one object.
pub(super) enum Text<'a> {
    Json(&'a str),
    Yaml(&'a Value),
}

/// What of an object's metadata can be told although the whole cannot be read.
#[derive(Default)]
struct Named {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

impl Text<'_> {
    pub(super) fn header(&self) -> Header {
        match self {
            Text::Json(json) => {
                #[derive(Deserialize)]
                struct Borrowed<'a> {
                    #[serde(borrow, default, rename = "apiVersion")]
                    version: Cow<'a, str>,
                    #[serde(borrow, default)]
                    kind: Cow<'a, str>,
                }
                serde_json::from_str::<Borrowed<'_>>(json).map_or_else(
                    |_| Header::default(),
                    |b| Header {
                        version: b.version.into_owned(),
                        kind: b.kind.into_owned(),
                    },
                )
            }
            Text::Yaml(value) => Header {
                version: text_at(value, "apiVersion").unwrap_or_default(),
                kind: text_at(value, "kind").unwrap_or_default(),
            },
        }
    }

    fn object(&self, kind: Kind, wanted: &WantedMetadata) -> Result<Object, String> {
        match self {
            Text::Json(json) => {
                let mut decoder = serde_json::Deserializer::from_str(json);
                decode::manifest(kind, &mut decoder, wanted).map_err(|e| e.to_string())
            }
            Text::Yaml(value) => decode::manifest(kind, *value, wanted).map_err(|e| e.to_string()),
        }
    }

    fn whole(&self) -> Result<serde_json::Value, String> {
        match self {
            Text::Json(json) => serde_json::from_str(json).map_err(|e| e.to_string()),
            Text::Yaml(value) => serde_json::to_value(value).map_err(|e| e.to_string()),
        }
    }

    fn named(&self) -> Named {
        match self {
            Text::Json(json) => {
                #[derive(Deserialize)]
                struct Whole {
                    #[serde(default)]
                    metadata: serde_json::Value,
                }
                let whole = serde_json::from_str::<Whole>(json);
                let metadata = whole.map(|w| w.metadata).unwrap_or_default();
                let text = |key: &str| metadata.get(key)?.as_str().map(str::to_owned);
                Named {
                    namespace: text("namespace"),
                    name: text("name"),
                    uid: text("uid"),
                }
            }
            Text::Yaml(value) => {
                let metadata = value.get("metadata");
                let text = |key: &str| text_at(metadata?, key);
                Named {
                    namespace: text("namespace"),
                    name: text("name"),
                    uid: text("uid"),
                }
            }
        }
    }
}

fn text_at(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

/// What a kind means to the rules.
enum Meaning {
    Read(Kind),
    /// Of no consequence for entries.
    Context,
    MakesPods,
    None,
}

fn meaning(header: &Header) -> Meaning {
    match (&*header.version, &*header.kind) {
        ("v1", "Pod") => Meaning::Read(Kind::Pod),
        ("v1", "Node") => Meaning::Read(Kind::Node),
        ("discovery.k8s.io/v1", "EndpointSlice") => Meaning::Read(Kind::EndpointSlice),
        ("spiffeid.spiffe.io/v1beta1", "SpiffeID") => Meaning::Read(Kind::SpiffeId),
        ("v1", "Namespace" | "Service" | "ServiceAccount") => Meaning::Context,
        ("v1", "ReplicationController" | "PodTemplate")
        | ("apps/v1", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch/v1", "Job" | "CronJob") => Meaning::MakesPods,
        _ => Meaning::None,
    }
}

/// Takes objects, and tells what it was given.
pub(super) struct Sink<'a> {
    wanted: &'a WantedMetadata,
    out: &'a mut dyn FnMut(Event, u64),
    /// Bytes of the sources before this one, and of this one.
    before: u64,
    position: Rc<Cell<u64>>,
    /// The API group whose objects are taken whole.
    whole: Option<String>,
    pub(super) reading: Reading,
}

impl<'a> Sink<'a> {
    pub(super) fn new(wanted: &'a WantedMetadata, out: &'a mut dyn FnMut(Event, u64)) -> Self {
        Self {
            wanted,
            out,
            before: 0,
            position: Rc::default(),
            whole: None,
            reading: Reading::default(),
        }
    }

    /// Takes objects of this group, and namespaces, whole; and no others.
    pub(super) fn take_whole(&mut self, group: &str) {
        self.whole = Some(format!("{group}/"));
    }

    /// The next source begins.
    pub(super) fn follow(&mut self, position: Rc<Cell<u64>>) {
        self.before += self.position.get();
        self.position = position;
    }

    fn emit(&mut self, event: Event) {
        (self.out)(event, self.before + self.position.get());
    }

    /// A list of this kind was there, perhaps without items.
    pub(super) fn list(&mut self, header: &Header) {
        if let Meaning::Read(kind) = meaning(&header.of_items()) {
            self.reading.objects.entry(kind).or_default();
        }
    }

    /// One object, as an item of a list with this header or alone.
    pub(super) fn object(&mut self, place: String, text: Text<'_>, list: &Header) {
        let mut header = text.header();
        if header.is_empty() {
            header = list.of_items();
        }
        if header.is_empty() {
            return self
                .reading
                .trouble(place, "this is no Kubernetes object: it has no kind");
        }
        if let Some(group) = &self.whole {
            let namespace = (&*header.version, &*header.kind) == ("v1", "Namespace");
            if namespace || header.version.starts_with(group) {
                match text.whole() {
                    Ok(whole) => self.reading.whole.push(whole),
                    Err(why) => self.reading.trouble(place, why),
                }
            }
            return;
        }
        match meaning(&header) {
            Meaning::Read(kind) => self.read(kind, &place, &text),
            Meaning::Context => {}
            Meaning::MakesPods => {
                *self.reading.pod_makers.entry(header.kind).or_default() += 1;
            }
            Meaning::None => {
                let name = match meaning_of_kind_alone(&header.kind) {
                    true => format!("{} of {:?}", header.kind, header.version),
                    false => header.kind,
                };
                *self.reading.ignored.entry(name).or_default() += 1;
            }
        }
    }

    fn read(&mut self, kind: Kind, place: &str, text: &Text<'_>) {
        *self.reading.objects.entry(kind).or_default() += 1;
        match text.object(kind, self.wanted) {
            Ok(object) => {
                let uid = match &object {
                    Object::Pod(pod) => Some(&pod.uid),
                    Object::Node(node) => Some(&node.uid),
                    Object::EndpointSlice(_) | Object::SpiffeId(_) => None,
                };
                if uid.is_some_and(decode::stands_in) {
                    self.reading.without_uid.insert(object.key());
                }
                self.emit(Event::Listed(object));
            }
            Err(why) => self.unreadable(kind, place, text.named(), why),
        }
    }

    fn unreadable(&mut self, kind: Kind, place: &str, named: Named, why: String) {
        let namespace = match kind {
            Kind::Node => String::new(),
            _ => named.namespace.unwrap_or_else(|| "default".to_owned()),
        };
        let Some(name) = named.name.filter(|n| !n.is_empty()) else {
            let why = format!("a {} without a name cannot be planned: {why}", kind.name());
            return self.reading.trouble(place.to_owned(), why);
        };
        self.emit(Event::Undecodable {
            kind,
            key: Some(ObjectKey::new(kind, namespace, name)),
            uid: named.uid.filter(|u| !u.is_empty()).map(Uid::new),
            why: format!("{place}: {why}").into(),
        });
    }
}

/// Whether the kind would be read, were it of another version.
fn meaning_of_kind_alone(kind: &str) -> bool {
    matches!(kind, "Pod" | "Node" | "EndpointSlice" | "SpiffeID")
}
