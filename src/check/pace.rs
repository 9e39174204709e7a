//! How often the check may write what a flood would make it write at every request.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Monotonic;

/// Refusals per second and process that may be written to Redis. Past that, a token is looked up
/// before a lease is taken, so that a flood of garbage stops filling Redis long before it stops
/// being answered.
const REFUSALS_PER_SECOND: u64 = 100;

/// Counts the refusals of the present second.
#[derive(Debug, Default)]
pub(super) struct RefusalRate {
    /// The second in the upper half, the count in the lower.
    state: AtomicU64,
}

impl RefusalRate {
    pub(super) fn is_exceeded(&self, now: Monotonic) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state >> 32 == second(now) && state & 0xFFFF_FFFF >= REFUSALS_PER_SECOND
    }

    pub(super) fn count(&self, now: Monotonic) {
        let _ = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                Some(if state >> 32 == second(now) {
                    state + 1
                } else {
                    second(now) << 32 | 1
                })
            });
    }
}

fn second(now: Monotonic) -> u64 {
    now.since(Monotonic::default()).as_secs() & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_millis(millis))
    }

    #[test]
    fn refusals_are_counted_by_the_second() {
        let rate = RefusalRate::default();
        for _ in 0..REFUSALS_PER_SECOND {
            assert!(!rate.is_exceeded(at(5_100)));
            rate.count(at(5_100));
        }
        assert!(rate.is_exceeded(at(5_999)));
        assert!(!rate.is_exceeded(at(6_000)));
    }
}
