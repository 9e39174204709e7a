//! So many lines a second.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Monotonic;

/// Counts the lines of each second, without a lock: whoever logs must not wait for another.
#[derive(Debug)]
pub struct LineRate {
    /// Most lines in a second.
    most: u64,
    /// The second that is being counted, of the process's own clock.
    second: AtomicU64,
    /// How many lines were asked for in it.
    asked: AtomicU64,
    /// How many have been left out since that was last said.
    silent: AtomicU64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether it may be written.
    pub granted: bool,
    /// How many lines were left out in the seconds before; each is told once.
    pub left_out: u64,
}

impl LineRate {
    /// Begins to count.
    pub const fn new(most: u64) -> Self {
        Self {
            most,
            second: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            silent: AtomicU64::new(0),
        }
    }

    /// Asks for one more line.
    pub fn ask(&self, now: Monotonic) -> Asked {
        let now = now.as_micros() / 1_000_000;
        let counted = self.second.load(Ordering::Relaxed);
        let turns = now > counted
            && self
                .second
                .compare_exchange(counted, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        let left_out = if turns {
            self.asked.store(0, Ordering::Relaxed);
            self.silent.swap(0, Ordering::Relaxed)
        } else {
            0
        };
        let granted = self.asked.fetch_add(1, Ordering::Relaxed) < self.most;
        if !granted {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
        Asked { granted, left_out }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_second_has_its_lines_and_hears_what_the_one_before_left_out() {
        let rate = LineRate::new(2);
        let at = |millis| Monotonic::default().plus(Duration::from_millis(millis));
        let asked = |millis| {
            let Asked { granted, left_out } = rate.ask(at(millis));
            (granted, left_out)
        };

        assert_eq!(
            [0, 1, 2, 999].map(asked).map(|it| it.0),
            [true, true, false, false]
        );
        assert_eq!(asked(1_000), (true, 2));
        assert_eq!(asked(1_001), (true, 0));
        assert_eq!(asked(1_002), (false, 0));
        assert_eq!(asked(9_000), (true, 1));
    }
}
