//! Tables and paragraphs within a width, and colour where it is wanted.

use std::io::{self, IsTerminal, Write};

use super::WIDTH;

/// Between columns.
const GAP: usize = 2;
/// No column becomes narrower, however many there are.
const NARROWEST: usize = 10;
/// Where a line may be broken: after one of these.
const BREAKS: [char; 6] = ['/', ':', ',', ' ', '-', '.'];

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// A heading.
    Heading,
    /// Comes, or is well.
    Good,
    /// Changes, or deserves a look.
    Notice,
    /// Goes, or is not well.
    Bad,
}

/// Whether there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// On a terminal, unless `NO_COLOR` is set to something.
    pub fn of_standard_output() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self(!unwanted && io::stdout().is_terminal())
    }

    /// None.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(false)
    }

    /// Always.
    #[cfg(test)]
    pub fn always() -> Self {
        Self(true)
    }

    /// The text in its style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Heading => "1",
            Style::Good => "32",
            Style::Notice => "33",
            Style::Bad => "31",
            Style::Plain => return text.to_owned(),
        };
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Rows of cells; a cell may have several lines.
#[derive(Debug)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<(Style, Vec<String>)>,
}

impl Table {
    /// Without rows.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            headings: headings.iter().map(|h| (*h).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, style: Style, cells: Vec<String>) {
        self.rows.push((style, cells));
    }

    /// Prints it, no line wider than [`WIDTH`].
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        let widths = self.widths();
        print_row(out, paint, Style::Heading, &self.headings, &widths)?;
        for (style, cells) in &self.rows {
            print_row(out, paint, *style, cells, &widths)?;
        }
        Ok(())
    }

    /// As wide as the cells want, as long as there is room; then what is above the common share shrinks.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.chars().count()).collect();
        for (_, cells) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                let widest = cell.lines().map(|l| l.chars().count()).max().unwrap_or(0);
                *width = (*width).max(widest);
            }
        }
        let room = WIDTH - GAP * (widths.len() - 1);
        while widths.iter().sum::<usize>() > room {
            let excess = widths.iter().sum::<usize>() - room;
            let widest = widths.iter().copied().max().unwrap_or(0);
            if widest <= NARROWEST {
                break;
            }
            let next = widths
                .iter()
                .copied()
                .filter(|w| *w < widest)
                .max()
                .unwrap_or(0);
            let count = widths.iter().filter(|w| **w == widest).count();
            let step = (widest - next.max(NARROWEST))
                .min(excess.div_ceil(count))
                .max(1);
            for width in widths.iter_mut().filter(|w| **w == widest) {
                *width -= step;
            }
        }
        widths
    }
}

fn print_row(
    out: &mut dyn Write,
    paint: Paint,
    style: Style,
    cells: &[String],
    widths: &[usize],
) -> io::Result<()> {
    let columns: Vec<Vec<String>> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| cell.lines().flat_map(|l| broken(l, *width)).collect())
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for n in 0..height {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(widths) {
            let part = column.get(n).map_or("", |p| p);
            line.push_str(&format!("{part:width$}{:GAP$}", ""));
        }
        writeln!(out, "{}", paint.paint(style, line.trim_end()))?;
    }
    Ok(())
}

/// A line in pieces of at most `width` characters, broken where the eye expects it if it can be.
fn broken(line: &str, width: usize) -> Vec<String> {
    let mut rest: Vec<char> = line.chars().collect();
    let mut pieces = Vec::new();
    while rest.len() > width {
        let at = (width / 2..width)
            .rev()
            .find(|at| BREAKS.contains(&rest[*at]))
            .map_or(width, |at| at + 1);
        let tail = rest.split_off(at);
        pieces.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = tail;
    }
    pieces.push(rest.iter().collect());
    pieces
}

/// A paragraph: every line but the first is indented by `indent`.
pub fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let words = text.trim_start_matches(' ');
    let mut line = " ".repeat(text.len() - words.len());
    for word in words.split(' ').flat_map(|w| broken(w, WIDTH - indent)) {
        let length = line.chars().count() + 1 + word.chars().count();
        if !line.trim().is_empty() && length > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !line.trim().is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(table: &Table, paint: Paint) -> String {
        let mut out = Vec::new();
        table.print(&mut out, paint).expect("printed");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn no_line_of_a_table_is_wider_than_100_columns_and_nothing_is_lost() {
        for length in [1, 10, 40, 300] {
            let mut table = Table::new(&["A", "B", "C", "D"]);
            let cell = "segment/".repeat(length / 8 + 1);
            table.row(
                Style::Plain,
                vec![cell.clone(), "b".into(), cell.clone(), cell.clone()],
            );
            let text = printed(&table, Paint::none());
            assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
            let letters = |s: &str| s.chars().filter(|c| *c == 'g').count();
            assert_eq!(letters(&text), 3 * letters(&cell), "{text}");
        }
    }

    #[test]
    fn a_paragraph_wraps_at_words_and_a_word_without_end_is_cut() {
        let text = wrapped(&format!("one two {} end", "x".repeat(250)), 4);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        assert!(
            text.lines().skip(1).all(|l| l.starts_with("    ")),
            "{text}"
        );
        assert_eq!(wrapped("short", 4), "short");
        assert_eq!(wrapped("  two  spaces", 4), "  two  spaces");
    }

    #[test]
    fn colour_is_there_only_where_it_is_wanted() {
        let mut table = Table::new(&["A"]);
        table.row(Style::Bad, vec!["x".into()]);
        assert!(!printed(&table, Paint::none()).contains('\x1b'));
        assert!(printed(&table, Paint::always()).contains("\x1b[31mx\x1b[0m"));
    }
}
