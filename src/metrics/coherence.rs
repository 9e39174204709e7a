//! How local entries follow those in Redis.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use super::{PerLabel, counter, gauge, histogram, register};

/// Upper bounds, in seconds, of the time from a change in Redis to its arrival here. Around the
/// promise of ten milliseconds, and up to where the self-test gives up.
const LAG_BUCKETS: [f64; 12] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// Why local entries were ended before their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// Changes in Redis are no longer reported.
    Lost,
    /// The connection to Redis is another one.
    Reconnected,
    /// Redis was emptied.
    Flushed,
}

impl FlushReason {
    const ALL: [Self; 3] = [Self::Lost, Self::Reconnected, Self::Flushed];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Reconnected => "reconnected",
            Self::Flushed => "flushed",
        }
    }
}

/// What is counted about it.
#[derive(Debug)]
pub struct CoherenceMetrics {
    /// Entries that were checked against Postgres before they were used.
    pub entries_verified: IntCounter,
    /// Searches for the successor of a local entry.
    pub refreshes: IntCounter,
    /// 1 where changes in Redis are followed, else 0.
    pub followed: IntGauge,
    /// Changes that Redis reported.
    pub invalidations: IntCounter,
    flushes: PerLabel<3>,
    /// Time from asking Redis for a write to hearing of it, in seconds.
    pub(super) revocation_lag: Histogram,
    last_revocation_lag: Gauge,
}

impl CoherenceMetrics {
    /// Registers everything.
    #[expect(clippy::expect_used, reason = "the name is a constant")]
    pub(super) fn new(registry: &Registry) -> Self {
        let last_revocation_lag = Gauge::new(
            "token_cache_revocation_lag_last_seconds",
            "The last self-test's time from asking Redis for a write to hearing of it.",
        )
        .expect("a constant name");
        register(registry, last_revocation_lag.clone());
        Self {
            entries_verified: counter(
                registry,
                "token_cache_entries_verified_total",
                "Entries found in Redis that were checked against Postgres before use.",
            ),
            flushes: PerLabel::new(
                registry,
                (
                    "token_cache_flushes_total",
                    "Times that local entries were ended before their time, by reason.",
                ),
                "reason",
                FlushReason::ALL.map(FlushReason::as_str),
            ),
            refreshes: counter(
                registry,
                "token_cache_refreshes_total",
                "Searches for the successor of a local entry that was near its end.",
            ),
            followed: gauge(
                registry,
                "token_cache_followed",
                "Whether changes in Redis are followed: 1, or 0 (local entries live untracked_ttl).",
            ),
            invalidations: counter(
                registry,
                "token_cache_invalidations_total",
                "Changes of token entries that Redis reported.",
            ),
            revocation_lag: histogram(
                registry,
                "token_cache_revocation_lag_seconds",
                "Self-test, once a second: time from asking Redis for a write to hearing of it.",
                &LAG_BUCKETS,
            ),
            last_revocation_lag,
        }
    }

    /// Notes how long a change took to arrive.
    pub fn arrived_after(&self, lag: Duration) {
        self.revocation_lag.observe(lag.as_secs_f64());
        self.last_revocation_lag.set(lag.as_secs_f64());
    }

    /// Returns how long the last one took, in seconds; 0 before the first.
    pub fn last_revocation_lag(&self) -> f64 {
        self.last_revocation_lag.get()
    }

    /// Counts a flush of local entries.
    pub fn flush(&self, reason: FlushReason) {
        self.flushes.0[reason as usize].inc();
    }
}
