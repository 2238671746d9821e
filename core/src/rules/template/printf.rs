//! The formats of `printf`, as Go's `fmt`. What would print `%!` there is an error here.

use std::fmt::Write;

use super::{MAX_OUTPUT, value::Kind, value::Value};

/// A part of a format.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'f> {
    Text(&'f str),
    Verb(Verb),
}

/// `%-5.3s`
#[derive(Debug, PartialEq, Default, Clone, Copy)]
pub(super) struct Verb {
    verb: char,
    minus: bool,
    zero: bool,
    plus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

const VERBS: &str = "the verbs are %s %v %d %x %X %o %b %c %t and %%";

/// The parts of a format.
pub(super) fn parse(format: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            pieces.push(Piece::Text("%"));
            rest = after;
            continue;
        }
        let (verb, after) = verb(rest)?;
        pieces.push(Piece::Verb(verb));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn verb(text: &str) -> Result<(Verb, &str), String> {
    let mut verb = Verb::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => verb.minus = true,
            '0' => verb.zero = true,
            '+' => verb.plus = true,
            ' ' => verb.space = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    (verb.width, rest) = number(rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = number(after)?;
        verb.precision = Some(precision);
        rest = after;
    }
    let Some(letter) = rest.chars().next() else {
        return Err(format!("the format ends within a verb; {VERBS}"));
    };
    if !matches!(letter, 's' | 'v' | 'd' | 'x' | 'X' | 'o' | 'b' | 'c' | 't') {
        return Err(format!("%{letter} is not supported; {VERBS}"));
    }
    if (verb.plus || verb.space) && letter != 'd' {
        return Err(format!(
            "the flags + and space go with %d, not with %{letter}"
        ));
    }
    verb.verb = letter;
    Ok((verb, &rest[letter.len_utf8()..]))
}

fn number(text: &str) -> Result<(usize, &str), String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    match digits.parse() {
        Ok(n) if n <= MAX_OUTPUT => Ok((n, rest)),
        Err(_) if digits.is_empty() => Ok((0, rest)),
        _ => Err(format!(
            "a width or precision of {} is more than {MAX_OUTPUT}",
            super::super::quoted(digits)
        )),
    }
}

/// Whether a verb takes such a value.
pub(super) fn takes(verb: &Verb, kind: Kind) -> bool {
    match kind {
        Kind::Text => matches!(verb.verb, 's' | 'v' | 'x' | 'X'),
        Kind::Int => matches!(verb.verb, 'd' | 'v' | 'x' | 'X' | 'o' | 'b' | 'c'),
        Kind::Bool => matches!(verb.verb, 't' | 'v'),
        Kind::Any => true,
        _ => false,
    }
}

/// Checks what can be told of the arguments before there are values.
pub(super) fn check(pieces: &[Piece<'_>], arguments: &[Kind]) -> Result<(), String> {
    let verbs = pieces.iter().filter_map(|p| match p {
        Piece::Verb(verb) => Some(verb),
        Piece::Text(_) => None,
    });
    let wanted = verbs.clone().count();
    if wanted != arguments.len() {
        return Err(format!(
            "the format has {wanted} verbs, but {} values follow it",
            arguments.len()
        ));
    }
    match verbs
        .zip(arguments)
        .find(|(verb, kind)| !takes(verb, **kind))
    {
        Some((verb, kind)) => Err(format!("%{} does not print {}", verb.verb, kind.shown())),
        None => Ok(()),
    }
}

/// Prints.
pub(super) fn print(format: &str, arguments: &[Value<'_>]) -> Result<String, String> {
    let pieces = parse(format)?;
    let kinds: Vec<Kind> = arguments.iter().map(Value::kind).collect();
    check(&pieces, &kinds)?;
    let mut out = String::new();
    let mut arguments = arguments.iter();
    for piece in &pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Verb(verb) => {
                if let Some(value) = arguments.next() {
                    verb.print(&mut out, value);
                }
            }
        }
        if out.len() > MAX_OUTPUT {
            return Err(super::too_long());
        }
    }
    Ok(out)
}

impl Verb {
    fn print(&self, out: &mut String, value: &Value<'_>) {
        match (value, self.verb) {
            (Value::Text(text), 'x' | 'X') => self.hexadecimal(out, text),
            (Value::Text(text), _) => {
                let kept = match self.precision {
                    Some(n) => text.chars().take(n).collect(),
                    None => text.to_string(),
                };
                self.pad(out, &kept);
            }
            (Value::Int(n), 'c') => {
                let c = u32::try_from(*n).ok().and_then(char::from_u32);
                self.pad(out, &c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string());
            }
            (Value::Int(n), _) => self.integer(out, *n),
            (other, _) => self.pad(out, &other.printed()),
        }
    }

    fn pad(&self, out: &mut String, text: &str) {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.minus {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else {
            let fill = if self.zero { '0' } else { ' ' };
            out.extend(std::iter::repeat_n(fill, missing));
            out.push_str(text);
        }
    }

    fn hexadecimal(&self, out: &mut String, text: &str) {
        let length = self.precision.unwrap_or(text.len()).min(text.len());
        let mut digits = String::with_capacity(2 * length);
        for byte in &text.as_bytes()[..length] {
            // Writing to a string does not fail.
            let _ = match self.verb {
                'X' => write!(digits, "{byte:02X}"),
                _ => write!(digits, "{byte:02x}"),
            };
        }
        self.pad(out, &digits);
    }

    fn integer(&self, out: &mut String, n: i64) {
        let magnitude = n.unsigned_abs();
        let digits = match self.verb {
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'o' => format!("{magnitude:o}"),
            'b' => format!("{magnitude:b}"),
            _ => magnitude.to_string(),
        };
        let sign = match n < 0 {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        let spaces = Verb {
            zero: false,
            ..*self
        };
        match self.precision {
            Some(0) if n == 0 => spaces.pad(out, ""),
            Some(least) => spaces.pad(out, &format!("{sign}{digits:0>least$}")),
            None if self.zero && !self.minus => {
                let least = self.width.saturating_sub(sign.len());
                spaces.pad(out, &format!("{sign}{digits:0>least$}"));
            }
            None => spaces.pad(out, &format!("{sign}{digits}")),
        }
    }
}
