//! The newest version of a kind that was seen, so that a list from before it is not taken for what is there now.
//!
//! A list that asks for no version is as new as the store: so the API server promises. One whose cache or store lags behind
//! all the same would show what was made since as gone. Versions are numbers that grow, and may be compared within a kind.

use std::time::Duration;

use tokio::time::Instant;

/// A store that was restored from a backup begins at an older version, and stays there: when nothing newer came for so long,
/// what came is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(60);

/// The newest version of one kind.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// `None` until a version that is a number was seen.
    version: Option<u64>,
    /// Since when there have been only older lists.
    older_since: Option<Instant>,
}

impl Newest {
    /// Takes note of a version that a watch told, or a list that was taken.
    pub(super) fn seen(&mut self, version: &str) {
        if let Ok(version) = version.parse() {
            self.version = self.version.max(Some(version));
        }
    }

    /// Whether a list of this version may be taken; one whose version is no number may.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_take(&mut self, version: &str, now: Instant) -> Result<(), String> {
        let (Some(newest), Ok(listed)) = (self.version, version.parse::<u64>()) else {
            return Ok(());
        };
        if listed >= newest {
            self.older_since = None;
            return Ok(());
        }
        let since = *self.older_since.get_or_insert(now);
        if now.duration_since(since) >= BELIEVED_AFTER {
            *self = Self {
                version: Some(listed),
                older_since: None,
            };
            return Ok(());
        }
        Err(format!(
            "the list is as old as version {listed}, but version {newest} was seen before; it is believed when nothing newer \
             came for {} s, as after a backup of etcd was restored",
            BELIEVED_AFTER.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(versions: &[&str]) -> Newest {
        let mut newest = Newest::default();
        for version in versions {
            newest.seen(version);
        }
        newest
    }

    #[test]
    fn only_a_list_from_before_the_newest_version_is_refused() {
        for (before, listed, taken) in [
            (&[][..], "7", true),
            (&["7"], "7", true),
            (&["7"], "8", true),
            (&["7"], "6", false),
            // By number, not by letter.
            (&["9"], "10", true),
            (&["10"], "9", false),
            // What was seen out of order.
            (&["12", "11"], "11", false),
            // No number: nothing can be told.
            (&["7"], "", true),
            (&["7"], "v6", true),
            (&["v7", ""], "6", true),
        ] {
            let answer = seen(before).may_take(listed, Instant::now());
            assert_eq!(
                answer.is_ok(),
                taken,
                "{before:?}, then {listed}: {answer:?}"
            );
        }
    }

    #[test]
    fn an_older_list_is_believed_when_nothing_newer_came_for_a_minute() {
        let mut newest = seen(&["100"]);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(newest.may_take("40", begun).is_err());
        assert!(newest.may_take("41", after(59)).is_err());
        assert_eq!(newest.may_take("42", after(60)), Ok(()));
        // From there on it is as it was.
        assert_eq!(newest.may_take("43", after(61)), Ok(()));
        assert!(newest.may_take("41", after(62)).is_err());
    }

    #[test]
    fn a_list_that_is_new_enough_ends_the_minute() {
        let mut newest = seen(&["100"]);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(newest.may_take("40", begun).is_err());
        assert_eq!(newest.may_take("100", after(30)), Ok(()));
        let refused = newest
            .may_take("40", after(61))
            .expect_err("the minute begins anew");
        assert!(
            refused.contains("version 40") && refused.contains("version 100"),
            "{refused}"
        );
    }
}
