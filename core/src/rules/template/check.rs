//! What can be told of a template before there is a pod: every branch is looked at, not only those that one pod takes.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Context, Fault, MAX_DEPTH,
    ast::{Body, Branch, Command, Function, Name, Node, Operand, Pipeline, Program, Term},
    printf,
    value::{Kind, PodField},
};

/// Checks fields, context keys, functions and kinds; the answer is the pod fields that the template reads.
pub(super) fn check(program: &Program, context: &Context) -> Result<Vec<PodField>, Fault> {
    let mut checker = Checker {
        program,
        context,
        seen: BTreeSet::new(),
        calling: Vec::new(),
        depth: 0,
        reads: Vec::new(),
    };
    checker.body(&program.main, Kind::Root)?;
    for (name, body) in &program.defined {
        if !checker.seen.iter().any(|(n, _)| n == name) {
            checker.body(body, Kind::Any)?;
        }
    }
    Ok(checker.reads)
}

struct Checker<'p> {
    program: &'p Program,
    context: &'p Context,
    /// Templates that were checked for a kind of dot.
    seen: BTreeSet<(Arc<str>, Kind)>,
    calling: Vec<Arc<str>>,
    depth: usize,
    reads: Vec<PodField>,
}

/// The kinds of the variables; those not yet declared have none.
type Frame = Vec<Kind>;

