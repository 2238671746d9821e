//! Rendering.

use super::{
    Context, Fault, MAX_DEPTH, MAX_OUTPUT, MAX_WORK,
    ast::{Body, Branch, Command, Function, Name, Node, Operand, Pipeline, Program, Term},
    functions, too_long,
    value::{PodField, Value},
};
use crate::cluster::PodSnapshot;

pub(super) fn render(
    program: &Program,
    context: &Context,
    pod: &PodSnapshot,
) -> Result<String, Fault> {
    let mut render = Render {
        program,
        context,
        pod,
        out: String::new(),
        work: 0,
        depth: 0,
    };
    render.body(&program.main, Value::Root)?;
    Ok(render.out)
}

struct Render<'v> {
    program: &'v Program,
    context: &'v Context,
    pod: &'v PodSnapshot,
    out: String,
    work: usize,
    depth: usize,
}

type Frame<'v> = Vec<Value<'v>>;

/// What a node wants to happen next.
#[derive(PartialEq)]
enum Flow {
    Go,
    Break,
    Continue,
}

impl<'v> Render<'v> {
    /// Everything that is done costs, so that no template runs long.
    fn charge(&mut self, at: usize, bytes: usize) -> Result<(), Fault> {
        self.work += 1 + bytes / 64;
        match self.work > MAX_WORK {
            true => Err(Fault::new(at, "rendering takes too many steps")),
            false => Ok(()),
        }
    }

    fn deeper<T>(
        &mut self,
        at: usize,
        inner: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth >= 2 * MAX_DEPTH {
            return Err(Fault::new(at, "rendering nests too deep"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn write(&mut self, at: usize, text: &str) -> Result<(), Fault> {
        self.charge(at, text.len())?;
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(Fault::new(at, too_long()));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn body(&mut self, body: &'v Body, dot: Value<'v>) -> Result<(), Fault> {
        let mut frame = vec![Value::Nothing; body.slots];
        frame[0] = dot.clone();
        self.nodes(&body.nodes, &dot, &mut frame).map(drop)
    }

    fn nodes(
        &mut self,
        nodes: &'v [Node],
        dot: &Value<'v>,
        frame: &mut Frame<'v>,
    ) -> Result<Flow, Fault> {
        for node in nodes {
            let flow = self.node(node, dot, frame)?;
            if flow != Flow::Go {
                return Ok(flow);
            }
        }
        Ok(Flow::Go)
    }

    fn node(
        &mut self,
        node: &'v Node,
        dot: &Value<'v>,
        frame: &mut Frame<'v>,
    ) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.write(0, text)?,
            Node::Print(value) => {
                let printed = self.pipeline(value, dot, frame)?;
                let prints = printed.must_print();
                prints.map_err(|why| Fault::new(value.at, why))?;
                self.write(value.at, &printed.printed())?;
            }
            Node::Set { slot, value, .. } => {
                frame[*slot] = self.pipeline(value, dot, frame)?;
            }
            Node::Choose {
                with,
                branches,
                otherwise,
            } => return self.choose(*with, branches, otherwise, dot, frame),
            Node::Range { .. } => return self.range(node, dot, frame),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Call { at, name, value } => {
                let program = self.program;
                let body = program
                    .defined
                    .get(name)
                    .ok_or_else(|| Fault::new(*at, format!("template {name:?} not defined")))?;
                let inner = match value {
                    Some(value) => self.pipeline(value, dot, frame)?,
                    None => Value::Nothing,
                };
                self.charge(*at, 64 * body.slots)?;
                self.deeper(*at, |r| r.body(body, inner))?;
            }
        }
        Ok(Flow::Go)
    }

    fn choose(
        &mut self,
        with: bool,
        branches: &'v [Branch],
        otherwise: &'v [Node],
        dot: &Value<'v>,
        frame: &mut Frame<'v>,
    ) -> Result<Flow, Fault> {
        for branch in branches {
            let at = branch.condition.at;
            let value = self.pipeline(&branch.condition, dot, frame)?;
            let chosen = value.truth(self.context);
            if let Some((slot, _)) = branch.variable {
                self.charge(at, value.bytes())?;
                frame[slot] = value.clone();
            }
            if chosen {
                let inner = if with { &value } else { dot };
                return self.deeper(at, |r| r.nodes(&branch.body, inner, frame));
            }
        }
        self.deeper(0, |r| r.nodes(otherwise, dot, frame))
    }

    fn range(
        &mut self,
        node: &'v Node,
        dot: &Value<'v>,
        frame: &mut Frame<'v>,
    ) -> Result<Flow, Fault> {
        let Node::Range {
            variables,
            over,
            body,
            otherwise,
            ..
        } = node
        else {
            return Ok(Flow::Go);
        };
        let at = over.at;
        let value = self.pipeline(over, dot, frame)?;
        let context = self.context;
        let pairs: Box<dyn Iterator<Item = (Value<'v>, Value<'v>)>> = match value {
            Value::Int(n) if variables.len() < 2 => {
                Box::new((0..n).map(|i| (Value::Nothing, Value::Int(i))))
            }
            Value::Context => Box::new(
                context
                    .iter()
                    .map(|(key, value)| (Value::text(key), Value::text(value))),
            ),
            Value::Nothing => Box::new(std::iter::empty()),
            other => {
                let message = format!("range can't iterate over {}", other.kind().shown());
                return Err(Fault::new(at, message));
            }
        };
        let mut any = false;
        for (key, element) in pairs {
            any = true;
            self.charge(at, element.bytes())?;
            if let [first, second] = variables[..] {
                frame[first] = key;
                frame[second] = element.clone();
            } else if let Some(only) = variables.first() {
                frame[*only] = element.clone();
            }
            let flow = self.deeper(at, |r| r.nodes(body, &element, frame))?;
            if flow == Flow::Break {
                return Ok(Flow::Go);
            }
        }
        if any {
            return Ok(Flow::Go);
        }
        self.deeper(at, |r| r.nodes(otherwise, dot, frame))
    }

    fn pipeline(
        &mut self,
        pipeline: &'v Pipeline,
        dot: &Value<'v>,
        frame: &Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot, frame)?);
        }
        Ok(piped.unwrap_or(Value::Nothing))
    }

