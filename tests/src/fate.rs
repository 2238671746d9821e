//! What becomes of a call to a server that does not do what it should.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::{Code, Status};

/// Of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on.
    Passed,
    /// It is passed on after this time.
    Late(Duration),
    /// It never reaches the server; the answer is this code.
    Refused(Code),
    /// The server does it; the answer is this code all the same.
    Lost(Code),
    /// Every second item, the first among them, never reaches the server, and its answer is this code.
    PartlyRefused(Code),
    /// The server does all of it; the answer of every second item is this code all the same.
    PartlyLost(Code),
}

impl Fate {
    /// What an item that this happens to is answered.
    pub fn status(code: Code) -> Status {
        Status::new(code, "injected by the test's relay")
    }

    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Passed => "passed",
            Fate::Late(_) => "late",
            Fate::Refused(_) => "refused",
            Fate::Lost(_) => "lost answer",
            Fate::PartlyRefused(_) => "items refused",
            Fate::PartlyLost(_) => "items' answers lost",
        }
    }
}

/// Random numbers that a seed repeats (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.any() % bound.max(1) as u64) as usize
    }

    /// A time between two, in milliseconds.
    pub fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Decides what becomes of each call: of so many of a thousand, something bad.
pub struct Fates {
    random: Mutex<Random>,
    /// Of a thousand.
    bad: AtomicU64,
    /// By how many milliseconds every call is late.
    late: AtomicU64,
    met: AtomicUsize,
}

impl fmt::Debug for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fates")
    }
}

impl Fates {
    /// None are bad yet.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Mutex::new(Random::new(seed)),
            bad: AtomicU64::new(0),
            late: AtomicU64::new(0),
            met: AtomicUsize::new(0),
        }
    }

    /// From now on, so many of a thousand calls meet something bad.
    pub fn set(&self, bad: u64) {
        self.bad.store(bad, Ordering::SeqCst);
    }

    /// From now on every call is late by so many milliseconds, unless something bad happens to it.
    pub fn delay(&self, milliseconds: u64) {
        self.late.store(milliseconds, Ordering::SeqCst);
    }

    /// How many calls met something bad so far.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }

    /// Of the next call.
    pub fn next(&self) -> Fate {
        let bad = self.bad.load(Ordering::SeqCst);
        if bad == 0 {
            return match self.late.load(Ordering::SeqCst) {
                0 => Fate::Passed,
                late => Fate::Late(Duration::from_millis(late)),
            };
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if random.any() % 1000 >= bad {
            return Fate::Passed;
        }
        self.met.fetch_add(1, Ordering::SeqCst);
        let code = Code::from_i32(1 + random.below(16) as i32);
        match random.below(5) {
            0 => Fate::Late(random.millis(10, 3000)),
            1 => Fate::Refused(code),
            2 => Fate::Lost(code),
            3 => Fate::PartlyRefused(code),
            _ => Fate::PartlyLost(code),
        }
    }
}
