//! Our reader of configuration files beside the original's, on texts that it was asked about.

use std::collections::BTreeSet;

use registrar_fuzz::hcl::{hcl_agree, hcl_answer, hcl_escaped, hcl_leaves};

/// Made by `tests/golden/hcl/main.go`.
const GOLDEN: &str = include_str!("../../tests/golden/hcl/golden.tsv");

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('0') => '\0',
                _ => '\\',
            },
            (c, false) => c,
        });
    }
    out
}

#[test]
fn what_both_readers_take_they_read_alike() {
    let (mut both, mut neither) = (0, 0);
    for line in GOLDEN.lines().filter(|l| !l.starts_with("## ")) {
        let (text, result) = line.split_once('\t').expect("a text and a result");
        let text = unescaped(text);
        assert_eq!(hcl_escaped(&text), line.split('\t').next().expect("it"));
        let (ours, original) = (hcl_leaves(&text), hcl_answer(result));
        both += usize::from(ours.is_some() && original.is_some());
        neither += usize::from(ours.is_none() && original.is_none());
        assert!(
            hcl_agree(&text, ours.clone(), original.clone()),
            "{text:?}\n  original {original:?}\n  ours     {ours:?}"
        );
    }
    assert!((both, neither) >= (100, 40), "{both} {neither}");
}

/// What is refused here although the original took it: each is told with its place, and none occurs in a real file.
#[test]
fn what_the_original_took_and_we_refuse_is_known() {
    let refused: BTreeSet<&str> = GOLDEN
        .lines()
        .filter(|l| !l.starts_with("## "))
        .filter_map(|line| line.split_once('\t'))
        .filter(|(text, result)| *result != "!" && hcl_leaves(&unescaped(text)).is_none())
        .map(|(text, _)| text)
        .collect();
    assert_eq!(
        refused,
        BTreeSet::from([
            // A value that is missing was nothing, or ate the brace behind it.
            "a = ",
            "a { b = } }",
            "{",
            // Numbers begin with a digit; elements of lists stand between commas.
            "a = .5",
            "a = [1,,2]",
            "a = [,1]",
            "a = [[1] [2]]",
            "a = 1, b = 2",
            // Half a character.
            "a = \"\\\\xc3\\\\xa9\"",
            "a = \"\\\\x80\"",
            "a = \"\\\\303\\\\251\"",
            "a = \"\\\\ud800\"",
            "a = \"\\\\UFFFFFFFF\"",
            // The carriage returns cost it the end of the anchor.
            "a = <<E\\nx\\nE\\r\\r\\n",
            "{\"a\": null}",
            "{\"a\": 1} x",
            // What followed a comma that is missing was lost.
            "{\"a\": 1 \"b\": 2}",
            "{\"a\": {\"b\": 1 \"c\": 2}, \"d\": 3}",
        ])
    );
}
