//! How many calls may be in flight: fewer when the server struggles, one more after each round that went well, all again
//! when it has not struggled for a while.

use std::time::Duration;

use super::Now;

/// After this long without distress what was learnt of the server's load is old.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// Starts at, and never exceeds, the configured number; never below one.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    most: usize,
    /// Calls that went well since the limit last changed.
    well: usize,
    struggled_at: Option<Now>,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: most,
            most,
            well: 0,
            struggled_at: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Now) {
        if self
            .struggled_at
            .is_some_and(|at| now >= at + FORGOTTEN_AFTER)
        {
            *self = Self::new(self.most);
        }
    }

    /// A call was answered without any sign of distress.
    pub(super) fn went_well(&mut self) {
        self.well += 1;
        if self.well >= self.limit && self.limit < self.most {
            self.limit += 1;
            self.well = 0;
        }
    }

    /// A call failed for a reason that lies in the server's load: a deadline, a deadlock, exhausted resources.
    pub(super) fn struggled(&mut self, now: Now) {
        self.struggled_at = Some(now);
        self.limit = (self.limit / 2).max(1);
        self.well = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_at_once_and_returns_step_by_step() {
        let mut slots = Slots::new(8);
        slots.struggled(Now::ZERO);
        assert_eq!(slots.limit(), 4);
        (0..3).for_each(|_| slots.struggled(Now::ZERO));
        assert_eq!(slots.limit(), 1);
        let mut limits = Vec::new();
        for _ in 0..40 {
            slots.went_well();
            limits.push(slots.limit());
        }
        assert!(limits.is_sorted(), "{limits:?}");
        assert_eq!((limits[0], limits[2], limits[39]), (2, 3, 8), "{limits:?}");
        slots.struggled(Duration::from_secs(1));
        slots.wake(Duration::from_secs(10));
        assert_eq!(slots.limit(), 4);
        slots.wake(Duration::from_secs(11));
        assert_eq!(slots.limit(), 8);
    }
}
