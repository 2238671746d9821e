//! A plan for people.

use std::io::{self, Write};

use registrar_core::{
    cluster::{Kind, ObjectKey},
    entry::{Entry, Field, RegisteredEntry},
    policy::Policy,
    sync::{Plan, Planned, Removal, ResourceChange, Update},
};
use serde_json::Value;

use super::{
    clean,
    table::{Paint, Style, Table, wrapped},
    view::{self, Input},
};

/// Prints it.
///
/// # Errors
/// If it cannot be written.
pub fn plan(
    out: &mut dyn Write,
    paint: Paint,
    plan: &Plan,
    input: &Input,
    policy: &Policy,
) -> io::Result<()> {
    let printer = Printer { paint, policy };
    printer.summary(out, plan, input)?;
    if input.compared {
        printer.planned(out, "CREATE", Style::Good, &plan.create)?;
        printer.updates(out, &plan.update)?;
        printer.deletes(out, plan)?;
    } else {
        printer.planned(out, "ENTRIES", Style::Plain, &plan.entries)?;
    }
    let skipped = plan.skipped.iter().map(|(o, r)| (o, r.to_string()));
    printer.reasons(out, "SKIPPED (no entry)", Style::Plain, skipped)?;
    let held = plan.held.iter().map(|(o, p)| (o, p.to_string()));
    printer.reasons(out, "HELD (nothing is changed)", Style::Bad, held)?;
    let dropped = plan.left_out.iter().map(|(o, n)| (o, n.to_string()));
    let refused = plan
        .conflicts
        .iter()
        .map(|c| (&c.wanted.object, view::conflict(c)));
    let warnings = dropped.chain(refused);
    printer.reasons(out, "WARNINGS", Style::Notice, warnings)?;
    printer.general(out, plan, input)
}

struct Printer<'a> {
    paint: Paint,
    policy: &'a Policy,
}

/// An object's name.
pub(super) fn object(key: &ObjectKey) -> String {
    let kind = key.kind.name().to_lowercase();
    match &*key.namespace {
        "" => clean(&format!("{kind} {}", key.name)),
        namespace => clean(&format!("{kind} {namespace}/{}", key.name)),
    }
}

/// A number of things.
pub(super) fn plural(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n if one.ends_with('y') => format!("{n} {}ies", &one[..one.len() - 1]),
        n => format!("{n} {one}s"),
    }
}

