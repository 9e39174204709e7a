//! The arithmetic of leases: what a window still has, who gets how much of it, and when it is free
//! again.
//!
//! A lease is charged, whole and before it is used, to the moment at which it ends, and counts
//! until a window after that. All its uses lie before its end, so no window of that length ever
//! holds more uses than the limit, whoever leased what and whether it was used or not. Ends are
//! rounded up to a fortieth of the window: a ledger has a few dozen charges however high the limit,
//! and what a lease held is back after 1.05 windows at the latest.

use std::time::Duration;

use crate::config::RateLimit;

/// Into how many parts a window is divided; leases live one to two of them.
pub const PARTS: u32 = 40;

/// A lease is at most this share of the limit.
const LARGEST_SHARE: u32 = 20;

/// And at most this share of what is left, so that the last of it goes where it is asked for.
const REST_SHARE: u32 = 8;

/// Part of a lease that was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The end that the lease was charged to.
    pub ends: u64,
    /// How many requests of it.
    pub units: u32,
}

/// What somebody gets who asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many requests may pass; 0 when the window is full.
    pub units: u32,
    /// The end that they are charged to, on the ledger's own clock.
    pub ends: u64,
    /// How far away that is.
    pub life: Duration,
    /// Time until the window's oldest charge leaves it.
    pub wait: Duration,
}

/// Returns the most that one lease may have of a quota.
pub const fn largest(quota: RateLimit) -> u32 {
    let share = quota.count / LARGEST_SHARE;
    if share == 0 { 1 } else { share }
}

/// Returns the length of a part of the window, in microseconds.
pub fn part(window: Duration) -> u64 {
    micros(window) / u64::from(PARTS)
}

/// Returns the end of a part that is `after` or later.
pub fn end_after(after: u64, part: u64) -> u64 {
    after.div_ceil(part) * part
}

/// Decides how much of `room` goes to whoever asks for `ask`.
const fn share_of(room: u32, ask: u32) -> u32 {
    let most = if room >= REST_SHARE {
        room / REST_SHARE
    } else if room > 0 {
        1
    } else {
        0
    };
    if ask < most { ask } else { most }
}

/// What was leased in the present window; times are microseconds of one clock.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Ends, each once and in order, with what is charged to them.
    charges: Vec<(u64, u32)>,
}

impl Ledger {
    /// Grants a lease, after what is `unused` of another has been taken back: what the store does
    /// in one step.
    pub fn lease(&mut self, now: u64, quota: RateLimit, ask: u32, unused: Option<Unused>) -> Grant {
        self.forget(now, quota.window);
        if let Some(unused) = unused {
            self.take_back(unused);
        }
        let part = part(quota.window);
        let ends = (now / part + 2) * part;
        let units = share_of(self.room(quota), ask);
        self.charge(ends, units);
        Grant {
            units,
            ends,
            life: Duration::from_micros(ends - now),
            wait: self.wait(now, quota.window),
        }
    }

    /// Drops what has left the window.
    pub fn forget(&mut self, now: u64, window: Duration) {
        let window = micros(window);
        self.charges
            .retain(|(ends, _)| ends.saturating_add(window) > now);
    }

    /// Returns how many requests the window has left.
    pub fn room(&self, quota: RateLimit) -> u32 {
        let held = self
            .charges
            .iter()
            .fold(0_u32, |sum, (_, units)| sum.saturating_add(*units));
        quota.count.saturating_sub(held)
    }

    /// Returns the time until the oldest charge leaves the window.
    pub fn wait(&self, now: u64, window: Duration) -> Duration {
        let first = self.charges.first().map_or(0, |(ends, _)| *ends);
        let leaves = first.saturating_add(micros(window));
        Duration::from_micros(leaves.saturating_sub(now))
    }

    /// Charges a lease to its end.
    pub fn charge(&mut self, ends: u64, units: u32) {
        if units == 0 {
            return;
        }
        match self.charges.binary_search_by_key(&ends, |(ends, _)| *ends) {
            Ok(at) => self.charges[at].1 = self.charges[at].1.saturating_add(units),
            Err(at) => self.charges.insert(at, (ends, units)),
        }
    }

