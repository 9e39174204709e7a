//! All counters at one moment, so that two of them make a rate.

use prometheus::{Histogram, core::Metric as _};

use super::{ConnectionFailure, Metrics, Protocol};

/// What the metrics said at one moment. Members that count go up only.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Requests ended, by [`Outcome`](super::Outcome).
    pub requests: [u64; 4],
    /// The same, by [`STATUS_CLASSES`](super::STATUS_CLASSES).
    pub responses: [u64; 6],
    /// Token checks by [`Tier`](super::Tier), live and refused together.
    pub checks: [u64; 3],
    /// Refusals by reason, in alphabetical order.
    pub refusals: Vec<(&'static str, u64)>,
    /// Requests' durations in seconds.
    pub durations: Distribution,
    /// The self-test's times in seconds.
    pub lags: Distribution,
    /// Connections open, by [`Protocol`]; goes up and down.
    pub open: [u64; 3],
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that came to nothing, by [`ConnectionFailure`].
    pub failed: [u64; 4],
}

/// A histogram at one moment, or between two.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// Upper bounds, each with the count of what is not above it.
    cumulative: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl Metrics {
    /// Reads everything that a rate is made of.
    pub fn read(&self) -> Reading {
        let reasons = self.reasons.get().into_iter().flatten();
        Reading {
            requests: self.requests.values(),
            responses: self.responses.values(),
            checks: self
                .checks
                .each_ref()
                .map(|tier| tier.values().iter().sum()),
            refusals: reasons
                .map(|reason| (*reason, self.rejections.with_label_values(&[reason]).get()))
                .collect(),
            durations: Distribution::of(&self.request_duration),
            lags: Distribution::of(&self.coherence.revocation_lag),
            open: Protocol::ALL.map(|protocol| self.connections.open(protocol)),
            accepted: self.connections.accepted.get(),
            failed: ConnectionFailure::ALL.map(|reason| self.connections.failures(reason)),
        }
    }
}

impl Distribution {
    fn of(histogram: &Histogram) -> Self {
        let metric = histogram.metric();
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket().iter();
        Self {
            cumulative: buckets
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
            count: histogram.get_sample_count(),
            sum: histogram.get_sample_sum(),
        }
    }

    /// Returns what has come in since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.cumulative.iter().zip(&earlier.cumulative);
        Self {
            cumulative: pairs
                .map(|((bound, now), (_, then))| (*bound, now.saturating_sub(*then)))
                .collect(),
            count: self.count.saturating_sub(earlier.count),
            sum: self.sum - earlier.sum,
        }
    }

    /// Returns the mean, `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Estimates a quantile from 0 to 1, `None` of nothing: evenly spread within its bucket, and
    /// at most the last bound, as Prometheus's `histogram_quantile` has it.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = quantile * self.count as f64;
        let (mut lower, mut below) = (0.0, 0);
        for &(upper, cumulative) in &self.cumulative {
            if cumulative as f64 >= rank {
                let within = (cumulative - below).max(1) as f64;
                return Some(lower + (upper - lower) * (rank - below as f64) / within);
            }
            (lower, below) = (upper, cumulative);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn quantiles_are_those_of_what_came_between_two_readings() {
        let metrics = Metrics::new();
        let arrives = |micros| {
            let lag = Duration::from_micros(micros);
            metrics.coherence.arrived_after(lag);
        };
        assert_eq!(metrics.read().lags.quantile(0.5), None);
        arrives(900_000);
        let before = metrics.read().lags;
        for _ in 0..99 {
            arrives(150);
        }
        arrives(30_000);

        let between = metrics.read().lags.since(&before);

        let (p50, p99) = (between.quantile(0.5), between.quantile(0.99));
        assert!(
            p50.is_some_and(|p50| (0.0001..0.00025).contains(&p50)),
            "{p50:?}"
        );
        assert!(p99.is_some_and(|p99| p99 <= 0.00025), "{p99:?}");
        let last = between.quantile(1.0).unwrap();
        assert!((last - 0.05).abs() < 1e-9, "{last}");
        let mean = between.mean().unwrap();
        assert!((mean - 0.0004485).abs() < 1e-9, "{mean}");
        assert_eq!(metrics.coherence.last_revocation_lag(), 0.03);
    }
}
