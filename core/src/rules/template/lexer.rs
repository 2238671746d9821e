//! From text to tokens, as Go's `text/template` cuts it.

use super::Fault;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// What stands between actions, trimmed as its neighbours' markers say.
    Text(&'t str),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    Pipe,
    Declare,
    Assign,
    Comma,
    LeftParen,
    RightParen,
    Dot,
    /// `.Name`
    Field(&'t str),
    /// `$name`; `$` alone is the empty name.
    Variable(&'t str),
    /// A keyword or a function.
    Word(&'t str),
    Quoted(String),
    Int(i64),
    Bool(bool),
    End,
}

impl Token<'_> {
    pub(super) fn shown(&self) -> String {
        match self {
            Token::Text(_) | Token::Open => "text".into(),
            Token::Close => "\"}}\"".into(),
            Token::Space => "space".into(),
            Token::Pipe => "\"|\"".into(),
            Token::Declare => "\":=\"".into(),
            Token::Assign => "\"=\"".into(),
            Token::Comma => "\",\"".into(),
            Token::LeftParen => "\"(\"".into(),
            Token::RightParen => "\")\"".into(),
            Token::Dot => "\".\"".into(),
            Token::Field(name) => format!("\".{name}\""),
            Token::Variable(name) => format!("\"${name}\""),
            Token::Word(word) => format!("{word:?}"),
            Token::Quoted(text) => format!("the string {text:?}"),
            Token::Int(n) => format!("the number {n}"),
            Token::Bool(b) => format!("\"{b}\""),
            Token::End => "the end of the template".into(),
        }
    }
}

/// A token and the byte at which it begins.
pub(super) type Lexed<'t> = (usize, Token<'t>);

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a trim marker and the closing delimiter follow: white space, `-}}`.
fn trims_and_closes(rest: &str) -> bool {
    rest.starts_with(is_space) && rest[1..].starts_with("-}}")
}

pub(super) fn lex(text: &str) -> Result<Vec<Lexed<'_>>, Fault> {
    let mut lexer = Lexer {
        text,
        at: 0,
        parens: 0,
        tokens: Vec::new(),
    };
    lexer.text()?;
    lexer.tokens.push((text.len(), Token::End));
    Ok(lexer.tokens)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    parens: usize,
    tokens: Vec<Lexed<'t>>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, bytes: usize, token: Token<'t>) {
        self.tokens.push((self.at, token));
        self.at += bytes;
    }

    fn text(&mut self) -> Result<(), Fault> {
        while let Some(length) = self.rest().find(OPEN) {
            let open = self.at + length;
            let after = &self.text[open + OPEN.len()..];
            let trims = after.starts_with('-') && after[1..].starts_with(is_space);
            let mut before = &self.text[self.at..open];
            if trims {
                before = before.trim_end_matches(is_space);
            }
            if !before.is_empty() {
                self.push(0, Token::Text(before));
            }
            self.at = open;
            let marker = OPEN.len() + if trims { 2 } else { 0 };
            if self.text[open + marker..].starts_with("/*") {
                self.at += marker;
                self.comment()?;
            } else {
                self.push(marker, Token::Open);
                self.action(open)?;
            }
        }
        if !self.rest().is_empty() {
            let rest = self.rest();
            self.push(rest.len(), Token::Text(rest));
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let Some(end) = self.rest().find("*/") else {
            return Err(Fault::new(self.at, "unclosed comment"));
        };
        self.at += end + 2;
        match self.closes() {
            true => Ok(()),
            false => Err(Fault::new(self.at, "comment ends before closing delimiter")),
        }
    }

    /// Goes past a closing delimiter, and past the white space that its marker trims.
    fn closes(&mut self) -> bool {
        if trims_and_closes(self.rest()) {
            self.at += 2 + CLOSE.len();
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_space).len();
            return true;
        }
        let closes = self.rest().starts_with(CLOSE);
        if closes {
            self.at += CLOSE.len();
        }
        closes
    }

    fn action(&mut self, open: usize) -> Result<(), Fault> {
        loop {
            let at = self.at;
            if self.closes() {
                if self.parens > 0 {
                    return Err(Fault::new(at, "unclosed left paren"));
                }
                self.tokens.push((at, Token::Close));
                return Ok(());
            }
            let Some(c) = self.rest().chars().next() else {
                return Err(Fault::new(open, "unclosed action"));
            };
            match c {
                c if is_space(c) => self.space(),
                '=' => self.push(1, Token::Assign),
                ':' if self.rest().starts_with(":=") => self.push(2, Token::Declare),
                ':' => return Err(Fault::new(at, "expected :=")),
                '|' => self.push(1, Token::Pipe),
                ',' => self.push(1, Token::Comma),
                '(' => {
                    self.push(1, Token::LeftParen);
                    self.parens += 1;
                }
                ')' => {
                    self.push(1, Token::RightParen);
                    self.parens = self
                        .parens
                        .checked_sub(1)
                        .ok_or_else(|| Fault::new(at, "unexpected right paren"))?;
                }
                '"' => self.quoted('"')?,
                '\'' => self.quoted('\'')?,
                '`' => self.raw()?,
                '$' => self.named(Token::Variable)?,
                '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.number()?;
                }
                '.' => self.named(Token::Field)?,
                '+' | '-' | '0'..='9' => self.number()?,
                c if is_alphanumeric(c) => self.word()?,
                c => {
                    let message = format!("unexpected character {c:?} in action");
                    return Err(Fault::new(at, message));
                }
            }
        }
    }

    fn space(&mut self) {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(is_space).len();
        // The last space may belong to the marker of the closing delimiter.
        if trims_and_closes(&rest[length - 1..]) {
            length -= 1;
        }
        if length > 0 {
            self.push(length, Token::Space);
        }
    }

    fn alphanumerics(&self, from: usize) -> &'t str {
        let rest = &self.text[from..];
        &rest[..rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len())]
    }

    /// A name must be followed by something that can end it.
    fn ends(&self, at: usize) -> Result<(), Fault> {
        let rest = &self.text[at..];
        match rest.chars().next() {
            None => Ok(()),
            Some(c) if is_space(c) || matches!(c, '.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(_) if rest.starts_with(CLOSE) => Ok(()),
            Some(c) => Err(Fault::new(at, format!("bad character {c:?}"))),
        }
    }

    /// `.` or `$`, and a name or nothing.
    fn named(&mut self, token: fn(&'t str) -> Token<'t>) -> Result<(), Fault> {
        let name = self.alphanumerics(self.at + 1);
        self.ends(self.at + 1 + name.len())?;
        let token = match (token(name), name) {
            (Token::Field(_), "") => Token::Dot,
            (token, _) => token,
        };
        self.push(1 + name.len(), token);
        Ok(())
    }

    fn word(&mut self) -> Result<(), Fault> {
        let word = self.alphanumerics(self.at);
        self.ends(self.at + word.len())?;
        let token = match word {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            word => Token::Word(word),
        };
        self.push(word.len(), token);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let signed = usize::from(rest.starts_with(['+', '-']));
        let digits = &rest[signed..];
        let length = digits
            .find(|c| !is_alphanumeric(c) && c != '.')
            .unwrap_or(digits.len());
        let written = &rest[..signed + length];
        let decimal = !written.contains(['x', 'X']);
        if written.contains(['.', 'i']) || decimal && written.contains(['e', 'E']) {
            let message = format!("{written:?}: only whole numbers are supported");
            return Err(Fault::new(self.at, message));
        }
        let value = integer(written)
            .ok_or_else(|| Fault::new(self.at, format!("bad number syntax: {written:?}")))?;
        self.push(written.len(), Token::Int(value));
        Ok(())
    }

    fn raw(&mut self) -> Result<(), Fault> {
        let Some(end) = self.rest()[1..].find('`') else {
            return Err(Fault::new(self.at, "unterminated raw quoted string"));
        };
        let text = self.rest()[1..=end].replace('\r', "");
        self.push(end + 2, Token::Quoted(text));
        Ok(())
    }

    /// A string in double quotes, or a character in single ones, which is a number.
    fn quoted(&mut self, quote: char) -> Result<(), Fault> {
        let inner = &self.rest()[1..];
        let mut escaped = false;
        let end = inner.char_indices().find(|(_, c)| {
            let ends = !escaped && *c == quote || *c == '\n';
            escaped = !escaped && *c == '\\';
            ends
        });
        let end = match end {
            Some((end, c)) if c == quote => end,
            _ if quote == '"' => return Err(Fault::new(self.at, "unterminated quoted string")),
            _ => return Err(Fault::new(self.at, "unterminated character constant")),
        };
        let text = unquote(&inner[..end], quote)
            .ok_or_else(|| Fault::new(self.at, "invalid escape in a string"))?;
        let token = if quote == '"' {
            Token::Quoted(text)
        } else {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Token::Int(i64::from(u32::from(c))),
                _ => return Err(Fault::new(self.at, "malformed character constant")),
            }
        };
        self.push(end + 2, token);
        Ok(())
    }
}

