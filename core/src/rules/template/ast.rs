//! A parsed template.

use std::{collections::BTreeMap, sync::Arc};

/// The template and those that it defines.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) main: Body,
    pub(super) defined: BTreeMap<Arc<str>, Body>,
}

/// A template's nodes, and how many variables it has room for; the first is `$`.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) nodes: Vec<Node>,
    pub(super) slots: usize,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// A pipeline whose value is printed.
    Print(Pipeline),
    /// A pipeline whose value goes into a variable.
    Set {
        slot: usize,
        declares: bool,
        value: Pipeline,
    },
    /// `if` or `with`, with its `else if`s or `else with`s.
    Choose {
        /// Whether the value becomes the dot.
        with: bool,
        branches: Vec<Branch>,
        otherwise: Vec<Node>,
    },
    Range {
        /// Of `$i, $x := range`.
        variables: Vec<usize>,
        declares: bool,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
    /// `{{template "name" value}}`
    Call {
        at: usize,
        name: Arc<str>,
        value: Option<Pipeline>,
    },
}

#[derive(Debug)]
pub(super) struct Branch {
    /// `{{if $x := ...}}`
    pub(super) variable: Option<(usize, bool)>,
    pub(super) condition: Pipeline,
    pub(super) body: Vec<Node>,
}

/// Commands joined by `|`; never empty.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    pub(super) commands: Vec<Command>,
}

/// An operand or a function, and arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) term: Term,
    /// `.A.B` after the term.
    pub(super) fields: Vec<Name>,
}

/// A field's name and where it stands.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) at: usize,
    pub(super) name: Arc<str>,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Variable(usize),
    Text(Arc<str>),
    Int(i64),
    Bool(bool),
    Function(Function),
    Parentheses(Box<Pipeline>),
}

/// Go's predefined functions, without `call` and `js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Index,
    Slice,
    Len,
    Print,
    Printf,
    Println,
    Html,
    Urlquery,
}

impl Function {
    const ALL: [(&'static str, Function); 17] = [
        ("and", Function::And),
        ("or", Function::Or),
        ("not", Function::Not),
        ("eq", Function::Eq),
        ("ne", Function::Ne),
        ("lt", Function::Lt),
        ("le", Function::Le),
        ("gt", Function::Gt),
        ("ge", Function::Ge),
        ("index", Function::Index),
        ("slice", Function::Slice),
        ("len", Function::Len),
        ("print", Function::Print),
        ("printf", Function::Printf),
        ("println", Function::Println),
        ("html", Function::Html),
        ("urlquery", Function::Urlquery),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(n, _)| *n == name)
            .map(|(_, function)| function)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }

    /// How many arguments it takes: at least, and at most.
    pub(super) fn arity(self) -> (usize, usize) {
        const ANY: usize = usize::MAX;
        match self {
            Function::Not | Function::Len => (1, 1),
            Function::Ne | Function::Lt | Function::Le | Function::Gt | Function::Ge => (2, 2),
            Function::Eq => (2, ANY),
            Function::And | Function::Or | Function::Index | Function::Printf => (1, ANY),
            Function::Slice => (1, 3),
            Function::Print | Function::Println | Function::Html | Function::Urlquery => (0, ANY),
        }
    }
}
