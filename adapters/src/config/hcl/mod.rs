//! HCL 1, the language of the original's configuration file, with the position of everything.
//!
//! The rules are those of hashicorp/hcl 1.0.0: keys may be quoted, several attributes may stand on a line, a repeated key
//! is kept as often as it stands there, strings keep `${...}` as text, the whole file may be JSON.

mod heredoc;
mod lexer;
mod parser;
mod unquote;

pub use parser::{Item, Node, NodeKind, SyntaxError, parse};
pub use unquote::within;

/// A range of bytes in the source.
pub type Span = std::ops::Range<usize>;
