//! Whether the server can be asked at all: after a call that failed as a whole, one call at a time feels its way.

use std::{sync::Arc, time::Duration};

use super::Now;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Gate {
    failures: u32,
    closed_until: Option<Now>,
    /// Since when calls fail, and the last one's words.
    failing: Option<(Now, Arc<str>)>,
}

impl Gate {
    /// Whether a call may go, when `in_flight` are under way.
    pub(super) fn is_open(&self, now: Now, in_flight: usize) -> bool {
        match self.closed_until {
            None => true,
            Some(until) => now >= until && in_flight == 0,
        }
    }

    /// Whether the last call that was answered went well.
    pub(super) fn is_well(&self) -> bool {
        self.closed_until.is_none()
    }

    /// A call failed as a whole; returns how long to wait.
    pub(super) fn failed(&mut self, now: Now, why: &Arc<str>) -> Duration {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, why.clone()));
        // Calls that were in flight together fail together: one failure.
        if self.closed_until.is_some_and(|until| now < until) {
            return self.closed_until.unwrap_or(now) - now;
        }
        let delay = back_off(FIRST, LONGEST, self.failures, u64::from(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.closed_until = Some(now + delay);
        delay
    }

    /// A call was answered; returns whether that is news.
    pub(super) fn answered(&mut self) -> bool {
        self.failures = 0;
        self.failing = None;
        self.closed_until.take().is_some()
    }

    /// Since when calls fail, and the last one's words.
    pub(super) fn failing(&self) -> Option<&(Now, Arc<str>)> {
        self.failing.as_ref()
    }

    pub(super) fn opens_at(&self) -> Option<Now> {
        self.closed_until
    }
}

/// `first`, doubled for each failure before, at most `longest`, and up to a quarter more, by `salt`: replicas and items
/// that failed together do not return together.
pub(super) fn back_off(first: Duration, longest: Duration, failures: u32, salt: u64) -> Duration {
    let base = first.saturating_mul(1 << failures.min(16)).min(longest);
    let mixed =
        (salt.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 54;
    base + base.mul_f64(0.25 * mixed as f64 / 1024.0)
}
