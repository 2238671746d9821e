//! Samples and what is said of them.

use std::time::Duration;

/// Durations or ratios of one kind, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds one, in milliseconds.
    pub fn add_ms(&mut self, value: Duration) {
        self.add(value.as_secs_f64() * 1000.0);
    }

    /// Adds those of another series.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `percent` of the samples do not exceed; NaN without samples.
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.clamp(1, sorted.len().max(1)) - 1)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// The middle one; of an even number, the mean of the middle two. NaN without samples.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
        }
    }

    /// Smallest and largest.
    pub fn spread(&self) -> (f64, f64) {
        (self.percentile(0.0), self.percentile(100.0))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let samples: Samples = (1..=100).map(f64::from).collect();
        assert_eq!(samples.percentile(50.0), 50.0);
        assert_eq!(samples.percentile(99.0), 99.0);
        assert_eq!(samples.spread(), (1.0, 100.0));
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn the_median_is_in_the_middle_of_the_two_that_are() {
        let of = |values: &[f64]| values.iter().copied().collect::<Samples>().median();
        assert_eq!(of(&[3.0, 1.0]), 2.0);
        assert_eq!(of(&[5.0, 1.0, 2.0]), 2.0);
    }
}
