//! What cargo-mutants lists.

use serde::Deserialize;

/// A place in a file, counted from one, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl From<proc_macro2::LineColumn> for Place {
    fn from(at: proc_macro2::LineColumn) -> Self {
        Place {
            line: at.line,
            column: at.column + 1,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Span {
    pub start: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// One small change of the code.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// As cargo-mutants prints it: file, line, column, and what is changed.
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub replacement: String,
    pub span: Span,
}

/// The byte at which each line of a text begins, to find places in it.
pub struct Lines<'a> {
    text: &'a str,
    begins: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Self {
        let begins = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Lines { text, begins }
    }

    pub fn byte(&self, at: Place) -> usize {
        let begin = self.begins[at.line - 1];
        let line = &self.text[begin..];
        let within = line.char_indices().nth(at.column - 1);
        begin + within.map_or(line.len(), |(byte, _)| byte)
    }
}
