//! What tenants can make us say: so many log lines and Events for each namespace, so many Events of a kind for each object, and
//! then how many were left out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Counts what is said of each of many, by name, in windows of time.
#[derive(Debug)]
pub struct Throttle {
    /// How much may be said of one in a window.
    most: usize,
    window: Duration,
    of: Mutex<BTreeMap<String, Window>>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    said: usize,
}

impl Throttle {
    /// Log lines, or Events, about the objects of a namespace.
    pub fn by_namespace() -> Self {
        Self::new(50, Duration::from_secs(10))
    }

    /// Events about an object, of one kind.
    pub fn by_object() -> Self {
        Self::new(10, Duration::from_secs(600))
    }

    fn new(most: usize, window: Duration) -> Self {
        Self {
            most,
            window,
            of: Mutex::default(),
        }
    }

    /// Whether more may be said of this one.
    pub fn admits(&self, name: &str, now: Instant) -> bool {
        let mut windows = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match windows.get_mut(name) {
            Some(window) => window,
            None => windows.entry(name.to_owned()).or_insert(Window {
                begun: now,
                said: 0,
            }),
        };
        window.said += 1;
        window.said <= self.most
    }

    /// Those whose window has ended, and how much of them was left out. They begin anew.
    pub fn ended(&self, now: Instant) -> Vec<(String, usize)> {
        let mut windows = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        windows.retain(|name, window| {
            let lasts = now.saturating_duration_since(window.begun) < self.window;
            if !lasts && window.said > self.most {
                left_out.push((name.clone(), window.said - self.most));
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
    fn who_is_too_loud_is_cut_off_until_the_window_ends_and_others_are_not() {
        for throttle in [Throttle::by_namespace(), Throttle::by_object()] {
            let (now, most) = (Instant::now(), throttle.most);
            let admitted = (0..1_000).filter(|_| throttle.admits("loud", now)).count();
            assert_eq!(admitted, most);
            assert!(throttle.admits("quiet", now));
            assert!(throttle.ended(now).is_empty());
            assert!(!throttle.admits("loud", now));
            let later = now + throttle.window;
            assert_eq!(throttle.ended(later), [("loud".to_owned(), 1_001 - most)]);
            assert!(throttle.admits("loud", later));
        }
    }
}
