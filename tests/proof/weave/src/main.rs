//! Judges the tests of the core by mutants, all of which are built at once: each stands beside the code that it changes,
//! and one at a time is chosen when the tests run. cargo-mutants says which there are; building them one by one takes
//! half a minute each, and this a second.

mod judge;
mod mutant;
mod tree;
mod weave;
mod writer;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;

use crate::{
    judge::{Judge, Verdict},
    mutant::Mutant,
    tree::{Tree, Woven, copy},
    weave::Number,
};

/// `registrar-weave LIST OUT JOBS TESTS...`, in the root of the sources: LIST is what `cargo mutants --list --json` says.
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let list: PathBuf = args.next().context("no list")?.into();
    // The tests run in a folder of their own, and leave there what they came by.
    let out = std::path::absolute(args.next().context("no folder for what comes out")?)?;
    let jobs: usize = args.next().context("no number of jobs")?.parse()?;
    let tests: Vec<String> = args.collect();
    let mutants: Vec<Mutant> = serde_json::from_str(&fs::read_to_string(list)?)?;
    let from = std::env::current_dir()?;
    fs::create_dir_all(&out)?;
    let target = std::env::var_os("WOVEN").map_or_else(|| from.join("target/woven"), PathBuf::from);
    let tree = Tree {
        to: target.join("tree"),
        target,
        tests,
        from,
    };
    copy(&tree.from, &tree.to)?;
    let woven = tree.weave(&mutants)?;
    eprintln!(
        "weave: {} mutants stand together, {} cannot be built, {} only by themselves",
        woven.in_place.len(),
        woven.unviable.len(),
        woven.alone.len()
    );
    let skip: Vec<String> = std::env::var("SKIP").map_or_else(
        |_| Vec::new(),
        |s| s.split_whitespace().map(str::to_owned).collect(),
    );
    let judge = Judge::new(&woven.programs, &tree.to.join("core"), &out, &skip)?;
    for (program, (tests, took)) in judge.times() {
        eprintln!("weave: {program}: {tests} tests, {took:.1?}");
    }
    let verdicts = all(&judge, &woven, jobs)?;
    write(&out, &mutants, &woven, &verdicts)
}

fn all(judge: &Judge, woven: &Woven, jobs: usize) -> anyhow::Result<BTreeMap<Number, Verdict>> {
    let numbers: Vec<Number> = woven.in_place.iter().copied().collect();
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let verdict = judge.judge(*number)?;
                        let mut verdicts = verdicts.lock().expect("nobody panics");
                        verdicts.insert(*number, verdict);
                        if verdicts.len() % 100 == 0 {
                            eprintln!("weave: {} of {} judged", verdicts.len(), numbers.len());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("nobody panics"))
    })?;
    Ok(verdicts.into_inner()?)
}

fn write(
    out: &std::path::Path,
    mutants: &[Mutant],
    woven: &Woven,
    verdicts: &BTreeMap<Number, Verdict>,
) -> anyhow::Result<()> {
    let name = |number: &Number| mutants[*number as usize - 1].name.clone() + "\n";
    let with = |wanted: &dyn Fn(&Verdict) -> bool| -> String {
        verdicts
            .iter()
            .filter(|(_, v)| wanted(v))
            .map(|(n, _)| name(n))
            .collect()
    };
    fs::write(
        out.join("caught.txt"),
        with(&|v| matches!(v, Verdict::Caught(_))),
    )?;
    fs::write(
        out.join("timeout.txt"),
        with(&|v| matches!(v, Verdict::TimedOut(_))),
    )?;
    fs::write(
        out.join("missed.txt"),
        with(&|v| matches!(v, Verdict::Missed | Verdict::NeverReached)),
    )?;
    fs::write(
        out.join("unreached.txt"),
        with(&|v| *v == Verdict::NeverReached),
    )?;
    fs::write(
        out.join("unviable.txt"),
        woven.unviable.iter().map(name).collect::<String>(),
    )?;
    fs::write(
        out.join("alone.txt"),
        woven.alone.iter().map(name).collect::<String>(),
    )?;
    let by: String = verdicts
        .iter()
        .map(|(n, v)| format!("{v:?}\t{}", name(n)))
        .collect();
    fs::write(out.join("verdicts.txt"), by)?;
    Ok(())
}
