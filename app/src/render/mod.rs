//! Plans for people and for programs. Everything that a tenant wrote is shown without its control characters.

mod plan;
mod retirement;
mod table;
pub mod view;

pub use plan::plan;
pub use retirement::retirement;
pub use table::{Paint, Style, Table, wrapped};

use std::io::{self, Write};

/// The widest line.
pub const WIDTH: usize = 100;

/// Prints a value as JSON or YAML.
///
/// # Errors
/// If it cannot be written.
pub fn data(out: &mut dyn Write, value: &impl serde::Serialize, yaml: bool) -> io::Result<()> {
    if yaml {
        return serde_yaml::to_writer(out, value).map_err(io::Error::other);
    }
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::other)?;
    writeln!(out)
}

/// Text on one line: control characters are escaped.
pub fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .collect()
}
