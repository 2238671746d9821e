//! Replays the seeds and regressions of every fuzz target, and mutations of them.

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use registrar_fuzz::TARGETS;

fn files(folder: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(target);
    let Ok(entries) = fs::read_dir(&dir) else {
        return Vec::new();
    };
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|e| e.expect("a folder").path())
        .map(|p| (p.display().to_string(), fs::read(&p).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn every_seed_and_every_regression_holds() {
    for (target, body) in TARGETS {
        let seeds = files("seeds", target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        let regressions = files("regressions", target);
        println!(
            "{target}: {} seeds, {} regressions",
            seeds.len(),
            regressions.len()
        );
        for (name, data) in seeds.iter().chain(&regressions) {
            println!("{name}");
            body(data);
        }
    }
}

/// A change to a seed: where, how much of it goes, and what comes.
type Mutation = (prop::sample::Index, usize, Vec<u8>);

fn mutated(seed: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for (at, gone, new) in mutations {
        let from = at.index(data.len() + 1);
        let to = (from + gone).min(data.len());
        data.splice(from..to, new.iter().copied());
    }
    data
}

/// A history takes as long as a hundred other inputs. Those of `make test` are always the same: a fresh one that ends wrong
/// belongs into the hands of who looks for such, not in the way of who changes something else.
fn is_history(target: &str) -> bool {
    target.ends_with("history")
}

#[test]
fn a_few_thousand_mutations_of_the_seeds_hold() {
    let asked = std::env::var("MUTATIONS").ok().and_then(|n| n.parse().ok());
    for (target, body) in TARGETS {
        let cases = asked.unwrap_or(2_000) / if is_history(target) { 20 } else { 1 };
        let seeds: Vec<Vec<u8>> = files("seeds", target).into_iter().map(|(_, d)| d).collect();
        let bytes = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..4),
            prop::sample::select(vec![
                "\0", "/", "..", "\"", "{", "}", "\u{1b}", "é", "%", ",", "*"
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
        ];
        let mutations =
            proptest::collection::vec((any::<prop::sample::Index>(), 0..6usize, bytes), 0..6);
        let config = Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = match asked.is_none() && is_history(target) {
            true => {
                let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
                TestRunner::new_with_rng(config, rng)
            }
            false => TestRunner::new(config),
        };
        let result = runner.run(
            &(prop::sample::select(seeds), mutations),
            |(seed, mutations)| {
                body(&mutated(&seed, &mutations));
                Ok(())
            },
        );
        if let Err(why) = result {
            panic!("{target}: {why}");
        }
    }
}
