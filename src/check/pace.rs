//! How often the check may do what a flood would make it do at every request.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::Monotonic;

/// Refusals per second and process that may be written to Redis. Past that, a token is looked up
/// before a lease is taken, so that a flood of garbage stops filling Redis long before it stops
/// being answered.
const REFUSALS_PER_SECOND: u64 = 100;

/// Least time between two complaints about the same lasting fault.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps a fault that every request meets from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<Monotonic>>);

impl Complaints {
    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.since(last) >= COMPLAINT_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

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

    #[test]
    fn a_lasting_fault_is_complained_about_now_and_then() {
        let complaints = Complaints::default();
        let due: Vec<bool> = [0, 1, 9_999, 10_000, 19_999, 20_000]
            .into_iter()
            .map(|millis| complaints.is_due(at(millis)))
            .collect();
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
