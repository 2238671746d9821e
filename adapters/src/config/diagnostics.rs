//! Problems of a configuration file, and how they are shown.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::hcl::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The program does not start.
    Error,
    /// It starts, and says so.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What is wrong; the original's words where it had some.
    pub message: String,
    /// Where, if it is somewhere: a missing key is nowhere.
    pub span: Option<Span>,
    /// Beside the caret.
    pub label: String,
    /// What mends it.
    pub help: Option<String>,
}

impl Problem {
    /// An error that concerns the file as a whole.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            help: None,
        }
    }

    /// A warning that concerns the file as a whole.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// With the place, and what to say beside the caret.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All problems of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// As the user named it.
    pub path: String,
    /// The file's text; empty if it could not be read.
    pub source: String,
    /// Errors first, then by position.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Whether the program can start all the same.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|p| p.severity == Severity::Error)
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let renderer = Renderer::plain();
        for (n, problem) in self.list.iter().enumerate() {
            let level = match problem.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let title = level.primary_title(&problem.message);
            let group = match problem.span.clone() {
                Some(span) => Group::with_title(title).element(
                    Snippet::source(&self.source)
                        .path(&self.path)
                        .annotation(AnnotationKind::Primary.span(span).label(&problem.label)),
                ),
                None => Group::with_title(title)
                    .element(annotate_snippets::Origin::path(self.path.as_str())),
            };
            let group = match &problem.help {
                Some(help) => group.element(Level::HELP.message(help)),
                None => group,
            };
            if n > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}", renderer.render(&[group]))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
