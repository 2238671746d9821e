//! From tokens to a template, by the grammar of Go's `text/template/parse`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Fault, MAX_DEPTH,
    ast::{Body, Branch, Node, Program},
    lexer::{Lexed, Token, lex},
};

/// `drop_spaces`: spaces between actions are left out.
pub(super) fn parse(text: &str, drop_spaces: bool) -> Result<Program, Fault> {
    let mut parser = Parser {
        tokens: lex(text)?,
        next: 0,
        depth: 0,
        scope: vec![("", 0)],
        slots: 1,
        loops: 0,
        drop_spaces,
        defined: BTreeMap::new(),
    };
    let (nodes, stop) = parser.list(true)?;
    match stop {
        Stop::End(at) => return Err(Fault::new(at, "unexpected {{end}}")),
        Stop::Else(at) => return Err(Fault::new(at, "unexpected {{else}}")),
        Stop::TheEnd => {}
    }
    Ok(Program {
        main: Body {
            nodes,
            slots: parser.slots,
        },
        defined: parser.defined,
    })
}

/// What a pipeline may declare.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Declares {
    Nothing,
    One,
    /// `range` may have two.
    Two,
}

/// What ended a list of nodes, and where.
enum Stop {
    End(usize),
    Else(usize),
    TheEnd,
}

pub(super) struct Parser<'t> {
    tokens: Vec<Lexed<'t>>,
    pub(super) next: usize,
    depth: usize,
    /// Variables that are visible, the innermost last, and their slots.
    pub(super) scope: Vec<(&'t str, usize)>,
    pub(super) slots: usize,
    loops: usize,
    drop_spaces: bool,
    defined: BTreeMap<Arc<str>, Body>,
}

