//! The comparison for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use registrar_core::cluster::ObjectKey;

use super::{Compared, EntryFate, Fate, advice::Advice};
use crate::render::{Paint, Style, Table, clean, wrapped};

/// Prints it.
///
/// # Errors
/// If it cannot be written.
pub fn show(
    out: &mut dyn Write,
    paint: Paint,
    advice: &[Advice],
    pods: &BTreeMap<ObjectKey, Compared>,
) -> io::Result<()> {
    let count = |of: fn(&Fate) -> bool| pods.values().filter(|c| of(&c.fate)).count();
    let summary = format!(
        "{} pods keep their SPIFFE ID, {} change it, {} gain one, {} lose it, {} cannot be told",
        count(|f| matches!(f, Fate::Same(_))),
        count(|f| matches!(f, Fate::Changed { .. })),
        count(|f| matches!(f, Fate::Added(_))),
        count(|f| matches!(f, Fate::Lost(..))),
        count(|f| matches!(f, Fate::Untold(_))),
    );
    writeln!(out, "{}", wrapped(&summary, 2))?;
    writeln!(out, "\n{}", paint.paint(Style::Heading, "SETTINGS"))?;
    for one in advice {
        writeln!(out, "{}", wrapped(&clean(&one.of), 2))?;
        if one.settings.is_empty() && one.remarks.is_empty() {
            writeln!(out, "  as this configuration has it")?;
        }
        for setting in &one.settings {
            let text = wrapped(&format!("  {}", clean(setting)), 4);
            writeln!(out, "{}", paint.paint(Style::Good, &text))?;
        }
        for remark in &one.remarks {
            writeln!(out, "{}", wrapped(&format!("  note: {}", clean(remark)), 4))?;
        }
    }
    let mut table = Table::new(&["POD", "SPIRE-CONTROLLER-MANAGER", "THIS REGISTRAR"]);
    let mut rows = 0;
    for (key, compared) in pods {
        let lines = |ids: &[String]| ids.join("\n");
        let (style, theirs, ours) = match &compared.fate {
            Fate::Same(_) => {
                let of_it = compared.differences.iter().filter(|d| !d.is_of_the_form());
                let (theirs, ours): (Vec<String>, Vec<String>) = of_it
                    .map(|d| {
                        let field = d.field;
                        (
                            format!("{field}: {}", value(&d.theirs)),
                            format!("{field}: {}", value(&d.ours)),
                        )
                    })
                    .unzip();
                if theirs.is_empty() {
                    continue;
                }
                (Style::Notice, lines(&theirs), lines(&ours))
            }
            Fate::Changed { theirs, ours } => (Style::Notice, lines(theirs), lines(ours)),
            Fate::Added(ours) => (Style::Good, "none".to_owned(), lines(ours)),
            Fate::Lost(theirs, why) => (Style::Bad, lines(theirs), format!("none: {}", clean(why))),
            Fate::Untold(why) => (
                Style::Notice,
                format!("not known: {}", clean(why)),
                String::new(),
            ),
        };
        let name = clean(&format!("{}/{}", key.namespace, key.name));
        table.row(style, vec![name, theirs, ours]);
        rows += 1;
    }
    if rows > 0 {
        writeln!(out, "\n{}", paint.paint(Style::Heading, "DIFFERENCES"))?;
        table.print(out, paint)?;
    }
    of_the_fields(out, pods)?;
    let in_the_way = pods
        .values()
        .filter(|c| c.entry == Some(EntryFate::InTheWay));
    let in_the_way = in_the_way.count();
    if in_the_way > 0 {
        let text = format!(
            "\n{in_the_way} entries stand in the way: SPIRE refuses a second one of the same SPIFFE ID, parent and selectors; \
             migrate with parent = \"node-alias\" first"
        );
        writeln!(out, "{}", paint.paint(Style::Bad, &wrapped(&text, 2)))?;
    }
    writeln!(
        out,
        "\n{}",
        wrapped(
            "entries are not adopted but made anew beside the old ones, which `retire` removes afterwards: \
             see docs/migration.md",
            2
        )
    )
}

/// In how many pods' entries which field differs.
fn of_the_fields(out: &mut dyn Write, pods: &BTreeMap<ObjectKey, Compared>) -> io::Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for compared in pods.values() {
        let fields: BTreeSet<&str> = compared.differences.iter().map(|d| d.field).collect();
        for field in fields {
            *counts.entry(field).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Ok(());
    }
    let counts: Vec<String> = counts.iter().map(|(f, n)| format!("{f} ({n})")).collect();
    let text = format!(
        "\nentries of the same SPIFFE ID differ in {}; parents and selectors are a matter of form, see -o json for each pod",
        counts.join(", ")
    );
    writeln!(out, "{}", wrapped(&text, 2))
}

fn value(text: &str) -> String {
    match text {
        "" => "none".to_owned(),
        text => clean(text),
    }
}