    /// Takes back what a lease left over.
    pub fn take_back(&mut self, unused: Unused) {
        let found = self
            .charges
            .binary_search_by_key(&unused.ends, |(ends, _)| *ends);
        if let Ok(at) = found {
            self.charges[at].1 = self.charges[at].1.saturating_sub(unused.units);
            if self.charges[at].1 == 0 {
                self.charges.remove(at);
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);
    const PART: u64 = 1_500_000;

    fn quota(count: u32) -> RateLimit {
        RateLimit {
            count,
            window: WINDOW,
        }
    }

    #[test]
    fn a_lease_is_charged_until_a_window_after_its_end() {
        let mut ledger = Ledger::default();
        let grant = ledger.lease(PART / 2, quota(1), 1, None);
        assert_eq!((grant.units, grant.ends), (1, 2 * PART));
        assert_eq!(grant.life, Duration::from_micros(PART + PART / 2));

        let leaves = grant.ends + micros(WINDOW);
        let full = ledger.lease(leaves - 1, quota(1), 1, None);
        assert_eq!((full.units, full.wait), (0, Duration::from_micros(1)));
        assert_eq!(ledger.lease(leaves, quota(1), 1, None).units, 1);
    }

    #[test]
    fn the_rest_is_shared_out_in_ever_smaller_leases() {
        let mut ledger = Ledger::default();
        let mut leases = Vec::new();
        loop {
            let units = ledger
                .lease(0, quota(1_000), largest(quota(1_000)), None)
                .units;
            if units == 0 {
                break;
            }
            leases.push(units);
        }
        assert_eq!(leases.iter().sum::<u32>(), 1_000);
        assert_eq!(leases[0], 50);
        assert!(leases.is_sorted_by(|a, b| a >= b), "{leases:?}");
        assert_eq!(leases.last(), Some(&1));
    }

    #[test]
    fn what_is_taken_back_can_be_leased_again() {
        let mut ledger = Ledger::default();
        let first = ledger.lease(0, quota(20), 1, None);
        for _ in 0..19 {
            ledger.lease(0, quota(20), 1, None);
        }
        assert_eq!(ledger.lease(0, quota(20), 1, None).units, 0);
        let unused = Unused {
            ends: first.ends,
            units: 1,
        };
        assert_eq!(ledger.lease(PART, quota(20), 5, Some(unused)).units, 1);
        // Nobody gives back what has left the window, or was never leased.
        let stranger = Unused { ends: 7, units: 9 };
        assert_eq!(ledger.lease(PART, quota(20), 5, Some(stranger)).units, 0);
    }

    proptest! {
        /// Whatever is leased and given back when: charges never exceed the limit, every lease
        /// lives one to two parts, and there are few charges.
        #[test]
        fn charges_never_exceed_the_limit(
            count in 1_u32..5_000,
            steps in proptest::collection::vec((0_u64..20 * PART, 1_u32..400, 0_u32..100), 1..200),
        ) {
            let quota = quota(count);
            let mut ledger = Ledger::default();
            let mut now = 0;
            let mut last: Option<Grant> = None;
            for (wait, ask, unused) in steps {
                now += wait;
                let unused = last.map(|grant| Unused {
                    ends: grant.ends,
                    units: unused.min(grant.units),
                });
                let grant = ledger.lease(now, quota, ask, unused);
                prop_assert!(grant.units <= ask);
                prop_assert!(grant.ends - now > PART && grant.ends - now <= 2 * PART);
                let held: u32 = ledger.charges.iter().map(|(_, units)| units).sum();
                prop_assert!(held <= count);
                prop_assert!(ledger.charges.len() <= PARTS as usize + 2);
                prop_assert!(grant.units > 0 || grant.wait > Duration::ZERO || held == 0);
                last = Some(grant).filter(|grant| grant.units > 0);
            }
        }
    }
}
