//! A copy of the sources with the mutants in it, built until only those are left that can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{
    mutant::{Genre, Mutant},
    weave::{Number, weave},
};

/// Errors that a change has wherever it stands: it cannot be built in its own place either.
const HOPELESS: [&str; 12] = [
    "E0277", "E0282", "E0283", "E0308", "E0369", "E0368", "E0425", "E0432", "E0433", "E0599",
    "E0600", "E0614",
];

/// What the woven code asks, and how it learns the answer.
const QUESTION: &str = include_str!("question.rs");

pub struct Tree {
    /// Where the sources are.
    pub from: PathBuf,
    /// Where the copy is.
    pub to: PathBuf,
    pub target: PathBuf,
    /// The cargo arguments that name the tests.
    pub tests: Vec<String>,
}

/// What became of the mutants when they were woven.
#[derive(Default)]
pub struct Woven {
    pub in_place: BTreeSet<Number>,
    /// These cannot be built.
    pub unviable: BTreeSet<Number>,
    /// These may be built, but only by themselves.
    pub alone: BTreeSet<Number>,
    /// The test programs.
    pub programs: Vec<PathBuf>,
}

impl Tree {
    pub fn weave(&self, mutants: &[Mutant]) -> anyhow::Result<Woven> {
        let mut woven = Woven::default();
        for (number, mutant) in (1..).zip(mutants) {
            // What a body returns early must be of the type that it returns late, which has no name here.
            let opaque = mutant.genre == Genre::FnValue && mutant.name.contains("-> impl ");
            if opaque {
                &mut woven.alone
            } else {
                &mut woven.in_place
            }
            .insert(number);
        }
        loop {
            self.write(mutants, &mut woven)?;
            let errors = self.check()?;
            if errors.is_empty() {
                woven.programs = self.programs()?;
                return Ok(woven);
            }
            let mut texts = BTreeMap::new();
            let before = woven.in_place.len();
            for error in &errors {
                let Some(number) = self.culprit(error, &mut texts)? else {
                    continue;
                };
                woven.in_place.remove(&number);
                let code = error.code.as_ref().map_or("", |code| code.code.as_str());
                if HOPELESS.contains(&code) {
                    woven.unviable.insert(number);
                } else {
                    woven.alone.insert(number);
                }
            }
            if woven.in_place.len() == before {
                let texts: Vec<&str> = errors
                    .iter()
                    .filter_map(|e| e.rendered.as_deref())
                    .collect();
                bail!(
                    "the mutants cannot be built together:\n{}",
                    texts.join("\n")
                );
            }
            eprintln!(
                "weave: {} mutants cannot stand with the others",
                before - woven.in_place.len()
            );
        }
    }

    /// Writes each file that has mutants, with those that are still in their places.
    fn write(&self, mutants: &[Mutant], woven: &mut Woven) -> anyhow::Result<()> {
        let mut files: BTreeMap<&str, Vec<(Number, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in (1..).zip(mutants) {
            let list = files.entry(&mutant.file).or_default();
            if woven.in_place.contains(&number) {
                list.push((number, mutant));
            }
        }
        for (file, here) in files {
            let text = fs::read_to_string(self.from.join(file))?;
            let (text, homeless) = weave(&text, &here).with_context(|| file.to_owned())?;
            for number in homeless {
                woven.in_place.remove(&number);
                woven.alone.insert(number);
            }
            fs::write(self.to.join(file), text)?;
        }
        let lib = "core/src/lib.rs";
        let text = fs::read_to_string(self.from.join(lib))?;
        let text = format!(
            "#![allow(warnings, arithmetic_overflow, unconditional_panic)]\n{text}\n{QUESTION}"
        );
        fs::write(self.to.join(lib), text)?;
        Ok(())
    }

    pub fn cargo(&self, verb: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&self.to)
            .env("CARGO_TARGET_DIR", &self.target)
            // Built once and run a thousand times.
            .args(["--config", "profile.dev.package.registrar-core.opt-level=1"])
            .args([verb, "--quiet", "--offline", "--package", "registrar-core"]);
        cargo
    }

    fn check(&self) -> anyhow::Result<Vec<Error>> {
        let mut check = self.cargo("check");
        check.args(["--lib", "--features", "testing", "--message-format=json"]);
        Ok(messages(check)?
            .into_iter()
            .filter_map(|line| line.message)
            .filter(|message| message.level == "error" && !message.spans.is_empty())
            .collect())
    }

