//! The core stays pure: nothing that does I/O, keeps time, logs or is asynchronous is among what it is built from.

// A test may run programs; the core may not.
#![allow(clippy::disallowed_types)]

use std::{collections::BTreeSet, process::Command};

/// Everything the core may be built from, its dependencies' dependencies included. A new one is a decision, not an
/// accident: it must be small, and pure itself.
const ALLOWED: [&str; 10] = [
    "aho-corasick",
    "fnv",
    "memchr",
    "proc-macro2",
    "quote",
    "regex",
    "regex-automata",
    "regex-syntax",
    "registrar-core",
    "syn",
];
/// The error derive, and what it is built with.
const ALLOWED_FOR_ERRORS: [&str; 3] = ["thiserror", "thiserror-impl", "unicode-ident"];

#[test]
fn the_core_is_built_from_a_few_pure_crates_only() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "registrar-core"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(found.contains("registrar-core"), "{text}");
    let strangers: Vec<&&str> = found
        .iter()
        .filter(|name| !ALLOWED.contains(name) && !ALLOWED_FOR_ERRORS.contains(name))
        .collect();
    assert!(
        strangers.is_empty(),
        "the core must not be built from {strangers:?}; if one of them is small and pure, add it here"
    );
}
