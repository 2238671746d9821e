//! From text to tokens.

use super::{
    Span, SyntaxError, heredoc,
    unquote::{is_json, unquote},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Text(String),
    /// As written.
    Number(String),
    Bool(bool),
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Assign,
    Colon,
    Comma,
    End,
}

impl Token {
    pub(super) fn name(&self) -> String {
        match self {
            Token::Ident(word) => format!("the word {word:?}"),
            Token::Text(_) => "a string".into(),
            Token::Number(text) => format!("the number {text}"),
            Token::Bool(b) => format!("{b}"),
            Token::LeftBrace => "`{`".into(),
            Token::RightBrace => "`}`".into(),
            Token::LeftBracket => "`[`".into(),
            Token::RightBracket => "`]`".into(),
            Token::Assign => "`=`".into(),
            Token::Colon => "`:`".into(),
            Token::Comma => "`,`".into(),
            Token::End => "the end of the file".into(),
        }
    }
}

pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    json: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source,
            at: 0,
            json: is_json(source),
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(char::is_whitespace);
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let start = self.at;
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => {
                        return Err(SyntaxError::new(start..start + 2, "comment not terminated")
                            .help("close it with */"));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<(Token, Span), SyntaxError> {
        self.skip_blank()?;
        let start = self.at;
        let Some(c) = self.peek() else {
            return Ok((Token::End, start..start));
        };
        let single = match c {
            '{' => Some(Token::LeftBrace),
            '}' => Some(Token::RightBrace),
            '[' => Some(Token::LeftBracket),
            ']' => Some(Token::RightBracket),
            '=' => Some(Token::Assign),
            ':' => Some(Token::Colon),
            ',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok((token, start..self.at));
        }
        let token = match c {
            '"' => self.text()?,
            '<' if self.rest().starts_with("<<") => self.heredoc()?,
            c if c.is_alphabetic() || c == '_' => self.word(),
            c if c.is_ascii_digit() || c == '-' => self.number()?,
            c => {
                let span = start..start + c.len_utf8();
                return Err(SyntaxError::new(span, format!("illegal character {c:?}")));
            }
        };
        Ok((token, start..self.at))
    }

    fn word(&mut self) -> Token {
        let word = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        match word {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            word => Token::Ident(word.to_owned()),
        }
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        let exponent = self.source[start..self.at].ends_with(['e', 'E'])
            && !self.source[start..self.at].contains(['x', 'X']);
        if exponent && self.peek().is_some_and(|c| c == '+' || c == '-') {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let text = &self.source[start..self.at];
        let digits = text.strip_prefix('-').unwrap_or(text);
        let legal = match digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
        {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => {
                digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok()
            }
        };
        if !legal {
            return Err(
                SyntaxError::new(start..self.at, format!("{text:?} is not a number"))
                    .help("put it in quotes if it is text"),
            );
        }
        Ok(Token::Number(text.to_owned()))
    }

    /// A quoted string; `${...}` in it is text and may itself hold quotes, but not in JSON.
    fn text(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        let bytes = self.source.as_bytes();
        let mut at = start + 1;
        let mut braces = 0usize;
        loop {
            match bytes.get(at) {
                None => break,
                Some(b'\n') if braces == 0 => break,
                Some(b'"') if braces == 0 => {
                    self.at = at + 1;
                    let inner = &self.source[start + 1..at];
                    return unquote(inner, start + 1, self.json).map(Token::Text);
                }
                Some(b'$') if !self.json && braces == 0 && bytes.get(at + 1) == Some(&b'{') => {
                    braces = 1;
                    at += 1;
                }
                Some(b'{') if braces > 0 => braces += 1,
                Some(b'}') if braces > 0 => braces -= 1,
                Some(b'\\') => at += 1,
                Some(_) => {}
            }
            at += 1;
        }
        let line_end = self.source[start..]
            .find('\n')
            .map_or(self.source.len(), |n| start + n);
        let what = if braces > 0 {
            "`${` in a string is not closed"
        } else {
            "string not terminated"
        };
        Err(SyntaxError::new(start..line_end, what).help("close it with a quote on the same line"))
    }

    fn heredoc(&mut self) -> Result<Token, SyntaxError> {
        let (text, length) = heredoc::read(self.rest(), self.at)?;
        self.at += length;
        Ok(Token::Text(text))
    }
}
