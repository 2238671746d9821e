//! From tokens to a tree.

use super::{
    Span,
    lexer::{Lexer, Token},
};

/// Deeper than any configuration needs; a bound for hostile files.
const DEEPEST: usize = 64;

/// Text that is not HCL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What mends it.
    pub help: Option<String>,
}

impl SyntaxError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A key and its value; a repeated key is a repeated item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// As written, without quotes.
    pub key: String,
    /// Of the key.
    pub key_span: Span,
    /// Words between the key and `{`.
    pub labels: Vec<(String, Span)>,
    /// What follows.
    pub value: Node,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub kind: NodeKind,
    /// Where.
    pub span: Span,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A string, unquoted.
    Text(String),
    /// A number, as written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// `[...]`
    List(Vec<Node>),
    /// `{...}`
    Object(Vec<Item>),
}

impl NodeKind {
    /// What it is, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            NodeKind::Text(_) => "a string",
            NodeKind::Number(_) => "a number",
            NodeKind::Bool(_) => "true or false",
            NodeKind::List(_) => "a list",
            NodeKind::Object(_) => "a block",
        }
    }
}

/// Parses a whole file.
///
/// # Errors
/// The first thing that is not HCL.
pub fn parse(source: &str) -> Result<Vec<Item>, SyntaxError> {
    let mut parser = Parser::new(source)?;
    if parser.token == Token::LeftBrace {
        parser.is_json = true;
        let open = parser.span.clone();
        parser.advance()?;
        let items = parser.items(Some(open), 1)?;
        parser.expect_end()?;
        return Ok(items);
    }
    let items = parser.items(None, 0)?;
    parser.expect_end()?;
    Ok(items)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    span: Span,
    /// In JSON a comma is between two items, always: the original lost what followed a missing one.
    is_json: bool,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Result<Self, SyntaxError> {
        let mut lexer = Lexer::new(source);
        let (token, span) = lexer.next()?;
        Ok(Self {
            lexer,
            token,
            span,
            is_json: false,
        })
    }

    fn advance(&mut self) -> Result<(Token, Span), SyntaxError> {
        let (token, span) = self.lexer.next()?;
        Ok((
            std::mem::replace(&mut self.token, token),
            std::mem::replace(&mut self.span, span),
        ))
    }

    fn unexpected(&self, wanted: &str) -> SyntaxError {
        SyntaxError::new(
            self.span.clone(),
            format!("expected {wanted}, found {}", self.token.name()),
        )
    }

    fn expect_end(&self) -> Result<(), SyntaxError> {
        match self.token {
            Token::End => Ok(()),
            _ => Err(self.unexpected("a key")),
        }
    }

    /// Items up to the closing brace (which is consumed), or to the end of the file.
    fn items(&mut self, open: Option<Span>, depth: usize) -> Result<Vec<Item>, SyntaxError> {
        if depth > DEEPEST {
            return Err(SyntaxError::new(
                self.span.clone(),
                "blocks are nested too deeply",
            ));
        }
        let mut items = Vec::new();
        loop {
            match (&self.token, &open) {
                (Token::RightBrace, Some(_)) => {
                    self.advance()?;
                    return Ok(items);
                }
                (Token::End, None) => return Ok(items),
                (Token::End, Some(open)) => {
                    return Err(SyntaxError::new(open.clone(), "block not closed")
                        .help("close it with `}`"));
                }
                _ => items.push(self.item(depth)?),
            }
            match self.token {
                Token::Comma if open.is_some() => drop(self.advance()?),
                Token::RightBrace | Token::End => {}
                _ if self.is_json => return Err(self.unexpected("`,` or `}`")),
                _ => {}
            }
        }
    }

    fn key(&mut self) -> Result<Option<(String, Span)>, SyntaxError> {
        match &self.token {
            Token::Ident(_) | Token::Text(_) | Token::Bool(_) => {}
            _ => return Ok(None),
        }
        let (token, span) = self.advance()?;
        Ok(Some(match token {
            Token::Ident(word) | Token::Text(word) => (word, span),
            other => (other.name(), span),
        }))
    }

    fn item(&mut self, depth: usize) -> Result<Item, SyntaxError> {
        let Some((key, key_span)) = self.key()? else {
            return Err(self.unexpected("a key"));
        };
        let mut labels = Vec::new();
        loop {
            match &self.token {
                Token::Assign | Token::Colon => {
                    if !labels.is_empty() {
                        return Err(self.unexpected("`{` after the words that follow a key"));
                    }
                    self.advance()?;
                    let value = self.value(depth)?;
                    return Ok(Item {
                        key,
                        key_span,
                        labels,
                        value,
                    });
                }
                Token::LeftBrace => {
                    let value = self.value(depth)?;
                    return Ok(Item {
                        key,
                        key_span,
                        labels,
                        value,
                    });
                }
                _ => match self.key()? {
                    Some(label) => labels.push(label),
                    None if labels.is_empty() => {
                        let what = format!("key {key:?} has no value");
                        return Err(
                            SyntaxError::new(key_span, what).help(format!("write {key} = \"...\""))
                        );
                    }
                    None => return Err(self.unexpected("`=` or `{`")),
                },
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if !matches!(
            self.token,
            Token::Text(_)
                | Token::Number(_)
                | Token::Bool(_)
                | Token::LeftBrace
                | Token::LeftBracket
        ) {
            let mut error = self.unexpected("a value");
            if let Token::Ident(word) = &self.token {
                error = error.help(format!("write it in quotes: {word:?}"));
            }
            return Err(error);
        }
        let (token, span) = self.advance()?;
        let kind = match token {
            Token::Text(text) => NodeKind::Text(text),
            Token::Number(text) => NodeKind::Number(text),
            Token::Bool(b) => NodeKind::Bool(b),
            Token::LeftBrace => NodeKind::Object(self.items(Some(span.clone()), depth + 1)?),
            _ => NodeKind::List(self.list(&span, depth + 1)?),
        };
        let span = match kind {
            NodeKind::Object(_) | NodeKind::List(_) => span.start..span.end,
            _ => span,
        };
        Ok(Node { kind, span })
    }

    fn list(&mut self, open: &Span, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        if depth > DEEPEST {
            return Err(SyntaxError::new(
                open.clone(),
                "lists are nested too deeply",
            ));
        }
        let mut nodes = Vec::new();
        loop {
            match self.token {
                Token::RightBracket => {
                    self.advance()?;
                    return Ok(nodes);
                }
                Token::End => {
                    return Err(
                        SyntaxError::new(open.clone(), "list not closed").help("close it with `]`")
                    );
                }
                _ => nodes.push(self.value(depth)?),
            }
            match self.token {
                Token::Comma => {
                    self.advance()?;
                }
                Token::RightBracket | Token::End => {}
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }
}
