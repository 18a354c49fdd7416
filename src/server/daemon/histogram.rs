//! Latency histogram for Prometheus. Counting a message adds to two atomic numbers, without the lock that the library's
//! histogram takes.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the buckets, in microseconds. The last bucket has none.
const ENDS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// The histogram. Clones share the same numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    buckets: [AtomicU64; ENDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    /// Counts one judgement.
    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = ENDS.partition_point(|end| end * 1_000 < nanoseconds);
        if let Some(count) = self.0.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.0.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// Returns for each bucket its end in seconds and its own count.
    fn buckets(&self) -> Vec<(f64, u64)> {
        let ends = ENDS.iter().map(|end| *end as f64 / 1e6).chain([f64::INFINITY]);
        ends.zip(self.0.buckets.iter().map(|count| count.load(Relaxed))).collect()
    }

    /// Returns the quantile `part` in seconds; `None` if nothing was counted.
    ///
    /// Estimates as Prometheus does: the judgements in a bucket are taken as spread evenly over it.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let buckets = self.buckets();
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        let rank = part * all as f64;
        let (mut begin, mut before) = (0.0, 0.0);
        for (end, count) in buckets.into_iter().filter(|_| all > 0) {
            let within = count as f64;
            if end.is_infinite() {
                return Some(begin);
            }
            if before + within >= rank && within > 0.0 {
                return Some(begin + (end - begin) * (rank - before) / within);
            }
            (begin, before) = (end, before + within);
        }
        None
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let buckets = self.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.nanoseconds.load(Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_are_estimated_within_their_buckets() {
        let latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for _ in 0..98 {
            latency.observe(Duration::from_micros(60));
        }
        latency.observe(Duration::from_millis(7));
        latency.observe(Duration::from_secs(60));
        let near = |part: f64, seconds: f64| {
            let estimated = latency.quantile(part).unwrap();
            assert!((estimated - seconds).abs() < 1e-9, "{part}: {estimated}");
        };
        near(0.5, 0.000_05 + 0.000_05 * 50.0 / 98.0);
        near(0.99, 0.01);
        // Values beyond the last end are estimated as that end.
        near(1.0, 5.0);
    }

    #[test]
    fn an_end_belongs_to_its_bucket() {
        let latency = Latency::default();
        latency.observe(Duration::from_micros(50));
        latency.observe(Duration::from_nanos(50_001));
        let counts: Vec<u64> = latency.buckets().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts[..3], [1, 1, 0]);
    }
}