/// A whole number by the rules of Go's `ParseInt` with base 0.
fn integer(written: &str) -> Option<i64> {
    let (negative, digits) = match written.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, written.strip_prefix('+').unwrap_or(written)),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, body) = match &*prefix {
        "0x" => (16, &digits[2..]),
        "0o" => (8, &digits[2..]),
        "0b" => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let separated = body.starts_with('_') && radix != 10 || !body.starts_with('_');
    if !separated || body.ends_with('_') || body.contains("__") || body.starts_with(['+', '-']) {
        return None;
    }
    let body = body.replace('_', "");
    let value = i128::from(u64::from_str_radix(&body, radix).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// The text between quotes, as Go's `strconv.Unquote`; `None` where an escape is none, or makes no UTF-8.
fn unquote(inner: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let mut digits = |count: usize, radix: u32| {
            let code = u32::from_str_radix(rest.get(..count)?, radix).ok()?;
            rest = &rest[count..];
            Some(code)
        };
        let byte = match escape {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            c if c == quote => quote as u8,
            'x' => u8::try_from(digits(2, 16)?).ok()?,
            '0'..='7' => {
                let low = digits(2, 8)?;
                u8::try_from((u32::from(escape) - u32::from('0')) * 64 + low).ok()?
            }
            'u' | 'U' => {
                let code = digits(if escape == 'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}
