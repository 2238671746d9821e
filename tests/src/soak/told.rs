//! What the registrars tell of themselves, again and again.

use std::{collections::BTreeMap, time::Duration};

use super::faults::Injector;

/// All of it, also of those that were killed since.
#[derive(Debug, Default)]
pub struct Told {
    /// Trips of the breaker that were confirmed.
    pub trips: usize,
    /// Differences that each process found, and those of its predecessors.
    found: BTreeMap<usize, (f64, f64)>,
}

impl Told {
    /// Asks all that answer, and confirms, as an operator does, what the breaker asks for.
    pub async fn ask(&mut self, injector: &Injector) {
        for (n, replica) in injector.replicas.iter().enumerate() {
            let asked = replica.registrar.get("/metrics");
            let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
            let Ok(Ok((_, text))) = answer else { continue };
            let sum = |name: &str| -> f64 {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines
                    .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                    .sum()
            };
            let found = sum("k8s_workload_registrar_drift_found_total{");
            let (before, now) = self.found.entry(n).or_default();
            if found < *now {
                *before += *now;
            }
            *now = found;
            if sum("k8s_workload_registrar_breaker_tripped ") > 0.0 {
                replica.registrar.process.user_signal();
                self.trips += 1;
            }
        }
    }

    /// Differences that all of them found.
    pub fn repairs(&self) -> usize {
        self.found
            .values()
            .map(|(before, now)| before + now)
            .sum::<f64>() as usize
    }
}
