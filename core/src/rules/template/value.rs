//! What the parts of a template are worth.

use std::{borrow::Cow, fmt::Write};

use super::Context;
use crate::cluster::PodSnapshot;

/// What kind of value something has, as far as can be told without a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What a template begins with: `.Pod` and `.Context`.
    Root,
    Pod,
    Context,
    Text,
    Int,
    Bool,
    /// The dot of a template that was called without a value.
    Nothing,
    /// Depends on the pod: `and` and `or` of different kinds.
    Any,
}

impl Kind {
    pub(super) fn shown(self) -> &'static str {
        match self {
            Kind::Root => "\".\" as a whole",
            Kind::Pod => "\".Pod\" as a whole",
            Kind::Context => "\".Context\" as a whole",
            Kind::Text => "a string",
            Kind::Int => "a number",
            Kind::Bool => "true or false",
            Kind::Nothing => "nothing",
            Kind::Any => "a value",
        }
    }

    /// Whether it prints as text that someone could want.
    pub(super) fn prints(self) -> bool {
        matches!(self, Kind::Text | Kind::Int | Kind::Bool | Kind::Any)
    }
}

/// A field of `.Pod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodField {
    Name,
    Uid,
    Namespace,
    ServiceAccount,
    Hostname,
    NodeName,
}

impl PodField {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Name" => PodField::Name,
            "UID" => PodField::Uid,
            "Namespace" => PodField::Namespace,
            "ServiceAccount" => PodField::ServiceAccount,
            "Hostname" => PodField::Hostname,
            "NodeName" => PodField::NodeName,
            _ => return None,
        })
    }

    /// The field's value; empty where the pod has none.
    pub(super) fn of(self, pod: &PodSnapshot) -> &str {
        match self {
            PodField::Name => &pod.name,
            PodField::Uid => pod.uid.as_str(),
            PodField::Namespace => &pod.namespace,
            PodField::ServiceAccount => pod.service_account.as_deref().unwrap_or_default(),
            PodField::Hostname => pod.hostname.as_deref().unwrap_or_default(),
            PodField::NodeName => pod.node_name.as_deref().unwrap_or_default(),
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'v> {
    Root,
    Pod,
    Context,
    Text(Cow<'v, str>),
    Int(i64),
    Bool(bool),
    Nothing,
}

impl<'v> Value<'v> {
    pub(super) fn text(text: &'v str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Value::Root => Kind::Root,
            Value::Pod => Kind::Pod,
            Value::Context => Kind::Context,
            Value::Text(_) => Kind::Text,
            Value::Int(_) => Kind::Int,
            Value::Bool(_) => Kind::Bool,
            Value::Nothing => Kind::Nothing,
        }
    }

    /// Whether `if` takes it for true.
    pub(super) fn truth(&self, context: &Context) -> bool {
        match self {
            Value::Root | Value::Pod => true,
            Value::Context => !context.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Int(n) => *n != 0,
            Value::Bool(b) => *b,
            Value::Nothing => false,
        }
    }

    /// How much memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            _ => 0,
        }
    }

    pub(super) fn must_print(&self) -> Result<(), String> {
        match self.kind().prints() {
            true => Ok(()),
            false => Err(format!("{} cannot be printed", self.kind().shown())),
        }
    }

    /// As `print` prints it; only for kinds that print.
    pub(super) fn printed(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Int(n) => n.to_string().into(),
            Value::Bool(b) => if *b { "true" } else { "false" }.into(),
            Value::Root | Value::Pod | Value::Context | Value::Nothing => "".into(),
        }
    }
}

/// What `print` makes of its arguments: spaces stand between two of which neither is a string.
pub(super) fn printed(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for value in values {
        let text = matches!(value, Value::Text(_));
        if !after_text && !text {
            out.push(' ');
        }
        after_text = text;
        out.push_str(&value.printed());
    }
    out
}

/// `html`
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// `urlquery`
pub(super) fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a string does not fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
