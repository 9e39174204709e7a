//! Which requests get a line, and how many lines there may be.

use std::sync::Arc;

use prometheus::IntCounter;

use crate::{
    clock::Clock,
    config::AccessLog,
    telemetry::{Asked, LineRate},
};

/// Most lines a second with `log.access = "errors"`. It is some 300 KiB, more than anybody reads, and
/// without a bound a flood of refusals costs more in its log than in its answers.
pub(super) const LINES_A_SECOND: u64 = 1_000;

/// Decides about lines. Whoever has asked for all requests gets all of them.
#[derive(Debug)]
pub struct AccessLines {
    wanted: AccessLog,
    clock: Arc<dyn Clock>,
    rate: LineRate,
    left_out: IntCounter,
}

impl AccessLines {
    /// Begins to count; what is left out is counted in `left_out`.
    pub fn new(wanted: AccessLog, clock: Arc<dyn Clock>, left_out: IntCounter) -> Self {
        Self {
            wanted,
            clock,
            rate: LineRate::new(LINES_A_SECOND),
            left_out,
        }
    }

    /// Tells whether a request gets its line. `failed`: it was refused, or ended badly.
    pub fn wants(&self, failed: bool) -> bool {
        match self.wanted {
            AccessLog::Off => false,
            AccessLog::All => true,
            AccessLog::Errors => failed && self.has_room(),
        }
    }

    fn has_room(&self) -> bool {
        let Asked { granted, left_out } = self.rate.ask(self.clock.monotonic());
        if left_out > 0 {
            tracing::warn!(
                lines = left_out,
                "access lines were left out, there were too many"
            );
        }
        if !granted {
            self.left_out.inc();
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn lines(wanted: AccessLog) -> (AccessLines, Arc<ManualClock>, IntCounter) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let left_out = IntCounter::new("left_out", "lines").unwrap();
        let lines = AccessLines::new(wanted, Arc::clone(&clock) as _, left_out.clone());
        (lines, clock, left_out)
    }

    fn written(lines: &AccessLines, asked: u64) -> u64 {
        (0..asked).filter(|_| lines.wants(true)).count() as u64
    }

    #[test]
    fn a_flood_of_refusals_gets_so_many_lines_a_second() {
        let (lines, clock, left_out) = lines(AccessLog::Errors);
        assert!(!lines.wants(false));

        assert_eq!(written(&lines, 3 * LINES_A_SECOND), LINES_A_SECOND);
        assert_eq!(left_out.get(), 2 * LINES_A_SECOND);
        clock.advance(Duration::from_secs(1));
        assert_eq!(written(&lines, 3 * LINES_A_SECOND), LINES_A_SECOND);
    }

    #[test]
    fn whoever_asks_for_all_lines_gets_all() {
        let (lines, _, left_out) = lines(AccessLog::All);

        assert_eq!(written(&lines, 3 * LINES_A_SECOND), 3 * LINES_A_SECOND);
        assert!(lines.wants(false));
        assert_eq!(left_out.get(), 0);
        assert!(!self::lines(AccessLog::Off).0.wants(true));
    }
}