    fn command(
        &mut self,
        command: &'v Command,
        piped: Option<Value<'v>>,
        dot: &Value<'v>,
        frame: &Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        let at = command.first.at;
        self.charge(at, 0)?;
        let Term::Function(function) = command.first.term else {
            return self.operand(&command.first, dot, frame);
        };
        if matches!(function, Function::And | Function::Or) {
            return self.either(function, command, piped, dot, frame);
        }
        let mut arguments = Vec::with_capacity(command.arguments.len() + 1);
        for argument in &command.arguments {
            arguments.push(self.operand(argument, dot, frame)?);
        }
        arguments.extend(piped);
        self.function(at, function, &arguments)
    }

    /// `and` and `or` look at their arguments only until one decides.
    fn either(
        &mut self,
        function: Function,
        command: &'v Command,
        piped: Option<Value<'v>>,
        dot: &Value<'v>,
        frame: &Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        let mut last = Value::Nothing;
        for argument in &command.arguments {
            last = self.operand(argument, dot, frame)?;
            if last.truth(self.context) == (function == Function::Or) {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(
        &mut self,
        operand: &'v Operand,
        dot: &Value<'v>,
        frame: &Frame<'v>,
    ) -> Result<Value<'v>, Fault> {
        let at = operand.at;
        let value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Variable(slot) => frame[*slot].clone(),
            Term::Text(text) => Value::text(text),
            Term::Int(n) => Value::Int(*n),
            Term::Bool(b) => Value::Bool(*b),
            Term::Parentheses(inner) => self.deeper(at, |r| r.pipeline(inner, dot, frame))?,
            Term::Function(function) => self.function(at, *function, &[])?,
        };
        self.charge(at, value.bytes())?;
        operand
            .fields
            .iter()
            .try_fold(value, |value, field| self.field(value, field))
    }

    fn field(&self, value: Value<'v>, field: &Name) -> Result<Value<'v>, Fault> {
        let found = match (&value, &*field.name) {
            (Value::Root, "Pod") => Some(Value::Pod),
            (Value::Root, "Context") => Some(Value::Context),
            (Value::Pod, name) => PodField::named(name).map(|f| Value::text(f.of(self.pod))),
            (Value::Context, key) => self.context.get(key).map(|v| Value::text(v)),
            _ => None,
        };
        found.ok_or_else(|| {
            let (name, kind) = (super::super::quoted(&field.name), value.kind().shown());
            Fault::new(field.at, format!("can't evaluate field {name} in {kind}"))
        })
    }

    fn function(
        &mut self,
        at: usize,
        function: Function,
        arguments: &[Value<'v>],
    ) -> Result<Value<'v>, Fault> {
        let bytes: usize = arguments.iter().map(Value::bytes).sum();
        self.charge(at, bytes)?;
        functions::call(function, arguments, self.context).map_err(|why| Fault::new(at, why))
    }
}
