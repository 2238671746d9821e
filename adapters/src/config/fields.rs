//! Typed access to the items of a file, with HCL 1's rules: case-insensitive keys, the last of two scalars wins, lists
//! append, maps merge, numbers and strings stand in for each other.

use std::{collections::BTreeMap, time::Duration};

use super::{
    diagnostics::Problem,
    hcl::{Item, Node, NodeKind, Span, within},
    keys,
};

/// A value and where it stands; nowhere, if it is a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Option<Span>,
}

/// The items of a file, and the problems found so far.
pub(super) struct Fields<'s> {
    source: &'s str,
    items: Vec<Item>,
    pub(super) problems: Vec<Problem>,
}

impl<'s> Fields<'s> {
    pub(super) fn new(source: &'s str, items: Vec<Item>) -> Self {
        let mut problems = Vec::new();
        for item in &items {
            if keys::find(&item.key).is_none() {
                let problem = Problem::warning(format!("unknown key {:?}", item.key))
                    .at(item.key_span.clone(), "not a key of this program; ignored");
                problems.push(match keys::nearest(&item.key) {
                    Some(near) => problem.help(format!("did you mean {near:?}?")),
                    None => problem,
                });
            }
        }
        Self {
            source,
            items,
            problems,
        }
    }

    fn all(&self, key: &str) -> Vec<Item> {
        debug_assert!(keys::find(key).is_some(), "{key} is in the table of keys");
        self.items
            .iter()
            .filter(|i| i.key.eq_ignore_ascii_case(key))
            .cloned()
            .collect()
    }

    fn last(&mut self, key: &str) -> Option<Node> {
        let item = self.all(key).pop()?;
        if let Some((_, span)) = item.labels.first() {
            self.wrong(key, span.clone(), "a value", "a block with a name");
            return None;
        }
        Some(item.value)
    }

    fn wrong(&mut self, key: &str, span: Span, wanted: &str, found: &str) {
        self.problems.push(
            Problem::error(format!("{key} must be {wanted}"))
                .at(span, format!("expected {wanted}, found {found}")),
        );
    }

    /// Adds a problem at a value.
    pub(super) fn reject(&mut self, span: Option<Span>, message: String, help: &str) {
        let problem = Problem::error(message).help(help);
        self.problems.push(match span {
            Some(span) => problem.at(span, "here"),
            None => problem,
        });
    }

    /// Adds a problem at a byte of a string's value.
    pub(super) fn reject_within(
        &mut self,
        text: &Spanned<String>,
        offset: usize,
        message: String,
        help: &str,
    ) {
        let span = text
            .span
            .clone()
            .map(|span| within(self.source, span, offset));
        self.reject(span, message, help);
    }

    fn text_of(&mut self, key: &str, node: &Node) -> Option<String> {
        match &node.kind {
            NodeKind::Text(text) | NodeKind::Number(text) => Some(text.clone()),
            other => {
                self.wrong(key, node.span.clone(), "a string", other.name());
                None
            }
        }
    }

    /// A string; the default where the key is absent or has the wrong type (which is a problem of its own).
    pub(super) fn text(&mut self, key: &str, default: &str) -> Spanned<String> {
        self.optional_text(key).unwrap_or_else(|| Spanned {
            value: default.to_owned(),
            span: None,
        })
    }

    pub(super) fn optional_text(&mut self, key: &str) -> Option<Spanned<String>> {
        let node = self.last(key)?;
        let value = self.text_of(key, &node)?;
        Some(Spanned {
            value,
            span: Some(node.span),
        })
    }

    pub(super) fn bool(&mut self, key: &str, default: bool) -> bool {
        match self.last(key) {
            Some(Node {
                kind: NodeKind::Bool(b),
                ..
            }) => b,
            Some(node) => {
                self.wrong(key, node.span.clone(), "true or false", node.kind.name());
                default
            }
            None => default,
        }
    }

