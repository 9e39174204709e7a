//! How often a lasting fault is complained about.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Monotonic;

/// Least time between two complaints about the same lasting fault.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps a fault that every request meets from filling the log.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Option<Monotonic>>);

impl Complaints {
    /// Tells whether it is time to complain, and takes it that the caller then does.
    pub fn is_due(&self, now: Monotonic) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.since(last) >= COMPLAINT_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_millis(millis))
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
