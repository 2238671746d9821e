//! Escapes in strings, as Go's.

use super::{Span, SyntaxError};

/// Whether the whole file is JSON, where `${` is nothing special.
pub(super) fn is_json(source: &str) -> bool {
    source.trim_start().starts_with('{')
}

/// The text between the quotes; `offset` is where it begins in the source. What stands in `${...}` stays as it is.
pub(super) fn unquote(inner: &str, offset: usize, json: bool) -> Result<String, SyntaxError> {
    let mut out = String::with_capacity(inner.len());
    pieces(inner, offset, json, |_, c| out.push(c))?;
    Ok(out)
}

/// Where the byte `offset` of a string's value stands in the source; `span` is the whole string with its quotes.
/// The whole string where that cannot be told.
pub fn within(source: &str, span: Span, offset: usize) -> Span {
    let text = &source[span.clone()];
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return span;
    };
    let begins = span.start + 1;
    let mut length = 0;
    let mut found = None;
    let counted = pieces(inner, begins, is_json(source), |at, c| {
        if length <= offset {
            found = Some((at, c));
        }
        length += c.len_utf8();
    });
    match found {
        // Past the last character: at the closing quote.
        _ if counted.is_err() || length <= offset => span.end - 1..span.end,
        Some((at, c)) => at..at + c.len_utf8(),
        None => span,
    }
}

/// The characters of a string's value, each with where it stands in the source.
fn pieces(
    inner: &str,
    offset: usize,
    json: bool,
    mut each: impl FnMut(usize, char),
) -> Result<(), SyntaxError> {
    let mut chars = inner.char_indices().peekable();
    let mut braces = 0usize;
    while let Some((at, c)) = chars.next() {
        if braces > 0 {
            match c {
                '{' => braces += 1,
                '}' => braces -= 1,
                // Ends of lines are the same everywhere.
                '\r' if chars.peek().is_some_and(|(_, n)| *n == '\n') => continue,
                _ => {}
            }
            each(offset + at, c);
            continue;
        }
        if !json && c == '$' && chars.peek().is_some_and(|(_, n)| *n == '{') {
            chars.next();
            braces = 1;
            each(offset + at, '$');
            each(offset + at + 1, '{');
            continue;
        }
        if c != '\\' {
            each(offset + at, c);
            continue;
        }
        let rest = &inner[at + 1..];
        let end = offset + at + 1 + rest.chars().next().map_or(0, char::len_utf8);
        let (used, replacement) = escape(rest).ok_or_else(|| {
            SyntaxError::new(offset + at..end, "unknown escape in a string")
                .help(r#"write a backslash as \\"#)
        })?;
        if !replacement.is_ascii() && rest.starts_with(|c: char| c == 'x' || c.is_ascii_digit()) {
            let what = "this escape is one byte of a character, not a character";
            return Err(SyntaxError::new(offset + at..end, what)
                .help(r"write the character itself, or \u and its four hexadecimal digits"));
        }
        each(offset + at, replacement);
        for _ in 0..rest[..used].chars().count() {
            chars.next();
        }
    }
    Ok(())
}

/// How many bytes after the backslash belong to the escape, and the character it stands for.
fn escape(rest: &str) -> Option<(usize, char)> {
    let numbered = |from: usize, digits: usize, radix: u32| {
        let code = u32::from_str_radix(rest.get(from..from + digits)?, radix).ok()?;
        Some((from + digits, char::from_u32(code)?))
    };
    match rest.chars().next()? {
        'a' => Some((1, '\x07')),
        'b' => Some((1, '\x08')),
        'f' => Some((1, '\x0c')),
        'n' => Some((1, '\n')),
        'r' => Some((1, '\r')),
        't' => Some((1, '\t')),
        'v' => Some((1, '\x0b')),
        '\\' => Some((1, '\\')),
        '/' => Some((1, '/')),
        '"' => Some((1, '"')),
        'x' => numbered(1, 2, 16),
        'u' => numbered(1, 4, 16),
        'U' => numbered(1, 8, 16),
        '0'..='7' => numbered(0, 3, 8),
        _ => None,
    }
}
