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

/// Every row of a table in this part of a document, cell by cell, without its heading.
fn rows(text: &str, from: &str, to: &str) -> Vec<Vec<String>> {
    let part = text.split_once(from).expect("a beginning").1;
    let part = part.split_once(to).expect("an end").0;
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|c| c.trim().to_owned()).collect()
    };
    let lines = part.lines().filter(|l| l.starts_with('|'));
    lines.skip(2).map(cells).collect()
}

#[test]
fn every_difference_and_every_threat_names_the_test_that_shows_it() {
    let text = std::fs::read_to_string(root().join("docs/compatibility.md")).expect("text");
    let numbered = |l: &&str| {
        l.split('.')
            .next()
            .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let lines: Vec<&str> = text.lines().filter(numbered).collect();
    assert!(lines.len() > 40, "{} lines", lines.len());
    let numbers = lines
        .iter()
        .filter_map(|l| l.split('.').next()?.parse::<u32>().ok());
    let numbers: Vec<u32> = numbers.skip_while(|n| *n != 9).skip(1).collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u32),
        "{numbers:?}"
    );
    for line in lines {
        assert!(line.contains(".rs)"), "no test is named in: {line}");
    }
    let text = std::fs::read_to_string(root().join("SECURITY.md")).expect("text");
    let threats = rows(&text, "## Who can do what", "## What the registrar needs");
    assert!(threats.len() > 15, "{} rows", threats.len());
    for row in threats {
        let shown = row.last().expect("a cell");
        assert!(shown.contains(".rs)"), "no test is named in: {row:?}");
    }
}

#[test]
fn the_versions_that_are_said_to_be_tested_are_those_that_the_tests_build() {
    let text = std::fs::read_to_string(root().join("docs/compatibility.md")).expect("text");
    let rows = rows(&text, "<!-- versions", "<!-- end of versions -->");
    let said: Vec<[&str; 2]> = rows.iter().map(|r| [&*r[1], &*r[2]]).collect();
    let built = |folder: &str, module: &str| {
        let file = root()
            .join("tests/control-plane")
            .join(folder)
            .join("go.mod");
        let text = std::fs::read_to_string(file).expect("text");
        let version = text.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|w| *w == "require");
            (words.next() == Some(module)).then(|| words.next())?
        });
        version
            .expect("a version")
            .trim_start_matches('v')
            .to_owned()
    };
    let [spire, kubernetes, etcd] = [
        ("spire", "versions/spire-1.12", "github.com/spiffe/spire"),
        (
            "kubernetes",
            "versions/kubernetes-1.30",
            "k8s.io/kubernetes",
        ),
        ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    ]
    .map(|(newer, older, module)| [built(newer, module), built(older, module)]);
    assert_eq!(said, [spire, kubernetes, etcd]);
}

/// A dependency that the workspace declares and no member takes is in nobody's way, and wrong all the same.
#[test]
fn every_dependency_of_the_workspace_is_taken_by_a_member() {
    let manifest = |path: &str| std::fs::read_to_string(root().join(path)).expect("text");
    let members = [
        "core",
        "adapters",
        "app",
        "tests",
        "tests/instructions",
        "tests/proof/weave",
        "fuzz",
    ];
    let members: Vec<String> = members
        .iter()
        .map(|m| manifest(&format!("{m}/Cargo.toml")))
        .collect();
    let whole = manifest("Cargo.toml");
    let declared = whole
        .split_once("[workspace.dependencies]")
        .expect("declared")
        .1;
    let declared = declared.split("\n[").next().expect("a part");
    let names = declared
        .lines()
        .filter_map(|l| l.split_once(" = "))
        .map(|(name, _)| name.trim());
    let taken = |name: &str| {
        let (dotted, table) = (
            format!("\n{name}.workspace"),
            format!("\n{name} = {{ workspace = true"),
        );
        members
            .iter()
            .any(|m| m.contains(&dotted) || m.contains(&table))
    };
    let unused: Vec<&str> = names.filter(|name| !taken(name)).collect();
    assert_eq!(
        unused, [""; 0],
        "declared in [workspace.dependencies] and taken by no member"
    );
}

#[test]
fn the_library_is_shown_alike_in_both_readmes() {
    let block = |path: &str| {
        let text = std::fs::read_to_string(root().join(path)).expect("text");
        let block = text.split_once("```rust\n").expect("an example").1;
        block.split_once("```").expect("its end").0.to_owned()
    };
    // That of the crate is compiled by its documentation tests.
    assert_eq!(block("README.md"), block("core/README.md"));
}

/// The minimum that is promised is the version that everything is built and tested with.
#[test]
fn the_minimum_rust_version_is_the_one_that_builds_here() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("text");
    let toolchain = std::fs::read_to_string(root().join("rust-toolchain.toml")).expect("text");
    let value = |text: &str, key: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(key))
            .expect("a line")
            .to_owned();
        line.split('"').nth(1).expect("a value").to_owned()
    };
    let (minimum, used) = (
        value(&manifest, "rust-version"),
        value(&toolchain, "channel"),
    );
    assert_eq!(format!("{minimum}.0"), used);
}

#[test]
fn every_command_of_the_program_stands_in_the_readme_as_the_help_says() {
    let help = Command::new(PROGRAM).arg("--help").output().expect("runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands = help.split_once("Commands:\n").expect("commands").1;
    let commands = commands.split_once("\n\n").expect("options").0;
    let expected: Vec<Vec<String>> = commands
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, text)| vec![format!("`{name}`"), text.trim().to_owned()])
        .collect();
    assert!(expected.len() > 8, "{help}");
    let readme = std::fs::read_to_string(root().join("README.md")).expect("text");
    assert_eq!(
        rows(&readme, "<!-- commands", "<!-- end of commands -->"),
        expected
    );
}
