//! What may go under another root, for people.

use std::io::{self, Write};

use registrar_core::{entry::RegisteredEntry, policy::Policy, rules::FormerRoot, sync::Retirement};

use super::{
    clean,
    plan::{object, plural},
    table::{Paint, Style, Table, wrapped},
};

/// Prints it.
///
/// # Errors
/// If it cannot be written.
pub fn retirement(
    out: &mut dyn Write,
    paint: Paint,
    retirement: &Retirement,
    former: &FormerRoot,
    policy: &Policy,
) -> io::Result<()> {
    let summary = format!(
        "{} under {former} of trust domain {} to remove, {} to stay",
        plural(retirement.remove.len(), "entry"),
        policy.trust_domain,
        retirement.others.len() + retirement.needed.len()
    );
    writeln!(out, "{}", wrapped(&summary, 2))?;
    let heading =
        |out: &mut dyn Write, text: &str| writeln!(out, "\n{}", paint.paint(Style::Heading, text));
    if !retirement.remove.is_empty() {
        heading(out, "REMOVE")?;
        let mut table = Table::new(&["OF", "ENTRY", "SPIFFE ID", "PARENT"]);
        for (subject, entry) in &retirement.remove {
            let mut cells = vec![clean(&subject.to_string())];
            cells.extend(described(entry));
            table.row(Style::Bad, cells);
        }
        table.print(out, paint)?;
    }
    if !retirement.uncovered.is_empty() {
        heading(out, "REFUSED: living pods that would lose their identity")?;
        let mut table = Table::new(&["OBJECT", "WHY"]);
        for uncovered in &retirement.uncovered {
            let cells = vec![object(&uncovered.object), clean(&uncovered.why.to_string())];
            table.row(Style::Notice, cells);
        }
        table.print(out, paint)?;
    }
    let staying = [
        (
            &retirement.others,
            "no registrar generates an entry of this form",
        ),
        (&retirement.needed, "an entry that stays hangs under it"),
    ];
    if staying.iter().any(|(list, _)| !list.is_empty()) {
        heading(
            out,
            "STAY (remove them with spire-server entry delete if they are not needed)",
        )?;
        let mut table = Table::new(&["ENTRY", "SPIFFE ID", "PARENT", "WHY"]);
        for (list, why) in staying {
            for entry in list {
                let mut cells = described(entry).to_vec();
                cells.push(why.to_owned());
                table.row(Style::Plain, cells);
            }
        }
        table.print(out, paint)?;
    }
    Ok(())
}

fn described(entry: &RegisteredEntry) -> [String; 3] {
    [
        clean(entry.id.as_str()),
        entry.spiffe_id.path().to_owned(),
        entry.parent_id.path().to_owned(),
    ]
}
