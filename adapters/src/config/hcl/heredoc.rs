//! Text of several lines, from `<<ANCHOR` to a line that is the anchor: to the letter as hashicorp/hcl 1.0.0 reads it, or
//! refused.

use super::SyntaxError;

/// The text of the heredoc that `rest` begins with, and how many bytes it takes; `at` is where it stands in the source.
pub(super) fn read(rest: &str, at: usize) -> Result<(String, usize), SyntaxError> {
    let indented = rest.starts_with("<<-");
    let begins = if indented { 3 } else { 2 };
    let anchor = rest[begins..]
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
        .unwrap_or_default();
    let head = begins + anchor.len();
    let broken = |what: &str| SyntaxError::new(at..at + head, what.to_owned());
    if anchor.is_empty() {
        return Err(broken("heredoc without an anchor"));
    }
    let after = &rest[head..];
    let Some(mut left) = ["\n", "\r\n"].iter().find_map(|n| after.strip_prefix(n)) else {
        return Err(broken("heredoc anchor is not at the end of its line"));
    };
    let mut text = String::new();
    // Where the anchor stands alone, but is not taken for the end.
    let mut not_indented = false;
    while !left.is_empty() {
        let line = left.split_inclusive('\n').next().unwrap_or_default();
        left = &left[line.len()..];
        let bare = line.strip_suffix('\n').unwrap_or(line);
        let bare = bare.strip_suffix('\r').unwrap_or(bare);
        let word = bare.trim_start_matches([' ', '\t', '\x0b', '\x0c', '\r']);
        if word.trim_end_matches('\r') == anchor {
            if word != anchor {
                return Err(broken(
                    "the line that ends the heredoc has carriage returns behind the anchor",
                ));
            }
            // The original compares lengths first, and counts the hyphen.
            if !indented || bare.len() > anchor.len() {
                let indent = &bare[..bare.len() - anchor.len()];
                let value = if indented {
                    unindented(&text, indent)
                } else {
                    text + indent
                };
                // The newline after the anchor is not part of the token.
                return Ok((value, rest.len() - left.len()));
            }
            not_indented = true;
        }
        text += bare;
        text.push('\n');
    }
    let help = if not_indented {
        format!("indent the line {anchor:?}: after `<<-` it is no end without a space before it")
    } else {
        format!("end it with a line {anchor:?}")
    };
    Err(broken("heredoc not terminated").help(help))
}

/// The lines without the indent of the anchor, if all of them have it; else as they are. A line that is empty does not.
fn unindented(text: &str, indent: &str) -> String {
    match text
        .split_inclusive('\n')
        .map(|line| line.strip_prefix(indent))
        .collect::<Option<String>>()
    {
        Some(text) => text,
        // What stands before the anchor, but for its last character, comes with the text unless it is blank.
        None => {
            let kept = indent.char_indices().next_back().map_or(0, |(at, _)| at);
            let whole = format!("{text}{}", &indent[..kept]);
            whole.trim_end_matches([' ', '\t']).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as hashicorp/hcl 1.0.0 reads it.
    #[test]
    fn text_is_read_to_the_letter_as_the_original_did() {
        for (source, expected) in [
            ("<<E\na\nb\nE\n", "a\nb\n"),
            ("<<E\nE\n", ""),
            ("<<E\na\n  E\n", "a\n  "),
            ("<<E\r\na\r\nE\r\n", "a\n"),
            ("<<E\n Ex\nE \nE\n", " Ex\nE \n"),
            ("<<-E\n  a\n   b\n  E\n", "a\n b\n"),
            ("<<-E\n  a\n\n  E\n", "  a\n\n"),
            ("<<-E\n a\n  E\n", " a\n"),
            ("<<-E\n\ta\n  E\n", "\ta\n"),
            ("<<-E\n  E\n", ""),
            ("<<-E\nE\n E\n", "E\n"),
            ("<<-E\na\n\x0b E\n", "a\n\x0b"),
            ("<<E\nno newline\nE", "no newline\n"),
        ] {
            let (text, length) = read(source, 0).unwrap_or_else(|e| panic!("{source:?}: {e:?}"));
            assert_eq!(text, expected, "{source:?}");
            assert_eq!(length, source.len(), "{source:?}");
        }
    }

    #[test]
    fn what_follows_the_end_is_not_taken() {
        let source = "<<E\na\nE\nnext = 1\n";
        let (_, length) = read(source, 7).expect("it ends");
        assert_eq!(&source[length..], "next = 1\n");
    }

    #[test]
    fn what_the_original_would_not_end_or_garble_is_refused_with_the_reason() {
        for (source, message, help) in [
            ("<<\na\n", "heredoc without an anchor", None),
            ("<<-\na\n", "heredoc without an anchor", None),
            ("<<E x\na\nE\n", "heredoc anchor is not at the end", None),
            ("<<E", "heredoc anchor is not at the end", None),
            ("<<E\r\r\na\nE\n", "heredoc anchor is not at the end", None),
            ("<<E\na\n", "heredoc not terminated", Some("end it")),
            ("<<E\na\nE \n", "heredoc not terminated", Some("end it")),
            ("<<-E\n  a\nE\n", "heredoc not terminated", Some("indent")),
            ("<<E\na\nE\r\r\n", "carriage returns behind", None),
        ] {
            let error = read(source, 5).expect_err(source);
            assert!(error.message.contains(message), "{source:?}: {error:?}");
            let told = error.help.as_deref().unwrap_or_default();
            assert!(
                told.contains(help.unwrap_or_default()),
                "{source:?}: {error:?}"
            );
            let anchor = source.find('\n').unwrap_or(source.len());
            assert!(
                error.span.start == 5 && error.span.end <= 5 + anchor,
                "{error:?}"
            );
        }
    }
}
