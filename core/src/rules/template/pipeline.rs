//! Pipelines: declarations, commands, operands.

use super::{
    Fault,
    ast::{Command, Function, Name, Operand, Pipeline, Term},
    lexer::Token,
    parser::{Declares, Parser},
};

/// A variable's name and where it stands.
type Named<'t> = (usize, &'t str);

/// What a pipeline declares.
pub(super) struct Declared {
    pub(super) slots: Vec<usize>,
    pub(super) declares: bool,
}

impl<'t> Parser<'t> {
    /// A pipeline up to `end`, which is passed.
    pub(super) fn pipeline(
        &mut self,
        whereabouts: &str,
        end: Token<'t>,
        may: Declares,
    ) -> Result<(Declared, Pipeline), Fault> {
        let (names, declares) = self.declarations(whereabouts, may)?;
        self.skip_space();
        let at = self.at();
        let mut commands = Vec::new();
        while *self.peek() != end || commands.is_empty() {
            if *self.peek() == end {
                return Err(Fault::new(at, format!("missing value for {whereabouts}")));
            }
            let begins = self.at();
            let command = self.command(whereabouts)?;
            let executable = match &command.first.term {
                Term::Bool(_) | Term::Int(_) | Term::Text(_) => false,
                Term::Dot => !command.first.fields.is_empty(),
                _ => true,
            };
            if !commands.is_empty() && !executable {
                let stage = commands.len() + 1;
                let message = format!("non executable command in pipeline stage {stage}");
                return Err(Fault::new(begins, message));
            }
            commands.push(command);
            self.skip_space();
        }
        self.advance();
        let mut slots = Vec::new();
        for (at, name) in names {
            slots.push(match declares {
                true => self.declare(name),
                false => self.find(at, name)?,
            });
        }
        Ok((Declared { slots, declares }, Pipeline { at, commands }))
    }

    /// `$x :=`, `$x =`, `$i, $x :=`: the names, and whether they are new.
    fn declarations(
        &mut self,
        whereabouts: &str,
        may: Declares,
    ) -> Result<(Vec<Named<'t>>, bool), Fault> {
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let Token::Variable(name) = *self.peek() else {
                break;
            };
            let begins = self.next;
            let at = self.at();
            self.advance();
            self.skip_space();
            match self.peek() {
                Token::Declare | Token::Assign if may == Declares::Nothing => {
                    let message = format!("a variable cannot be set in a {whereabouts}");
                    return Err(Fault::new(at, message));
                }
                token @ (Token::Declare | Token::Assign) => {
                    let declares = *token == Token::Declare;
                    self.advance();
                    names.push((at, name));
                    return Ok((names, declares));
                }
                Token::Comma if may == Declares::Two && names.is_empty() => {
                    self.advance();
                    names.push((at, name));
                }
                Token::Comma => {
                    let message = format!("too many declarations in {whereabouts}");
                    return Err(Fault::new(at, message));
                }
                _ => {
                    self.next = begins;
                    break;
                }
            }
        }
        match names.first() {
            Some((at, _)) => Err(Fault::new(*at, "range can only initialize variables")),
            None => Ok((names, false)),
        }
    }

    fn declare(&mut self, name: &'t str) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.scope.push((name, slot));
        slot
    }

    fn find(&self, at: usize, name: &str) -> Result<usize, Fault> {
        self.scope
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, slot)| *slot)
            .ok_or_else(|| Fault::new(at, format!("undefined variable \"${name}\"")))
    }

    /// A command and the `|` after it.
    fn command(&mut self, whereabouts: &str) -> Result<Command, Fault> {
        let first = self.operand(whereabouts)?;
        let mut arguments = Vec::new();
        loop {
            match self.peek() {
                Token::Space => {
                    self.skip_space();
                    if !matches!(self.peek(), Token::Close | Token::RightParen | Token::Pipe) {
                        arguments.push(self.operand("operand")?);
                    }
                }
                Token::Close | Token::RightParen => break,
                Token::Pipe => {
                    self.advance();
                    self.skip_space();
                    if matches!(self.peek(), Token::Close | Token::RightParen) {
                        return self.unexpected("command");
                    }
                    break;
                }
                _ => return self.unexpected("operand"),
            }
        }
        Ok(Command { first, arguments })
    }

    fn operand(&mut self, whereabouts: &str) -> Result<Operand, Fault> {
        let (at, token) = (self.at(), self.peek().clone());
        let from_dot = matches!(token, Token::Field(_));
        let mut fields = Vec::new();
        let term = match token {
            Token::Dot | Token::Field(_) => Term::Dot,
            Token::Variable(name) => Term::Variable(self.find(at, name)?),
            Token::Quoted(text) => Term::Text(text.into()),
            Token::Int(n) => Term::Int(n),
            Token::Bool(b) => Term::Bool(b),
            Token::Word(word) => Term::Function(function(at, word)?),
            Token::LeftParen => {
                self.advance();
                let (_, inner) = self.deeper(|p| {
                    p.pipeline(
                        "parenthesized pipeline",
                        Token::RightParen,
                        Declares::Nothing,
                    )
                })?;
                Term::Parentheses(Box::new(inner))
            }
            _ => return self.unexpected(whereabouts),
        };
        if !matches!(term, Term::Parentheses(_)) && !from_dot {
            self.advance();
        }
        while let Token::Field(name) = *self.peek() {
            let (at, name) = (self.at(), name.into());
            fields.push(Name { at, name });
            self.advance();
        }
        let takes_fields = matches!(term, Term::Variable(_) | Term::Parentheses(_));
        if !fields.is_empty() && !takes_fields && !from_dot {
            return Err(Fault::new(at, "unexpected . after this term"));
        }
        Ok(Operand { at, term, fields })
    }
}

fn function(at: usize, word: &str) -> Result<Function, Fault> {
    Function::named(word).ok_or_else(|| {
        let why = match word {
            "nil" | "call" | "js" => "is not supported in these templates",
            _ => "is not defined",
        };
        Fault::new(at, format!("function {word:?} {why}"))
    })
}
