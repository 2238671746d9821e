//! Histories by the thousand: generated, played, and made small where one ends wrong.

use std::{cell::RefCell, fmt::Debug, ops::Range};

use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use super::Seen;

/// Plays `cases` histories of so many actions until one fails; what occurred in all of them. The failing one, made small,
/// is in the message and replays as printed. Those that are not `fresh` are always the same.
///
/// # Errors
/// What `play` says of the failing one, and the history.
pub fn search<A: Debug>(
    action: impl Strategy<Value = A>,
    length: Range<usize>,
    cases: u32,
    fresh: bool,
    play: impl Fn(&[A]) -> (Seen, Result<(), String>),
) -> (Seen, Result<(), String>) {
    let seen = RefCell::new(Seen::default());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = match fresh {
        true => TestRunner::new(config),
        false => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let result = runner.run(&vec(action, length), |history| {
        let (occurred, result) = play(&history);
        seen.borrow_mut().add(&occurred);
        result.map_err(TestCaseError::fail)
    });
    let result = result.map_err(|error| match error {
        TestError::Fail(why, history) => format!("{why}\nhistory: {history:?}"),
        TestError::Abort(why) => why.to_string(),
    });
    (seen.into_inner(), result)
}

/// Plays the first few histories of so many actions, always the same, without a search for the smallest that ends wrong.
///
/// # Errors
/// What `play` says of the first that ends wrong, and which that is.
pub fn few<A: Clone + Debug>(
    action: impl Strategy<Value = A>,
    length: Range<usize>,
    count: usize,
    play: impl Fn(&[A]) -> (Seen, Result<(), String>),
) -> Result<(), String> {
    let histories = vec(action, length);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for n in 0..count {
        let history = histories.new_tree(&mut runner).map_err(|e| e.to_string())?;
        let (_, result) = play(&history.current());
        result.map_err(|why| format!("history {n}: {why}"))?;
    }
    Ok(())
}

/// Every property that did not hold, a line each.
pub(super) fn in_lines<V: ToString>(violations: &[V]) -> Result<(), String> {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(lines.join("\n")),
    }
}
