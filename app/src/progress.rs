//! How far long work is, on standard error where that is a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

const WIDTH: usize = 30;
/// What takes less is not worth a line that blinks.
const PATIENCE: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_millis(100);

/// One line that is drawn again and again, and gone at the end.
pub struct Progress {
    total: Option<u64>,
    next: Option<Instant>,
    drawn: bool,
}

impl Progress {
    /// Of work with this many units, or with a number of them that nobody knows.
    pub fn new(total: Option<u64>) -> Self {
        Self {
            total,
            next: stderr().is_terminal().then(|| Instant::now() + PATIENCE),
            drawn: false,
        }
    }

    /// `units` are done; `what` says it in words.
    pub fn at(&mut self, units: u64, what: impl FnOnce() -> String) {
        if self.next.is_none_or(|next| Instant::now() < next) {
            return;
        }
        self.next = Some(Instant::now() + EVERY);
        self.drawn = true;
        let bar = self
            .total
            .filter(|t| *t > 0)
            .map_or_else(String::new, |total| {
                let full = (units.min(total) as usize * WIDTH) / total as usize;
                let (done, left) = ("#".repeat(full), ".".repeat(WIDTH - full));
                format!("[{done}{left}] ")
            });
        // A terminal that cannot be written to shows no progress; that is all.
        let _ = write!(stderr(), "\r\x1b[K{bar}{}", what());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
