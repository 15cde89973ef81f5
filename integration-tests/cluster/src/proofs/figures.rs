//! Percentiles of what was measured.

use std::time::Duration;

/// Durations, each with its sign: an answer may come after what it answers for has taken effect.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Adds one, in milliseconds.
    pub fn add(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    /// Adds one.
    pub fn add_duration(&mut self, duration: Duration) {
        self.add(duration.as_secs_f64() * 1000.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that `percent` of 100 do not exceed, milliseconds; by nearest rank, and infinite if
    /// there is nothing: that is no good time.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::INFINITY)
    }

    /// Median, 99th percentile and largest, for people.
    pub fn text(&self) -> String {
        let [p50, p99, most] = [50, 99, 100].map(|percent| self.percentile(percent));
        format!("p50 {p50:.1}, p99 {p99:.1}, largest {most:.1} ms of {}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut figures = Figures::default();
        assert!(figures.percentile(50).is_infinite());
        (1..=200).rev().for_each(|value| figures.add(f64::from(value)));
        let ranks = [50, 99, 100].map(|percent| figures.percentile(percent));
        assert_eq!(ranks, [100.0, 198.0, 200.0]);
    }
}
