//! The comparison for people.

use std::{
    collections::BTreeMap,
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
    for (key, Compared { fate, .. }) in pods {
        let lines = |ids: &[String]| ids.join("\n");
        let (style, theirs, ours) = match fate {
            Fate::Same(_) => continue,
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
