//! The explanation for people.

use std::io::{self, Write};

use registrar_core::{
    entry::Entry,
    sync::{Preview, Verdict},
};

use super::{
    findings::{Finding, Weight, rule},
    seen::{Agent, Seen, under_agents},
};
use crate::render::{Paint, Style, clean, wrapped};

/// Prints it.
///
/// # Errors
/// If it cannot be written.
pub fn show(
    out: &mut dyn Write,
    paint: Paint,
    seen: &Seen,
    findings: &[Finding],
) -> io::Result<()> {
    heading(out, paint, &format!("pod {}", seen.name))?;
    if let Some(pod) = &seen.pod {
        line(out, "UID", pod.uid.as_str())?;
        line(out, "node", pod.node_name.as_deref().unwrap_or("none yet"))?;
        let account = pod.service_account.as_deref().unwrap_or("none");
        line(out, "account", account)?;
    }
    line(out, "rule", &rule(&seen.policy))?;
    let decision = match &seen.own.verdict {
        Verdict::Registered(..) => "gets an entry".to_owned(),
        Verdict::Skipped(reason) => format!("skipped: {reason}"),
        Verdict::Held(problem) => format!("held: {problem}"),
        Verdict::Absent(reason) => reason.to_string(),
        Verdict::Unknown => "not known".to_owned(),
    };
    line(out, "decision", &decision)?;
    if let Verdict::Registered(entries, _) = &seen.own.verdict {
        for entry in entries {
            heading(out, paint, "\nentry it should have")?;
            wanted(out, entry)?;
        }
    }
    heading(out, paint, "\non the server")?;
    if let Some(resource) = &seen.resource {
        let name = format!("{}/{}", resource.name.namespace, resource.name.name);
        let state = match (&resource.there, resource.next) {
            (None, _) => "does not exist",
            (Some(there), _) if there.deleting => "is being deleted",
            (Some(_), Some(_)) => "is not as it should be",
            (Some(_), None) => "is as it should be",
        };
        line(out, "SpiffeID", &format!("{name}: {state}"))?;
    }
    stored(out, "pod", &seen.own)?;
    if let Some(node) = &seen.node {
        stored(out, "node", node)?;
    }
    serving(out, seen)?;
    heading(out, paint, "\nfindings")?;
    for finding in findings {
        let (word, style) = match finding.weight {
            Weight::Fault => ("fault", Style::Bad),
            Weight::Notice => ("note", Style::Notice),
            Weight::Well => ("ok", Style::Good),
        };
        let text = wrapped(&format!("  {word}: {}", clean(&finding.text)), 4);
        writeln!(out, "{}", paint.paint(style, &text))?;
        if let Some(remedy) = &finding.remedy {
            writeln!(
                out,
                "{}",
                wrapped(&format!("    remedy: {}", clean(remedy)), 6)
            )?;
        }
    }
    Ok(())
}

fn heading(out: &mut dyn Write, paint: Paint, text: &str) -> io::Result<()> {
    let blank = text.len() - text.trim_start_matches('\n').len();
    let text = paint.paint(Style::Heading, text.trim_start_matches('\n'));
    writeln!(out, "{}{text}", "\n".repeat(blank))
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(
        out,
        "{}",
        wrapped(&format!("  {name:<11}{}", clean(value)), 13)
    )
}

fn wanted(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    line(out, "SPIFFE ID", &entry.spiffe_id.to_string())?;
    line(out, "parent", &entry.parent_id.to_string())?;
    for selector in entry.selectors.iter() {
        line(out, "selector", &selector.to_string())?;
    }
    for name in entry.dns_names.iter() {
        line(out, "DNS name", name.as_str())?;
    }
    for td in entry.federates_with.iter() {
        line(out, "federates", td.as_str())?;
    }
    Ok(())
}

fn stored(out: &mut dyn Write, whose: &str, preview: &Preview) -> io::Result<()> {
    for id in &preview.right {
        let how = match preview.verdict {
            Verdict::Registered(..) => "as it should be",
            _ => "stays as it is",
        };
        line(out, whose, &format!("entry {id}: {how}"))?;
    }
    for update in &preview.update {
        line(
            out,
            whose,
            &format!("entry {}: differs in {}", update.stored.id, update.fields),
        )?;
        for field in update.fields.iter() {
            let (old, new) = crate::render::view::change(update, field);
            line(
                out,
                "",
                &format!("{}: is {old}, should be {new}", field.name()),
            )?;
        }
    }
    for removal in &preview.delete {
        line(
            out,
            whose,
            &format!("entry {}: goes, {}", removal.stored.id, removal.reason),
        )?;
    }
    if preview.right.is_empty() && preview.update.is_empty() && preview.delete.is_empty() {
        line(out, whose, "no entry")?;
    }
    Ok(())
}

/// What an agent needs to serve the pod.
fn serving(out: &mut dyn Write, seen: &Seen) -> io::Result<()> {
    let Some((id, agent)) = &seen.agent else {
        return Ok(());
    };
    let state = match agent {
        Agent::Attested(agent) if agent.banned => "banned",
        Agent::Attested(_) => "attested",
        Agent::None => "not attested",
        Agent::Unknown(_) => "not known",
    };
    line(out, "agent", &format!("{id}: {state}"))?;
    let needs = match under_agents(&seen.policy) {
        true => "this agent serves it, since the entry hangs directly under it",
        false => {
            "an agent serves it whose selectors match the node's entry, under which the pod's hangs"
        }
    };
    line(out, "", needs)
}