    /// A whole number within `range`.
    pub(super) fn int(
        &mut self,
        key: &str,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> i64 {
        let Some(node) = self.last(key) else {
            return default;
        };
        let value = match &node.kind {
            NodeKind::Number(text) | NodeKind::Text(text) => integer(text),
            _ => None,
        };
        let (least, most) = (range.start(), range.end());
        match value {
            Some(n) if range.contains(&n) => n,
            Some(n) => {
                let message = format!("{key} is {n}, which is not from {least} to {most}");
                self.reject(Some(node.span), message, "choose a number in that range");
                default
            }
            None => {
                self.wrong(key, node.span.clone(), "a whole number", node.kind.name());
                default
            }
        }
    }

    /// A list of strings, or `None` where the key is absent. An explicit empty list is a list.
    pub(super) fn list(&mut self, key: &str) -> Option<Vec<Spanned<String>>> {
        let items = self.all(key);
        if items.is_empty() {
            return None;
        }
        let mut words = Vec::new();
        for item in items {
            let nodes = match item.value.kind {
                NodeKind::List(nodes) => nodes,
                // HCL 1 takes a single value for a list of one.
                kind => vec![Node {
                    kind,
                    span: item.value.span,
                }],
            };
            for node in nodes {
                if let Some(value) = self.text_of(key, &node) {
                    words.push(Spanned {
                        value,
                        span: Some(node.span),
                    });
                }
            }
        }
        Some(words)
    }

    /// A map of strings, or `None` where the key is absent; several blocks and maps merge.
    pub(super) fn map(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let items = self.all(key);
        if items.is_empty() {
            return None;
        }
        let mut map = BTreeMap::new();
        for item in items {
            if let Some((_, span)) = item.labels.first() {
                self.wrong(key, span.clone(), "a block without a name", "a name");
                continue;
            }
            match item.value.kind {
                NodeKind::Object(entries) => {
                    for entry in entries {
                        if let Some(value) = self.text_of(&entry.key, &entry.value) {
                            map.insert(entry.key, value);
                        }
                    }
                }
                other => self.wrong(key, item.value.span, "a block", other.name()),
            }
        }
        Some(map)
    }

    /// A duration such as `"5m"` or `"1h30m"`.
    pub(super) fn duration(&mut self, key: &str) -> Option<Spanned<Duration>> {
        let node = self.last(key)?;
        let span = node.span.clone();
        match &node.kind {
            NodeKind::Text(text) => match duration(text) {
                Some(value) => {
                    return Some(Spanned {
                        value,
                        span: Some(span),
                    });
                }
                None => {
                    let message = format!("{key} is {text:?}, which is not a duration");
                    self.reject(
                        Some(span),
                        message,
                        r#"write it like "90s", "5m" or "1h30m""#,
                    );
                }
            },
            NodeKind::Number(text) => {
                let message = format!("{key} is the bare number {text}; durations have a unit");
                self.reject(
                    Some(span),
                    message,
                    &format!("write {key} = \"{text}s\" for seconds"),
                );
            }
            other => self.wrong(key, span, "a duration", other.name()),
        }
        None
    }
}

/// A whole number by the rules of Go's `ParseInt` with base 0: `0x` is hexadecimal, a leading zero octal.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(&digits[1..], 8).ok()?
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        digits.parse().ok()?
    } else {
        return None;
    };
    Some(sign * value)
}

/// Go's durations, without signs and fractions of a nanosecond: `1h30m`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[unit_end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_follow_go() {
        for (text, value) in [
            ("80", Some(80)),
            ("0120", Some(80)),
            ("0x50", Some(80)),
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("8e1", None),
            ("1.5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(integer(text), value, "{text:?}");
        }
    }

    #[test]
    fn durations_need_units() {
        for (text, seconds) in [
            ("5m", Some(300.0)),
            ("1h30m", Some(5400.0)),
            ("1.5s", Some(1.5)),
            ("250ms", Some(0.25)),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), seconds, "{text:?}");
        }
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5s",
            "5y",
            "1e400s",
            "99999999999999999999h",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
