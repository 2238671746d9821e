//! Configuration files.

use registrar_adapters::config;

/// Any text: it is read, or refused with at least one error; every place that a problem names lies in the text.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let problems = match config::parse("fuzz.conf", text.to_owned()) {
        Ok((_, warnings)) => {
            assert!(!warnings.has_errors());
            warnings
        }
        Err(problems) => {
            assert!(problems.has_errors());
            problems
        }
    };
    for problem in &problems.list {
        if let Some(span) = &problem.span {
            assert!(
                span.start <= span.end && span.end <= text.len(),
                "{problem:?}"
            );
            assert!(
                text.get(span.clone()).is_some(),
                "between characters: {problem:?}"
            );
        }
        assert!(!problem.message.is_empty());
    }
    // Showing them must work for any text, too.
    let shown = problems.to_string();
    assert_eq!(shown.is_empty(), problems.list.is_empty());
}