    pub fn programs(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut build = self.cargo("test");
        build
            .args(["--no-run", "--message-format=json"])
            .args(&self.tests);
        let lines = messages(build)?;
        let errors: Vec<String> = lines
            .iter()
            .filter_map(|line| line.message.as_ref())
            .filter(|message| message.level == "error")
            .filter_map(|message| message.rendered.clone())
            .collect();
        if !errors.is_empty() {
            bail!("the tests cannot be built:\n{}", errors.join("\n"));
        }
        Ok(lines
            .into_iter()
            .filter_map(|line| line.executable)
            .collect())
    }

    /// The mutant in whose marks an error lies, the innermost one.
    fn culprit(
        &self,
        error: &Error,
        texts: &mut BTreeMap<String, String>,
    ) -> anyhow::Result<Option<Number>> {
        let (first, rest): (Vec<&ErrorSpan>, Vec<&ErrorSpan>) =
            error.spans.iter().partition(|span| span.is_primary);
        for span in first.into_iter().chain(rest) {
            if !texts.contains_key(&span.file_name) {
                let text = fs::read_to_string(self.to.join(&span.file_name)).unwrap_or_default();
                texts.insert(span.file_name.clone(), text);
            }
            let text = &texts[&span.file_name];
            if let Some(number) = enclosing(text, span.byte_start, span.byte_end) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// The innermost mark that holds these bytes.
fn enclosing(text: &str, start: usize, end: usize) -> Option<Number> {
    let mut open: Vec<(Number, usize)> = Vec::new();
    let mut best: Option<(Number, usize)> = None;
    for (at, _) in text.match_indices("/*") {
        let rest = &text[at + 2..];
        let Some(stop) = rest.find("*/") else { break };
        let word = &rest[..stop];
        if let Some(number) = word.strip_prefix('<').and_then(|n| n.parse().ok()) {
            open.push((number, at));
        } else if word
            .strip_suffix('>')
            .is_some_and(|n| n.parse::<Number>().is_ok())
            && let Some((number, begun)) = open.pop()
            && begun <= start
            && end <= at
            && best.is_none_or(|(_, other)| other < begun)
        {
            best = Some((number, begun));
        }
    }
    best.map(|(number, _)| number)
}

#[derive(Deserialize)]
struct Line {
    message: Option<Error>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Error {
    level: String,
    code: Option<Code>,
    spans: Vec<ErrorSpan>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct ErrorSpan {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

fn messages(mut command: Command) -> anyhow::Result<Vec<Line>> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .context("cargo does not run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Line> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("cargo says what nobody understands")?;
    if lines.is_empty() && !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(lines)
}

/// Copies what cargo needs of a tree: everything but what was built.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let name = item.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        let (here, there) = (item.path(), to.join(&name));
        if item.file_type()?.is_dir() {
            copy(&here, &there)?;
        } else if item.file_type()?.is_file() && fs::read(&there).ok() != fs::read(&here).ok() {
            fs::copy(&here, &there)?;
        }
    }
    // What a former copy had and the sources have no more would be built with them.
    for item in fs::read_dir(to)? {
        let item = item?;
        let (here, there) = (from.join(item.file_name()), item.path());
        match (item.file_type()?.is_dir(), here.exists()) {
            (true, false) => fs::remove_dir_all(there)?,
            (false, false) => fs::remove_file(there)?,
            (_, true) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_the_sources_have_and_nothing_of_a_former_copy() -> anyhow::Result<()> {
        let folder = std::env::temp_dir().join(format!("registrar-weave-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("tests/scale"))?;
        fs::write(from.join("tests/scale/main.rs"), "new")?;
        fs::create_dir_all(to.join("tests/gone"))?;
        fs::write(to.join("tests/scale.rs"), "old")?;
        copy(&from, &to)?;
        let main = fs::read_to_string(to.join("tests/scale/main.rs"))?;
        let left = [to.join("tests/scale.rs"), to.join("tests/gone")].map(|p| p.exists());
        fs::remove_dir_all(&folder)?;
        assert_eq!((main.as_str(), left), ("new", [false, false]));
        Ok(())
    }
}
