//! Templates of SPIFFE ID paths and DNS names: Go's `text/template` over `.Pod` and `.Context`.
//!
//! Everything that can be told without a pod is told when the template is parsed: syntax, fields, context keys, kinds of
//! values, in every branch. Rendering is bounded in depth, steps and output, so that no template is dangerous, whoever
//! wrote it.
//!
//! Left out of Go's language, each with an error that says so: `nil`, `call`, `js`, floating-point and complex numbers,
//! templates that call themselves, and printing `.`, `.Pod` or `.Context` as a whole.

mod ast;
mod check;
mod eval;
mod functions;
mod lexer;
mod parser;
mod pipeline;
mod printf;
mod value;

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::cluster::PodSnapshot;

/// The longest template, in bytes.
pub const MAX_TEMPLATE: usize = 16 << 10;
/// The longest that a template, or a string within it, may become, in bytes.
pub const MAX_OUTPUT: usize = 4096;
/// How deep blocks, parentheses and calls may nest.
const MAX_DEPTH: usize = 32;
/// How many steps one rendering may take.
const MAX_WORK: usize = 20_000;

/// The values that `.Context` has.
pub type Context = BTreeMap<Arc<str>, Arc<str>>;

/// A parsed and checked template. Cheap to clone.
#[derive(Clone)]
pub struct Template(Arc<Inner>);

struct Inner {
    what: String,
    text: String,
    context: Context,
    program: ast::Program,
    reads: Vec<value::PodField>,
}

/// When a template turned out to be unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is no template.
    Parsing,
    /// It uses fields, functions or values that it cannot use.
    Executing,
    /// It names a key that the context does not have.
    Context,
}

/// Why a template cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateError {
    /// When.
    pub phase: Phase,
    /// What the template is called.
    pub what: String,
    /// The byte of the template's text at which it is wrong.
    pub offset: usize,
    /// The line of that byte, from 1.
    pub line: usize,
    /// The column of that byte, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, message, .. } = self;
        write!(f, "{what}:{}:{}: {message}", self.line, self.column)
    }
}

impl std::error::Error for TemplateError {}

/// A problem at a byte of the text.
#[derive(Debug)]
struct Fault {
    at: usize,
    message: String,
    missing_key: bool,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            missing_key: false,
        }
    }

    fn missing_key(at: usize, message: String) -> Self {
        Self {
            at,
            message,
            missing_key: true,
        }
    }

    fn in_template(self, phase: Phase, what: &str, text: &str) -> TemplateError {
        let before = &text[..text.floor_char_boundary(self.at)];
        let line_begins = before.rfind('\n').map_or(0, |at| at + 1);
        TemplateError {
            phase: match self.missing_key {
                true => Phase::Context,
                false => phase,
            },
            what: what.to_owned(),
            offset: before.len(),
            line: before.matches('\n').count() + 1,
            column: before[line_begins..].chars().count() + 1,
            message: self.message,
        }
    }
}

fn too_long() -> String {
    format!("the result is longer than {MAX_OUTPUT} bytes")
}

impl Template {
    /// Parses and checks a template; `what` is what messages call it.
    ///
    /// # Errors
    /// The first problem from the left, of those that the phase finds.
    pub fn parse(what: &str, text: &str, context: &Context) -> Result<Self, TemplateError> {
        Self::with(what, text, context, false)
    }

    /// As [`Template::parse`], without the spaces that stand between actions: the original registrar read its templates
    /// of DNS names so.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn without_spaces(
        what: &str,
        text: &str,
        context: &Context,
    ) -> Result<Self, TemplateError> {
        Self::with(what, text, context, true)
    }

    fn with(
        what: &str,
        text: &str,
        context: &Context,
        drop_spaces: bool,
    ) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            let bytes = text.len();
            let message = format!("the template has {bytes} bytes, more than {MAX_TEMPLATE}");
            return Err(Fault::new(0, message).in_template(Phase::Parsing, what, text));
        }
        let program = parser::parse(text, drop_spaces)
            .map_err(|fault| fault.in_template(Phase::Parsing, what, text))?;
        let reads = check::check(&program, context)
            .map_err(|fault| fault.in_template(Phase::Executing, what, text))?;
        Ok(Self(Arc::new(Inner {
            what: what.to_owned(),
            text: text.to_owned(),
            context: context.clone(),
            program,
            reads,
        })))
    }

    /// What the template makes of a pod.
    ///
    /// # Errors
    /// If the pod's values cannot be used so, or the result is too long, or takes too long.
    pub fn render(&self, pod: &PodSnapshot) -> Result<String, TemplateError> {
        let Inner {
            what,
            text,
            context,
            program,
            ..
        } = &*self.0;
        eval::render(program, context, pod)
            .map_err(|fault| fault.in_template(Phase::Executing, what, text))
    }

    /// What messages call it.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it reads `.Pod.ServiceAccount` anywhere.
    pub fn reads_service_account(&self) -> bool {
        self.0.reads.contains(&value::PodField::ServiceAccount)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.what, &self.0.text, &self.0.context)
            == (&other.0.what, &other.0.text, &other.0.context)
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({}: {:?})", self.0.what, self.0.text)
    }
}
