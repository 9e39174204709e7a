//! What becomes of spans.

use prometheus::{IntCounter, Registry};

use super::{PerLabel, counter};

/// Why a span did not reach the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanDrop {
    /// As many as `tracing.queue_size` waited already.
    QueueFull,
    /// The collector could not be reached, or took none.
    Unsent,
    /// The collector took others of the batch.
    Refused,
}

impl SpanDrop {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unsent, Self::Refused];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unsent => "unsent",
            Self::Refused => "refused",
        }
    }
}

/// What is counted about spans.
#[derive(Debug)]
pub struct TraceMetrics {
    exported: IntCounter,
    dropped: PerLabel<3>,
}

impl TraceMetrics {
    /// Registers everything.
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            exported: counter(
                registry,
                "spans_exported_total",
                "Spans that the collector took.",
            ),
            dropped: PerLabel::new(
                registry,
                (
                    "spans_dropped_total",
                    "Spans that did not reach the collector, by reason.",
                ),
                "reason",
                SpanDrop::ALL.map(SpanDrop::as_str),
            ),
        }
    }

    /// Counts spans that the collector took.
    pub fn export(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
    }

    /// Counts spans that were dropped.
    pub fn drop(&self, reason: SpanDrop, spans: usize) {
        self.dropped.0[reason as usize].inc_by(spans as u64);
    }
}
