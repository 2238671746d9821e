//! The commands of the documents do what the documents show: in every `console` block a `cat` defines a file, and our
//! own offline commands are run and their output compared.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_k8s-workload-registrar");

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    here.canonicalize().expect("there")
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|name| root().join(name))
        .into();
    let docs = std::fs::read_dir(root().join("docs")).expect("a folder");
    found.extend(docs.map(|e| e.expect("an entry").path()));
    found.retain(|p| p.extension().is_some_and(|e| e == "md") && p.exists());
    found.sort();
    found
}

/// The commands of `console` blocks, and what is shown below each.
fn commands(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut console = false;
    for line in text.lines() {
        match line {
            "```console" => console = true,
            "```" if console => console = false,
            line if console => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_owned(), String::new())),
                (None, Some((_, shown))) => *shown += &format!("{line}\n"),
                (None, None) => {}
            },
            _ => {}
        }
    }
    found
}

/// Commands that need a cluster or a server are shown by the tests on the real control plane.
fn is_offline(command: &str) -> bool {
    let mut words = command.split_whitespace();
    words.next() == Some("k8s-workload-registrar")
        && matches!(words.next(), Some("plan" | "validate" | "version"))
        && !command.contains("-live")
        && !command.contains('>')
}

#[test]
fn offline_commands_print_what_the_documents_show() {
    let mut ran = 0;
    for document in documents() {
        let desk = tempfile::tempdir().expect("a folder");
        for shared in ["examples", "docs"] {
            std::os::unix::fs::symlink(root().join(shared), desk.path().join(shared))
                .expect("linked");
        }
        let text = std::fs::read_to_string(&document).expect("text");
        for (command, shown) in commands(&text) {
            if let Some(file) = command.strip_prefix("cat ") {
                std::fs::write(desk.path().join(file), &shown).expect("written");
            } else if is_offline(&command) && !shown.is_empty() {
                let output = Command::new(PROGRAM)
                    .args(command.split_whitespace().skip(1))
                    .env("NO_COLOR", "1")
                    .current_dir(desk.path())
                    .output()
                    .expect("runs");
                let printed = String::from_utf8_lossy(&output.stdout)
                    + String::from_utf8_lossy(&output.stderr);
                assert_eq!(printed, shown, "{}: {command}", document.display());
                ran += 1;
            }
        }
    }
    assert!(ran >= 2, "some commands must be found");
}

#[test]
fn links_to_files_lead_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("text");
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')').collect();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let folder = document.parent().expect("in a folder");
            assert!(
                folder.join(file).exists(),
                "{}: {target}",
                document.display()
            );
        }
    }
}

#[test]
fn files_that_the_documents_name_exist() {
    for name in ["SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(root().join(name)).expect("text");
        let quoted = text.split('`').skip(1).step_by(2);
        let files = quoted.filter(|q| q.contains('/') && q.ends_with(".rs") && !q.contains(' '));
        for file in files {
            assert!(root().join(file).exists(), "{name}: {file}");
        }
    }
}

/// The documents point at a test as ``[`its_name`](path/to/its/file.rs)``.
#[test]
fn tests_that_the_documents_point_at_exist() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("text");
        for (at, _) in text.match_indices("`](") {
            let target: String = text[at + 3..].chars().take_while(|c| *c != ')').collect();
            if !target.ends_with(".rs") {
                continue;
            }
            let name = text[..at].rsplit('`').next().unwrap_or_default();
            let file = document.parent().expect("in a folder").join(&target);
            let code = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                name.contains('/') || code.contains(&format!("fn {name}(")),
                "{}: {target} has no `{name}`",
                document.display()
            );
        }
    }
}
