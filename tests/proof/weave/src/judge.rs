//! Runs the tests against one mutant at a time: those tests that come by the place that it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::weave::Number;

/// Of each test program, its tests, how long each took, and the mutants that each asks about.
pub struct Judge {
    programs: Vec<Program>,
    scratch: PathBuf,
    folder: PathBuf,
}

struct Program {
    path: PathBuf,
    tests: Vec<Test>,
}

struct Test {
    name: String,
    took: Duration,
    asks: BTreeSet<Number>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Caught(String),
    TimedOut(String),
    Missed,
    /// No test comes by there.
    NeverReached,
}

impl Judge {
    pub fn new(
        programs: &[PathBuf],
        folder: &Path,
        scratch: &Path,
        skip: &[String],
    ) -> anyhow::Result<Self> {
        let mut judge = Judge {
            programs: Vec::new(),
            scratch: scratch.to_owned(),
            folder: folder.to_owned(),
        };
        for path in programs {
            let listed = judge
                .command(path)
                .args(["--list", "--format", "terse"])
                .output()?;
            let mut tests = Vec::new();
            for line in String::from_utf8_lossy(&listed.stdout).lines() {
                if let Some(name) = line.strip_suffix(": test")
                    && !skip.iter().any(|skip| name.contains(skip.as_str()))
                {
                    tests.push(judge.test(path, name)?);
                }
            }
            tests.sort_by_key(|test| test.took);
            judge.programs.push(Program {
                path: path.clone(),
                tests,
            });
        }
        Ok(judge)
    }

    fn command(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command
            .current_dir(&self.folder)
            .env("CARGO", "cargo")
            .env("RUST_BACKTRACE", "0")
            // What fails need not be made small.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_FAILURE_PERSISTENCE", "off")
            .stdin(Stdio::null());
        command
    }

    /// Runs a test without a mutant.
    fn test(&self, path: &Path, name: &str) -> anyhow::Result<Test> {
        let asked = self.scratch.join("asked");
        let _ = fs::remove_file(&asked);
        let begun = Instant::now();
        let output = self
            .command(path)
            .args(["--exact", name])
            .env("MUTANTS_ASKED", &asked)
            .output()
            .context("a test does not run")?;
        if !output.status.success() {
            bail!(
                "{name} fails without a mutant:\n{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        let text = fs::read_to_string(&asked).unwrap_or_default();
        Ok(Test {
            name: name.to_owned(),
            took: begun.elapsed(),
            asks: text.lines().filter_map(|line| line.parse().ok()).collect(),
        })
    }

    /// How long each program's tests take, one after the other.
    pub fn times(&self) -> BTreeMap<String, (usize, Duration)> {
        self.programs
            .iter()
            .map(|program| {
                let name = program
                    .path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (
                    name,
                    (
                        program.tests.len(),
                        program.tests.iter().map(|test| test.took).sum(),
                    ),
                )
            })
            .collect()
    }

    pub fn judge(&self, number: Number) -> anyhow::Result<Verdict> {
        let mut reached = false;
        // The quick programs first.
        let mut runs: Vec<(Duration, &Program, Vec<&Test>)> = Vec::new();
        for program in &self.programs {
            let tests: Vec<&Test> = program
                .tests
                .iter()
                .filter(|test| test.asks.contains(&number))
                .collect();
            if !tests.is_empty() {
                runs.push((tests.iter().map(|test| test.took).sum(), program, tests));
            }
        }
        runs.sort_by_key(|(took, ..)| *took);
        for (took, program, tests) in runs {
            reached = true;
            let mut command = self.command(&program.path);
            command
                .args(["--exact", "--test-threads=1"])
                .args(tests.iter().map(|test| &test.name))
                .env("MUTANT", number.to_string());
            if let Some(verdict) = run(command, took * 5 + Duration::from_secs(10))? {
                return Ok(verdict);
            }
        }
        Ok(if reached {
            Verdict::Missed
        } else {
            Verdict::NeverReached
        })
    }
}

/// What a run of tests says; nothing if they all passed. It ends with the first that fails.
fn run(mut command: Command, patience: Duration) -> anyhow::Result<Option<Verdict>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = BufReader::new(child.stdout.take().context("no output")?);
    let (tell, failures) = mpsc::channel();
    let reader = thread::spawn(move || {
        let failed = |line: String| {
            Some(
                line.strip_prefix("test ")?
                    .strip_suffix(" ... FAILED")?
                    .to_owned(),
            )
        };
        // The output may end in the middle of a character.
        if let Some(test) = out.lines().map_while(Result::ok).find_map(failed) {
            let _ = tell.send(test);
        }
    });
    let verdict = match failures.recv_timeout(patience) {
        Ok(test) => Some(Verdict::Caught(format!("{program} {test}"))),
        Err(mpsc::RecvTimeoutError::Timeout) => Some(Verdict::TimedOut(program)),
        // It is at its end.
        Err(mpsc::RecvTimeoutError::Disconnected) => match child.wait()?.success() {
            true => None,
            false => Some(Verdict::Caught(format!("{program} a crash"))),
        },
    };
    if verdict.is_some() {
        let _ = child.kill();
        child.wait()?;
    }
    let _ = reader.join();
    Ok(verdict)
}