impl<'t> Parser<'t> {
    pub(super) fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    pub(super) fn peek(&self) -> &Token<'t> {
        &self.tokens[self.next].1
    }

    /// The last token is [`Token::End`], which is never passed.
    pub(super) fn advance(&mut self) -> Lexed<'t> {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    pub(super) fn skip_space(&mut self) {
        while *self.peek() == Token::Space {
            self.advance();
        }
    }

    pub(super) fn unexpected<T>(&self, whereabouts: &str) -> Result<T, Fault> {
        let message = format!("unexpected {} in {whereabouts}", self.peek().shown());
        Err(Fault::new(self.at(), message))
    }

    fn close(&mut self, whereabouts: &str) -> Result<(), Fault> {
        self.skip_space();
        if *self.peek() != Token::Close {
            return self.unexpected(whereabouts);
        }
        self.advance();
        Ok(())
    }

    pub(super) fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Fault::new(self.at(), message));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, top: bool) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        loop {
            let (at, token) = self.advance();
            match token {
                Token::Text(text) => {
                    let text = match self.drop_spaces {
                        true => text.replace(' ', ""),
                        false => text.to_owned(),
                    };
                    nodes.push(Node::Text(text.into()));
                }
                Token::End => return Ok((nodes, Stop::TheEnd)),
                Token::Open => {
                    self.skip_space();
                    match self.peek() {
                        Token::Word("end") => {
                            self.advance();
                            self.close("end")?;
                            return Ok((nodes, Stop::End(at)));
                        }
                        Token::Word("else") => {
                            self.advance();
                            return Ok((nodes, Stop::Else(at)));
                        }
                        Token::Word("define") if !top => {
                            return Err(Fault::new(at, "unexpected {{define}}"));
                        }
                        Token::Word(word) if is_keyword(word) => {
                            let word = *word;
                            self.advance();
                            if let Some(node) = self.control(at, word)? {
                                nodes.push(node);
                            }
                        }
                        _ => nodes.push(self.print()?),
                    }
                }
                _ => return Err(Fault::new(at, "unexpected token")),
            }
        }
    }

    fn print(&mut self) -> Result<Node, Fault> {
        let (declared, value) = self.pipeline("command", Token::Close, Declares::One)?;
        Ok(match declared.slots.first() {
            Some(slot) => Node::Set {
                slot: *slot,
                declares: declared.declares,
                value,
            },
            None => Node::Print(value),
        })
    }

    fn control(&mut self, at: usize, word: &'t str) -> Result<Option<Node>, Fault> {
        match word {
            "if" | "with" => self.deeper(|p| p.choose(at, word)).map(Some),
            "range" => self.deeper(|p| p.range(at)).map(Some),
            "break" | "continue" => {
                self.close(word)?;
                if self.loops == 0 {
                    let message = format!("{{{{{word}}}}} outside {{{{range}}}}");
                    return Err(Fault::new(at, message));
                }
                Ok(Some(match word {
                    "break" => Node::Break,
                    _ => Node::Continue,
                }))
            }
            "template" => {
                let name = self.template_name("template clause")?;
                self.skip_space();
                let value = match self.peek() {
                    Token::Close => {
                        self.advance();
                        None
                    }
                    _ => {
                        let nothing = Declares::Nothing;
                        let (_, value) = self.pipeline("template clause", Token::Close, nothing)?;
                        Some(value)
                    }
                };
                Ok(Some(Node::Call { at, name, value }))
            }
            "define" => {
                let name = self.template_name("define clause")?;
                self.close("define clause")?;
                self.deeper(|p| p.definition(at, name))?;
                Ok(None)
            }
            "block" => {
                let name = self.template_name("block clause")?;
                let (_, value) = self.pipeline("block clause", Token::Close, Declares::Nothing)?;
                self.deeper(|p| p.definition(at, name.clone()))?;
                let value = Some(value);
                Ok(Some(Node::Call { at, name, value }))
            }
            _ => {
                let message = format!("{word:?} is no value and no command");
                Err(Fault::new(at, message))
            }
        }
    }

    fn template_name(&mut self, whereabouts: &str) -> Result<Arc<str>, Fault> {
        self.skip_space();
        match self.peek() {
            Token::Quoted(name) => {
                let name = Arc::from(&**name);
                self.advance();
                Ok(name)
            }
            _ => self.unexpected(whereabouts),
        }
    }

    /// The body of a `define` or `block`, which sees no variables of its surroundings.
    fn definition(&mut self, at: usize, name: Arc<str>) -> Result<(), Fault> {
        let scope = std::mem::replace(&mut self.scope, vec![("", 0)]);
        let (slots, loops) = (self.slots, self.loops);
        (self.slots, self.loops) = (1, 0);
        let (nodes, stop) = self.list(false)?;
        self.must_end(at, &stop)?;
        let body = Body {
            nodes,
            slots: self.slots,
        };
        self.scope = scope;
        (self.slots, self.loops) = (slots, loops);
        if self.defined.insert(name.clone(), body).is_some() {
            let message = format!("multiple definition of template {name:?}");
            return Err(Fault::new(at, message));
        }
        Ok(())
    }

    fn must_end(&self, at: usize, stop: &Stop) -> Result<(), Fault> {
        match stop {
            Stop::End(_) => Ok(()),
            Stop::Else(at) => Err(Fault::new(*at, "unexpected {{else}}")),
            Stop::TheEnd => Err(Fault::new(at, "this action has no {{end}}")),
        }
    }

    fn choose(&mut self, at: usize, word: &'t str) -> Result<Node, Fault> {
        let outer = self.scope.len();
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let (declared, condition) = self.pipeline(word, Token::Close, Declares::One)?;
            let inner = self.scope.len();
            let (body, stop) = self.list(false)?;
            self.scope.truncate(inner);
            branches.push(Branch {
                variable: declared.slots.first().map(|s| (*s, declared.declares)),
                condition,
                body,
            });
            let Stop::Else(_) = stop else {
                self.must_end(at, &stop)?;
                break;
            };
            self.skip_space();
            if *self.peek() == Token::Word(word) {
                self.advance();
                continue;
            }
            self.close("else")?;
            let (body, stop) = self.list(false)?;
            self.must_end(at, &stop)?;
            otherwise = body;
            break;
        }
        self.scope.truncate(outer);
        Ok(Node::Choose {
            with: word == "with",
            branches,
            otherwise,
        })
    }

    fn range(&mut self, at: usize) -> Result<Node, Fault> {
        let outer = self.scope.len();
        let (declared, over) = self.pipeline("range", Token::Close, Declares::Two)?;
        let inner = self.scope.len();
        self.loops += 1;
        let (body, stop) = self.list(false)?;
        self.loops -= 1;
        self.scope.truncate(inner);
        let mut otherwise = Vec::new();
        if let Stop::Else(_) = stop {
            self.close("else")?;
            let (nodes, stop) = self.list(false)?;
            self.must_end(at, &stop)?;
            otherwise = nodes;
        } else {
            self.must_end(at, &stop)?;
        }
        self.scope.truncate(outer);
        Ok(Node::Range {
            variables: declared.slots,
            declares: declared.declares,
            over,
            body,
            otherwise,
        })
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "with" | "range" | "template" | "define" | "block" | "break" | "continue"
    )
}