impl Checker<'_> {
    fn body(&mut self, body: &Body, dot: Kind) -> Result<(), Fault> {
        let mut frame = vec![Kind::Nothing; body.slots];
        frame[0] = dot;
        self.nodes(&body.nodes, dot, &mut frame)
    }

    fn nodes(&mut self, nodes: &[Node], dot: Kind, frame: &mut Frame) -> Result<(), Fault> {
        self.depth += 1;
        for node in nodes {
            self.node(node, dot, frame)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: Kind, frame: &mut Frame) -> Result<(), Fault> {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => Ok(()),
            Node::Print(value) => {
                let kind = self.pipeline(value, dot, frame)?;
                must_print(value.at, kind)
            }
            Node::Set {
                slot,
                declares,
                value,
            } => {
                let kind = self.pipeline(value, dot, frame)?;
                set(frame, *slot, *declares, kind, value.at)
            }
            Node::Choose {
                with,
                branches,
                otherwise,
            } => {
                for branch in branches {
                    self.branch(*with, branch, dot, frame)?;
                }
                self.nodes(otherwise, dot, frame)
            }
            Node::Range {
                variables,
                declares,
                over,
                body,
                otherwise,
            } => {
                let (key, element) = match self.pipeline(over, dot, frame)? {
                    Kind::Context => (Kind::Text, Kind::Text),
                    Kind::Int if variables.len() < 2 => (Kind::Int, Kind::Int),
                    Kind::Any => (Kind::Any, Kind::Any),
                    Kind::Int => {
                        let message = "a range over a number has one variable";
                        return Err(Fault::new(over.at, message));
                    }
                    kind => {
                        let message = format!("range can't iterate over {}", kind.shown());
                        return Err(Fault::new(over.at, message));
                    }
                };
                if let [first, second] = variables[..] {
                    set(frame, first, *declares, key, over.at)?;
                    set(frame, second, *declares, element, over.at)?;
                } else if let Some(only) = variables.first() {
                    set(frame, *only, *declares, element, over.at)?;
                }
                self.nodes(body, element, frame)?;
                self.nodes(otherwise, dot, frame)
            }
            Node::Call { at, name, value } => {
                let kind = match value {
                    Some(value) => self.pipeline(value, dot, frame)?,
                    None => Kind::Nothing,
                };
                self.call(*at, name, kind)
            }
        }
    }

    fn branch(
        &mut self,
        with: bool,
        branch: &Branch,
        dot: Kind,
        frame: &mut Frame,
    ) -> Result<(), Fault> {
        let kind = self.pipeline(&branch.condition, dot, frame)?;
        if let Some((slot, declares)) = branch.variable {
            set(frame, slot, declares, kind, branch.condition.at)?;
        }
        self.nodes(&branch.body, if with { kind } else { dot }, frame)
    }

    fn call(&mut self, at: usize, name: &Arc<str>, dot: Kind) -> Result<(), Fault> {
        let program = self.program;
        let Some(body) = program.defined.get(name) else {
            return Err(Fault::new(at, format!("template {name:?} not defined")));
        };
        if self.calling.contains(name) {
            let message = format!("template {name:?} calls itself, which is not supported");
            return Err(Fault::new(at, message));
        }
        if self.depth >= MAX_DEPTH {
            let message =
                format!("nested deeper than {MAX_DEPTH} levels, with the templates called");
            return Err(Fault::new(at, message));
        }
        if !self.seen.insert((name.clone(), dot)) {
            return Ok(());
        }
        self.calling.push(name.clone());
        self.body(body, dot)?;
        self.calling.pop();
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: Kind, frame: &Frame) -> Result<Kind, Fault> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot, frame)?);
        }
        Ok(piped.unwrap_or(Kind::Nothing))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Kind>,
        dot: Kind,
        frame: &Frame,
    ) -> Result<Kind, Fault> {
        let Term::Function(function) = command.first.term else {
            let given = command.arguments.first().map(|a| a.at);
            return match given.or(piped.map(|_| command.first.at)) {
                Some(at) => Err(Fault::new(at, "can't give argument to non-function")),
                None => self.operand(&command.first, dot, frame),
            };
        };
        let mut kinds = Vec::with_capacity(command.arguments.len() + 1);
        for argument in &command.arguments {
            kinds.push(self.operand(argument, dot, frame)?);
        }
        kinds.extend(piped);
        self.function(command.first.at, function, &command.arguments, &kinds)
    }

    fn operand(&mut self, operand: &Operand, dot: Kind, frame: &Frame) -> Result<Kind, Fault> {
        let kind = match &operand.term {
            Term::Dot => dot,
            Term::Variable(slot) => frame[*slot],
            Term::Text(_) => Kind::Text,
            Term::Int(_) => Kind::Int,
            Term::Bool(_) => Kind::Bool,
            Term::Parentheses(inner) => self.pipeline(inner, dot, frame)?,
            Term::Function(function) => self.function(operand.at, *function, &[], &[])?,
        };
        operand
            .fields
            .iter()
            .try_fold(kind, |kind, field| self.field(kind, field))
    }

    fn field(&mut self, kind: Kind, field: &Name) -> Result<Kind, Fault> {
        let name = &*field.name;
        match (kind, name) {
            (Kind::Root, "Pod") => Ok(Kind::Pod),
            (Kind::Root, "Context") => Ok(Kind::Context),
            (Kind::Pod, name) => match PodField::named(name) {
                Some(read) => {
                    if !self.reads.contains(&read) {
                        self.reads.push(read);
                    }
                    Ok(Kind::Text)
                }
                None => Err(no_field(kind, field)),
            },
            (Kind::Context, name) => self.key(field.at, name),
            (Kind::Any, _) => Ok(Kind::Any),
            _ => Err(no_field(kind, field)),
        }
    }

    fn key(&self, at: usize, key: &str) -> Result<Kind, Fault> {
        if self.context.contains_key(key) {
            return Ok(Kind::Text);
        }
        let known: Vec<&str> = self.context.keys().take(20).map(|k| &**k).collect();
        let known = match known.is_empty() {
            true => "has no keys at all".to_owned(),
            false => format!("has {}", known.join(", ")),
        };
        let message = format!(
            "context has no key {}; it {known}",
            super::super::quoted(key)
        );
        Err(Fault::missing_key(at, message))
    }

    fn function(
        &mut self,
        at: usize,
        function: Function,
        written: &[Operand],
        kinds: &[Kind],
    ) -> Result<Kind, Fault> {
        let name = function.name();
        let (least, most) = function.arity();
        if kinds.len() < least || kinds.len() > most {
            let wanted = match (least, most) {
                (least, most) if least == most => least.to_string(),
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            let got = kinds.len();
            let message = format!("wrong number of args for {name}: want {wanted} got {got}");
            return Err(Fault::new(at, message));
        }
        match function {
            Function::And | Function::Or => {
                let same = kinds.iter().all(|k| *k == kinds[0]);
                Ok(if same { kinds[0] } else { Kind::Any })
            }
            Function::Not => Ok(Kind::Bool),
            Function::Eq | Function::Ne => comparable(at, kinds, true),
            Function::Lt | Function::Le | Function::Gt | Function::Ge => {
                comparable(at, kinds, false)
            }
            Function::Index => self.index(at, written, kinds),
            Function::Slice => {
                let numbers = kinds[1..]
                    .iter()
                    .all(|k| matches!(k, Kind::Int | Kind::Any));
                match kinds[0] {
                    Kind::Text | Kind::Any if numbers => Ok(Kind::Text),
                    Kind::Text | Kind::Any => {
                        Err(Fault::new(at, "slice takes a string and numbers"))
                    }
                    kind => Err(Fault::new(at, format!("can't slice {}", kind.shown()))),
                }
            }
            Function::Len => match kinds[0] {
                Kind::Text | Kind::Context | Kind::Any => Ok(Kind::Int),
                kind => Err(Fault::new(at, format!("len of {}", kind.shown()))),
            },
            Function::Print | Function::Println | Function::Html | Function::Urlquery => {
                kinds.iter().try_for_each(|k| must_print(at, *k))?;
                Ok(Kind::Text)
            }
            Function::Printf => {
                if !matches!(kinds[0], Kind::Text | Kind::Any) {
                    return Err(Fault::new(at, "the first argument of printf is its format"));
                }
                if let Some(format) = written.first().and_then(constant) {
                    let checked = printf::parse(format)
                        .and_then(|pieces| printf::check(&pieces, &kinds[1..]));
                    checked.map_err(|why| Fault::new(at, why))?;
                }
                Ok(Kind::Text)
            }
        }
    }

    fn index(&self, at: usize, written: &[Operand], kinds: &[Kind]) -> Result<Kind, Fault> {
        let mut kind = kinds[0];
        for (n, index) in kinds.iter().enumerate().skip(1) {
            kind = match (kind, index) {
                (Kind::Context, Kind::Text) => match written.get(n).and_then(constant) {
                    Some(key) => self.key(written[n].at, key)?,
                    None => Kind::Text,
                },
                (Kind::Context, Kind::Any) => Kind::Text,
                (Kind::Text, Kind::Int | Kind::Any) => Kind::Int,
                (Kind::Any, _) => Kind::Any,
                (kind, index) => {
                    let (kind, index) = (kind.shown(), index.shown());
                    let message = format!("can't index {kind} with {index}");
                    return Err(Fault::new(at, message));
                }
            };
        }
        Ok(kind)
    }
}

