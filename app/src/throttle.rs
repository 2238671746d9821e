//! What tenants can make us log: so many lines for each namespace, and then how many were left out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines of one namespace in a window.
const LINES: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines by namespace.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<BTreeMap<String, Window>>);

#[derive(Debug)]
struct Window {
    begun: Instant,
    lines: usize,
}

impl Throttle {
    /// Whether one more line about this namespace may be written.
    pub fn admits(&self, namespace: &str, now: Instant) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match windows.get_mut(namespace) {
            Some(window) => window,
            None => windows.entry(namespace.to_owned()).or_insert(Window {
                begun: now,
                lines: 0,
            }),
        };
        window.lines += 1;
        window.lines <= LINES
    }

    /// The namespaces whose window has ended, and how many of their lines were left out. They begin anew.
    pub fn ended(&self, now: Instant) -> Vec<(String, usize)> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        windows.retain(|namespace, window| {
            let lasts = now.saturating_duration_since(window.begun) < WINDOW;
            if !lasts && window.lines > LINES {
                left_out.push((namespace.clone(), window.lines - LINES));
            }
            lasts
        });
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_too_loud_is_cut_off_and_others_are_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let admitted = (0..1_000).filter(|_| throttle.admits("loud", now)).count();
        assert_eq!(admitted, LINES);
        assert!(throttle.admits("quiet", now));
        assert!(throttle.ended(now).is_empty());
        assert_eq!(
            throttle.ended(now + WINDOW),
            [("loud".to_owned(), 1_000 - LINES)]
        );
        assert!(throttle.admits("loud", now + WINDOW));
    }
}