impl Printer<'_> {
    fn heading(&self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.paint(Style::Heading, text))
    }

    fn summary(&self, out: &mut dyn Write, plan: &Plan, input: &Input) -> io::Result<()> {
        let entries = plural(plan.entries.len(), "entry");
        let nodes = plural(plan.registered(Kind::Node), "node");
        let pods = plural(plan.registered(Kind::Pod), "pod");
        let mut line = format!(
            "{entries} wanted ({nodes}, {pods}), {} skipped, {} held",
            plan.skipped.len(),
            plan.held.len()
        );
        if input.compared {
            line.push_str(&format!(
                "; {} to create, {} to update, {} to delete, {} right",
                plan.create.len(),
                plan.update.len(),
                plan.delete.len(),
                plan.unchanged
            ));
        }
        let of_resources = |change: ResourceChange| {
            let all = plan.resources.iter();
            all.filter(|(_, c)| *c == change).count()
        };
        if input.compared && self.policy.spiffe_ids.is_some() {
            line.push_str(&format!(
                "; of SpiffeIDs, {} to create, {} to update, {} to delete",
                of_resources(ResourceChange::Create),
                of_resources(ResourceChange::Update),
                of_resources(ResourceChange::Delete)
            ));
        }
        writeln!(out, "{}", wrapped(&line, 2))?;
        let scope = format!(
            "IDs are of trust domain {}; .../ is {}/",
            self.policy.trust_domain,
            self.policy.root.path()
        );
        writeln!(out, "{}", wrapped(&scope, 2))
    }

    /// Within our own trust domain, the path; and of that, what follows the root.
    fn id(&self, id: &registrar_core::spiffe::SpiffeId) -> String {
        if *id.trust_domain() != self.policy.trust_domain {
            return clean(&id.to_string());
        }
        match id.path().strip_prefix(self.policy.root.path()) {
            Some(rest) if rest.starts_with('/') => format!("...{rest}"),
            _ => id.path().to_owned(),
        }
    }

    fn planned(
        &self,
        out: &mut dyn Write,
        title: &str,
        style: Style,
        planned: &[Planned],
    ) -> io::Result<()> {
        if planned.is_empty() {
            return Ok(());
        }
        self.heading(out, title)?;
        let mut table = Table::new(&["OBJECT", "SPIFFE ID", "PARENT", "SELECTORS AND MORE"]);
        for p in planned {
            let cells = vec![
                object(&p.object),
                self.id(&p.entry.spiffe_id),
                self.id(&p.entry.parent_id),
                details(&RegisteredEntry::created(
                    registrar_core::entry::EntryId::stored(""),
                    &p.entry,
                )),
            ];
            table.row(style, cells);
        }
        table.print(out, self.paint)
    }

    fn updates(&self, out: &mut dyn Write, updates: &[(ObjectKey, Update)]) -> io::Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        self.heading(out, "UPDATE (in place)")?;
        let mut table = Table::new(&["OBJECT", "ENTRY", "FIELD", "IS", "BECOMES"]);
        for (key, update) in updates {
            for (n, field) in update.fields.iter().enumerate() {
                let (old, new) = self.change(update, field);
                let mut cells = match n {
                    0 => vec![object(key), clean(update.stored.id.as_str())],
                    _ => vec![String::new(), String::new()],
                };
                cells.extend([field.name().to_owned(), old, new]);
                table.row(Style::Notice, cells);
            }
        }
        table.print(out, self.paint)
    }

    fn change(&self, update: &Update, field: Field) -> (String, String) {
        let entry: &Entry = &update.entry;
        match field {
            Field::SpiffeId => (self.id(&update.stored.spiffe_id), self.id(&entry.spiffe_id)),
            Field::ParentId => (self.id(&update.stored.parent_id), self.id(&entry.parent_id)),
            Field::Selectors => (
                lines(update.stored.selectors.iter()),
                lines(entry.selectors.iter()),
            ),
            other => {
                let (old, new) = view::change(update, other);
                (shown(&old), shown(&new))
            }
        }
    }

    fn deletes(&self, out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
        if plan.delete.is_empty() {
            return Ok(());
        }
        self.heading(out, "DELETE")?;
        let mut table = Table::new(&["OF", "ENTRY", "SPIFFE ID", "PARENT", "WHY"]);
        for (subject, Removal { stored, reason }) in &plan.delete {
            let cells = vec![
                clean(&subject.to_string()),
                clean(stored.id.as_str()),
                self.id(&stored.spiffe_id),
                self.id(&stored.parent_id),
                reason.to_string(),
            ];
            table.row(Style::Bad, cells);
        }
        table.print(out, self.paint)
    }

    fn reasons<'k>(
        &self,
        out: &mut dyn Write,
        title: &str,
        style: Style,
        reasons: impl Iterator<Item = (&'k ObjectKey, String)>,
    ) -> io::Result<()> {
        let mut reasons = reasons.peekable();
        if reasons.peek().is_none() {
            return Ok(());
        }
        self.heading(out, title)?;
        let mut table = Table::new(&["OBJECT", "WHY"]);
        for (key, why) in reasons {
            table.row(style, vec![object(key), clean(&why)]);
        }
        table.print(out, self.paint)
    }

    fn general(&self, out: &mut dyn Write, plan: &Plan, input: &Input) -> io::Result<()> {
        let general = view::general(plan, input, self.policy);
        for (n, warning) in general.iter().enumerate() {
            if n == 0 {
                writeln!(out)?;
            }
            let text = wrapped(&format!("warning: {}", clean(&warning.message)), 9);
            writeln!(out, "{}", self.paint.paint(Style::Notice, &text))?;
        }
        Ok(())
    }
}

fn lines(values: impl Iterator<Item = impl ToString>) -> String {
    let lines: Vec<String> = values.map(|v| clean(&v.to_string())).collect();
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => lines(values.iter().map(|v| v.as_str().unwrap_or_default())),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::String(text) => clean(text),
        Value::Number(n) if n.as_i64() == Some(0) => "default".to_owned(),
        Value::Number(n) => format!("{n} s"),
        other => other.to_string(),
    }
}

/// Selectors, and everything that is not as it is by default, a line each.
fn details(entry: &RegisteredEntry) -> String {
    let mut details = vec![lines(entry.selectors.iter())];
    details.extend(entry.dns_names.iter().map(|n| clean(&format!("DNS {n}"))));
    details.extend(
        entry
            .federates_with
            .iter()
            .map(|td| format!("federates with {td}")),
    );
    if entry.x509_svid_ttl != 0 {
        details.push(format!("X509-SVID TTL {} s", entry.x509_svid_ttl));
    }
    if entry.jwt_svid_ttl != 0 {
        details.push(format!("JWT-SVID TTL {} s", entry.jwt_svid_ttl));
    }
    if !entry.hint.is_empty() {
        details.push(clean(&format!("hint {}", entry.hint)));
    }
    details.join("\n")
}
