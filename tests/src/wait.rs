//! Awaiting conditions.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long a condition may take before a test fails.
pub const CEILING: Duration = Duration::from_secs(60);

/// Looks again and again until `look` answers `Ok`; the last `Err` is what the failure shows.
///
/// # Panics
/// After [`CEILING`].
pub async fn eventually<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_within(CEILING, what, look).await
}

/// As [`eventually`], with another ceiling.
///
/// # Panics
/// After `ceiling`.
pub async fn eventually_within<T, E: Debug>(
    ceiling: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if begun.elapsed() > ceiling => {
                panic!(
                    "not within {} s: {what}; last seen: {seen:#?}",
                    ceiling.as_secs()
                )
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Looks again and again for `period`, and fails as soon as `look` answers `Err`.
///
/// # Panics
/// If it ever does.
pub async fn steadily<E: Debug>(
    period: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<(), E>,
) {
    let begun = Instant::now();
    while begun.elapsed() < period {
        if let Err(seen) = look().await {
            panic!("did not stay so: {what}; seen: {seen:#?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
