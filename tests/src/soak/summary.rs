//! What a soak did and saw, as a table.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::{churn::Done, observer::Seen, outage::Outage, run::Plan};

/// The memory of a registrar, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// After the warm-up.
    pub before: f64,
    /// At the end.
    pub after: f64,
}

/// All of it.
#[derive(Debug)]
pub struct Summary {
    /// What was to be done.
    pub plan: Plan,
    /// How the API server was away for long.
    pub outage: Option<Outage>,
    /// Faults by kind.
    pub faults: Vec<(&'static str, usize)>,
    /// Calls to SPIRE that met a bad fate.
    pub calls: usize,
    /// Requests to the API server that met a fault.
    pub requests: usize,
    /// Differences that the registrars found when they compared with the server.
    pub repairs: usize,
    /// Trips of the breaker that were confirmed.
    pub trips: usize,
    /// From the end of the faults to exactly the right entries.
    pub settled: Duration,
    /// How many entries of pods were there at the end.
    pub entries: usize,
    /// Foreign entries, all as they were.
    pub foreign: usize,
    /// Of each registrar.
    pub memory: Vec<Memory>,
}

impl Summary {
    /// The table.
    pub fn table(&self, done: &Done, seen: &Seen) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |what: &str, value: &dyn fmt::Display| {
            rows.push((what.to_owned(), value.to_string()));
        };
        row("mode", &self.plan.mode.name());
        row("seed", &self.plan.seed);
        row("pods a second", &self.plan.per_second);
        row("length", &format!("{} s", self.plan.length.as_secs()));
        for (kind, count) in &self.faults {
            row(kind, count);
        }
        row("faults", &self.faults.iter().map(|(_, n)| n).sum::<usize>());
        row("calls to SPIRE that met a bad fate", &self.calls);
        row("requests to the API server that met one", &self.requests);
        let count = |n: &AtomicUsize| n.load(Ordering::Relaxed);
        if let Some(outage) = &self.outage {
            let length = format!("{} s", outage.length.as_secs());
            row("the API server away after that", &length);
            for (n, said) in outage.ready.iter().enumerate() {
                row(&format!("/readyz of registrar {} then", n + 1), said);
            }
        }
        row("pods made", &count(&done.made));
        row("pods deleted", &count(&done.deleted));
        row("pods changed", &count(&done.changed));
        row("requests of the churn that failed", &count(&done.failed));
        row("differences found and repaired", &self.repairs);
        row("trips of the breaker, confirmed", &self.trips);
        let (longest, pod) = &seen.longest;
        let longest = format!("{:.1} s ({pod})", longest.as_secs_f64());
        row("longest time without identity", &longest);
        row("identities lost while the pod lived", &seen.lost.len());
        let settled = format!("{:.1} s", self.settled.as_secs_f64());
        row("right after the last fault", &settled);
        row("entries at the end, exactly the right ones", &self.entries);
        row("foreign entries, as they were", &self.foreign);
        for (n, memory) in self.memory.iter().enumerate() {
            let text = format!("{:.1} -> {:.1} MiB", memory.before, memory.after);
            row(&format!("memory of registrar {}", n + 1), &text);
        }
        let widest = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        rows.into_iter()
            .map(|(what, value)| format!("| {what:widest$} | {value}\n"))
            .collect()
    }
}
