//! How the limit per token is counted.

use prometheus::{IntCounter, IntGauge, Registry};

use super::{PerLabel, counter, gauge};

/// What became of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// Redis granted it.
    Granted,
    /// Redis found the window full.
    Full,
    /// Redis could not say.
    Failed,
    /// It was granted without Redis.
    Alone,
}

impl LeaseOutcome {
    const ALL: [Self; 4] = [Self::Granted, Self::Full, Self::Failed, Self::Alone];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Full => "full",
            Self::Failed => "failed",
            Self::Alone => "alone",
        }
    }
}

/// What is counted about it.
#[derive(Debug)]
pub struct BearerLimitMetrics {
    leases: PerLabel<4>,
    /// Requests refused because their token's window was full.
    pub refusals: IntCounter,
    /// Tokens whose requests are counted at this moment.
    pub tokens: IntGauge,
}

impl BearerLimitMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            leases: PerLabel::new(
                registry,
                (
                    "bearer_limit_leases_total",
                    "Leases of the limit per token: granted by Redis, refused by a full window, \
                     failed, or granted without Redis.",
                ),
                "result",
                LeaseOutcome::ALL.map(LeaseOutcome::as_str),
            ),
            refusals: counter(
                registry,
                "bearer_limit_refusals_total",
                "Requests refused because their token's window was full; answered 429.",
            ),
            tokens: gauge(
                registry,
                "bearer_limit_tokens",
                "Tokens whose requests are counted against the limit per token.",
            ),
        }
    }

    /// Counts an answer to a call for a lease.
    pub fn lease(&self, outcome: LeaseOutcome) {
        self.leases.0[outcome as usize].inc();
    }
}
