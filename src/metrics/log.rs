//! What becomes of the lines of the log and of the audit trail.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::{PerLabel, register};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The log's, the access log's among them.
    Log,
    /// An audit event, wherever `log.audit` sends it.
    Audit,
}

impl Line {
    const ALL: [Self; 2] = [Self::Log, Self::Audit];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Audit => "audit",
        }
    }
}

/// Why a line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineDrop {
    /// Too many waited already: whoever reads them, or the disk, is too slow or has stopped.
    QueueFull,
    /// The operating system refused it.
    Unwritten,
    /// Libraries had said enough in that second.
    TooMany,
}

impl LineDrop {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unwritten, Self::TooMany];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unwritten => "unwritten",
            Self::TooMany => "too_many",
        }
    }
}

/// What is counted about lines. It begins with the log, before there is a registry.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    all_dropped: IntCounterVec,
    dropped: [PerLabel<3>; 2],
    /// Lines that wait to be written, the one that is being written included.
    pub waiting: IntGauge,
}

impl LogMetrics {
    /// Begins at zero.
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    pub fn new() -> Self {
        let all_dropped = IntCounterVec::new(
            Opts::new(
                "log_lines_dropped_total",
                "Lines of the log and audit events that were not written, by reason.",
            ),
            &["kind", "reason"],
        )
        .expect("a constant name");
        let waiting = IntGauge::new(
            "log_lines_waiting",
            "Lines of the log and audit events that wait to be written.",
        )
        .expect("a constant name");
        Self {
            dropped: Line::ALL.map(|line| {
                PerLabel(
                    LineDrop::ALL
                        .map(|why| all_dropped.with_label_values(&[line.as_str(), why.as_str()])),
                )
            }),
            all_dropped,
            waiting,
        }
    }

    /// Lets `registry` show it.
    pub(super) fn show_in(&self, registry: &Registry) {
        register(registry, self.all_dropped.clone());
        register(registry, self.waiting.clone());
    }

    /// Counts a line that is not written.
    pub fn drop(&self, line: Line, why: LineDrop) {
        self.dropped[line as usize].0[why as usize].inc();
    }
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self::new()
    }
}
