//! Which cores a program may use: what is on other machines in a cluster should not take the processor from what is measured.

use std::ops::Range;

use anyhow::{Context, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Some of this machine's cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// All there are.
    All,
    /// The lower half.
    Lower,
    /// The other half.
    Upper,
}

impl Cores {
    fn of(self, all: usize) -> Range<usize> {
        match self {
            Cores::All => 0..all,
            Cores::Lower => 0..all / 2,
            Cores::Upper => all / 2..all,
        }
    }

    fn set(self) -> anyhow::Result<CpuSet> {
        let all = std::fs::read_to_string("/proc/cpuinfo")?;
        let all = all.lines().filter(|l| l.starts_with("processor")).count();
        let cores = self.of(all);
        ensure!(!cores.is_empty(), "one core has no halves");
        let mut set = CpuSet::new();
        cores.into_iter().try_for_each(|core| set.set(core))?;
        Ok(set)
    }

    /// Keeps the thread that calls there, and all that it will make.
    ///
    /// # Errors
    /// If there are not enough cores.
    pub fn confine_this_thread(self) -> anyhow::Result<()> {
        Ok(sched_setaffinity(Pid::from_raw(0), &self.set()?)?)
    }

    /// Keeps all threads of a process there, and all that they will make.
    ///
    /// # Errors
    /// If there are not enough cores, or the process is gone.
    pub fn confine(self, process: u32) -> anyhow::Result<()> {
        let set = self.set()?;
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let name = task?.file_name();
            let id = name.to_str().and_then(|id| id.parse().ok());
            let id = id.with_context(|| format!("{name:?} is no thread"))?;
            sched_setaffinity(Pid::from_raw(id), &set)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_all_cores_and_share_none() {
        for all in 2..9 {
            let (lower, upper) = (Cores::Lower.of(all), Cores::Upper.of(all));
            assert!(!lower.is_empty() && !upper.is_empty(), "of {all}");
            assert_eq!(
                lower.chain(upper).collect::<Vec<_>>(),
                Vec::from_iter(0..all)
            );
        }
    }
}