/// A string that is written in the template.
fn constant(operand: &Operand) -> Option<&str> {
    match &operand.term {
        Term::Text(text) => Some(text),
        _ => None,
    }
}

fn no_field(kind: Kind, field: &Name) -> Fault {
    let of = match kind {
        Kind::Root => "\".\", which has Pod and Context",
        Kind::Pod => {
            "\".Pod\", which has Name, UID, Namespace, ServiceAccount, Hostname and NodeName"
        }
        kind => kind.shown(),
    };
    let name = super::super::quoted(&field.name);
    let name = name.trim_matches('"');
    Fault::new(field.at, format!("can't evaluate field {name} in {of}"))
}

fn must_print(at: usize, kind: Kind) -> Result<(), Fault> {
    match kind.prints() {
        true => Ok(()),
        false => Err(Fault::new(
            at,
            format!("{} cannot be printed", kind.shown()),
        )),
    }
}

/// A variable keeps the kind that it is declared with.
fn set(frame: &mut Frame, slot: usize, declares: bool, kind: Kind, at: usize) -> Result<(), Fault> {
    if declares {
        frame[slot] = kind;
    } else if frame[slot] != kind && frame[slot] != Kind::Any {
        let (old, new) = (frame[slot].shown(), kind.shown());
        let message = format!("the variable holds {old} and cannot be set to {new}");
        return Err(Fault::new(at, message));
    }
    Ok(())
}

fn comparable(at: usize, kinds: &[Kind], booleans: bool) -> Result<Kind, Fault> {
    let known: Vec<Kind> = kinds.iter().copied().filter(|k| *k != Kind::Any).collect();
    let fits = |k: &Kind| matches!(k, Kind::Text | Kind::Int) || booleans && *k == Kind::Bool;
    if !known.iter().all(fits) {
        return Err(Fault::new(at, "invalid type for comparison"));
    }
    match known.windows(2).all(|w| w[0] == w[1]) {
        true => Ok(Kind::Bool),
        false => Err(Fault::new(at, "incompatible types for comparison")),
    }
}
