//! How long things took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: each is a quarter wider than the one before, which keeps percentiles within an eighth.
const BUCKETS: usize = 80;

/// The upper end of the first one, in microseconds; that of the last is then over an hour.
const FIRST_US: f64 = 100.0;
const GROWTH: f64 = 1.25;

/// The percentiles that CouchDB reports; 999 stands for 99.9.
pub(super) const PERCENTILES: [(u16, f64); 6] =
    [(50, 0.5), (75, 0.75), (90, 0.9), (95, 0.95), (99, 0.99), (999, 0.999)];

/// Durations since the start of the server.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<AtomicU64>,
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

/// What a histogram shows at one moment. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many durations there were.
    pub count: u64,
    /// All of them together.
    pub sum_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The upper ends of buckets that aren't empty, and what is in them.
    pub buckets: Vec<(f64, u64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(bucket_of(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it shows now.
    pub fn summary(&self) -> Summary {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = counts
            .enumerate()
            .filter(|(_, n)| *n > 0)
            .map(|(at, n)| (upper_end_ms(at), n))
            .collect();
        let ms =
            |us: &AtomicU64| Duration::from_micros(us.load(Ordering::Relaxed)).as_secs_f64() * 1e3;
        Summary {
            count: buckets.iter().map(|(_, n)| n).sum(),
            sum_ms: ms(&self.sum_us),
            max_ms: ms(&self.max_us),
            buckets,
        }
    }
}

fn bucket_of(took: Duration) -> usize {
    let mut end = FIRST_US / 1e6;
    let took = took.as_secs_f64();
    for at in 0..BUCKETS - 1 {
        if took <= end {
            return at;
        }
        end *= GROWTH;
    }
    BUCKETS - 1
}

fn upper_end_ms(bucket: usize) -> f64 {
    (0..bucket).fold(FIRST_US / 1e3, |end, _| end * GROWTH)
}

impl Summary {
    /// The time within which this part of them (from 0 to 1) took.
    pub fn percentile_ms(&self, part: f64) -> f64 {
        let mut left = part * count_f64(self.count);
        for (end, n) in &self.buckets {
            left -= count_f64(*n);
            if left <= 0.0 {
                return end.min(self.max_ms);
            }
        }
        self.max_ms
    }

    /// The arithmetic mean.
    pub fn mean_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_ms / count_f64(self.count) }
    }

    /// The mean of the squared distances from the mean, over buckets.
    pub fn variance(&self) -> f64 {
        let mean = self.mean_ms();
        let squares = self.buckets.iter().map(|(end, n)| (end - mean).powi(2) * count_f64(*n));
        if self.count == 0 { 0.0 } else { squares.sum::<f64>() / count_f64(self.count) }
    }
}

/// A count as a number to calculate with; beyond 2^53 it is as good as any.
#[expect(clippy::cast_precision_loss, reason = "only shown, never counted with")]
pub(super) fn count_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.max_ms), (1000, 1000.0));
        assert!((summary.mean_ms() - 500.5).abs() < 1e-6);
        for (_, part) in PERCENTILES {
            let (found, exact) = (summary.percentile_ms(part), part * 1000.0);
            assert!(found >= exact && found <= exact * GROWTH, "{part}: {found}");
        }
    }

    #[test]
    fn the_ends_of_the_scale() {
        let histogram = Histogram::default();
        assert!(histogram.summary().percentile_ms(0.5).abs() < 1e-9);
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(1 << 40));
        let summary = histogram.summary();
        assert_eq!(summary.count, 2);
        assert!(summary.percentile_ms(0.5) <= 0.1);
    }
}
