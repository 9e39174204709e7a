//! What one process may still let through for one token: the lease that it has, and its books.
//!
//! Requests take from the lease with atomics alone. Whoever changes the lease holds the books,
//! one at a time for each token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use super::ledger::{Grant, Ledger, Unused, end_after, largest, part};
use crate::{clock::Monotonic, config::RateLimit};

/// What a lease has for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// A place; the first request to find the lease near its end is told so.
    Admitted {
        /// Whether the next lease should be fetched now, in the background.
        renew: bool,
    },
    /// Nothing, and nobody need be asked for this long.
    Full(Duration),
    /// Nothing; there may be more.
    Empty,
}

/// A token's part in this process. Times are microseconds of the process's clock.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// What the lease was asked for, as [`packed`]; another quota voids it.
    quota: AtomicU64,
    units: AtomicU32,
    /// Below this many units the next lease is fetched.
    low: AtomicU32,
    until: AtomicU64,
    /// From here on, too.
    renew_at: AtomicU64,
    full_until: AtomicU64,
    renewing: AtomicBool,
    /// Held by whoever changes the lease.
    pub(super) books: Arc<Mutex<Books>>,
}

/// Where the leases came from.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Everything that was leased here, with Redis or without: what bounds this process alone
    /// while Redis is away.
    own: Ledger,
    lease: Option<Lease>,
    /// What is to be given back with the next call.
    pub(super) unused: Option<Unused>,
}

/// The lease that requests take from.
#[derive(Debug)]
struct Lease {
    /// The end that it is charged to in Redis; absent where Redis was not asked.
    ends: Option<u64>,
    /// The end that it is charged to in the process's own ledger.
    own_ends: u64,
    /// How much it was, all grants for the same end together.
    granted: u32,
}

/// Both halves of a quota in one word, so that they are compared at once.
fn packed(quota: RateLimit) -> u64 {
    // A day has fewer milliseconds than 32 bits hold.
    let window = u64::try_from(quota.window.as_millis()).unwrap_or(u64::MAX);
    u64::from(quota.count) << 32 | window & 0xffff_ffff
}

impl Share {
    /// Takes one request's place. Neither waits nor allocates.
    pub(super) fn take(&self, quota: RateLimit, now: Monotonic) -> Take {
        if self.quota.load(Ordering::Acquire) != packed(quota) {
            return Take::Empty;
        }
        let now = now.as_micros();
        if now < self.until.load(Ordering::Acquire)
            && let Ok(before) =
                self.units
                    .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |units| {
                        units.checked_sub(1)
                    })
        {
            let due = before <= self.low.load(Ordering::Relaxed)
                || now >= self.renew_at.load(Ordering::Relaxed);
            let renew = due
                && !self.renewing.load(Ordering::Relaxed)
                && !self.renewing.swap(true, Ordering::Relaxed);
            return Take::Admitted { renew };
        }
        match self.full_until.load(Ordering::Acquire).saturating_sub(now) {
            0 => Take::Empty,
            wait => Take::Full(Duration::from_micros(wait)),
        }
    }

    /// Lets another request fetch the next lease.
    pub(super) fn renewed(&self) {
        self.renewing.store(false, Ordering::Relaxed);
    }

    /// Decides how much to ask for: as much again as was used of the lease, so that what lies
    /// about unused is never more than what was of use.
    ///
    /// # Errors
    ///
    /// How long this process alone has used the window up for.
    pub(super) fn next_ask(
        &self,
        books: &mut Books,
        quota: RateLimit,
        now: Monotonic,
    ) -> Result<u32, Duration> {
        let until = self.until.load(Ordering::Relaxed);
        let now = now.as_micros();
        let used = books.lease.as_ref().map_or(0, |lease| {
            lease
                .granted
                .saturating_sub(self.units.load(Ordering::Relaxed))
        });
        // What was of use long ago says nothing.
        let recent = now < until.saturating_add(part(quota.window));
        let wanted = if recent { used.max(1) } else { 1 };
        if now >= until || self.quota.load(Ordering::Relaxed) != packed(quota) {
            self.close(books);
        }
        books.own.forget(now, quota.window);
        match books.own.room(quota) {
            0 => {
                let wait = books.own.wait(now, quota.window);
                self.fill_up(quota, now, wait);
                Err(wait)
            }
            room => Ok(wanted.min(largest(quota)).min(room)),
        }
    }

    /// Puts a lease of Redis's in force, asked for at `asked`; `kept` of it is the asker's.
    pub(super) fn put(
        &self,
        books: &mut Books,
        quota: RateLimit,
        grant: Grant,
        asked: Monotonic,
        kept: u32,
    ) {
        // By then it has ended in Redis, too: its answer took some time, and counts milliseconds.
        let until = asked.plus(grant.life.saturating_sub(Duration::from_millis(1)));
        let lease = Lease {
            ends: Some(grant.ends),
            own_ends: end_after(until.as_micros(), part(quota.window)),
            granted: grant.units,
        };
        self.install(books, quota, lease, asked, until, kept);
    }

    /// Refuses from `now` on until the window has something again; what is left of the lease is
    /// used up.
    pub(super) fn put_full(&self, quota: RateLimit, grant: Grant, now: Monotonic) {
        self.fill_up(quota, now.as_micros(), grant.wait);
    }

    /// Puts a lease in force that nobody else knows of, until `until` at the latest: the whole
    /// limit, for this process alone.
    ///
    /// # Errors
    ///
    /// How long the window is full for.
    pub(super) fn put_alone(
        &self,
        books: &mut Books,
        quota: RateLimit,
        (ask, until): (u32, Monotonic),
        now: Monotonic,
        kept: u32,
    ) -> Result<(), Duration> {
        let grant = books.own.lease(now.as_micros(), quota, ask, None);
        if grant.units == 0 {
            self.fill_up(quota, now.as_micros(), grant.wait);
            return Err(grant.wait);
        }
        // `install` charges what it puts in force.
        books.own.take_back(Unused {
            ends: grant.ends,
            units: grant.units,
        });
        let lease = Lease {
            ends: None,
            own_ends: grant.ends,
            granted: grant.units,
        };
        let until = until.min(now.plus(grant.life));
        self.install(books, quota, lease, now, until, kept);
        Ok(())
    }

    /// Tells whether nothing here would be missed: no lease, no refusal, and the ledger past its
    /// window. `in_need` settles for the first two.
    pub(super) fn is_idle(&self, now: Monotonic, in_need: bool) -> bool {
        let window = Duration::from_millis(self.quota.load(Ordering::Relaxed) & 0xffff_ffff);
        let kept_for = if in_need { Duration::ZERO } else { 2 * window };
        let ends = self
            .until
            .load(Ordering::Relaxed)
            .max(self.full_until.load(Ordering::Relaxed));
        now >= Monotonic::from_micros(ends).plus(kept_for)
    }

    fn install(
        &self,
        books: &mut Books,
        quota: RateLimit,
        lease: Lease,
        now: Monotonic,
        until: Monotonic,
        kept: u32,
    ) {
        let fresh = lease.granted.saturating_sub(kept);
        let same = books
            .lease
            .as_mut()
            .filter(|present| lease.ends.is_some() && present.ends == lease.ends);
        let (units, until) = if let Some(present) = same {
            books.own.charge(present.own_ends, lease.granted);
            present.granted = present.granted.saturating_add(lease.granted);
            let before = self.units.fetch_add(fresh, Ordering::AcqRel);
            let until = self.until.load(Ordering::Relaxed);
            (before.saturating_add(fresh), until)
        } else {
            self.close(books);
            books.own.charge(lease.own_ends, lease.granted);
            books.lease = Some(lease);
            self.quota.store(packed(quota), Ordering::Release);
            self.until.store(until.as_micros(), Ordering::Release);
            self.units.store(fresh, Ordering::Release);
            (fresh, until.as_micros())
        };
        self.full_until.store(0, Ordering::Release);
        // A limit whose leases are single requests is exact: nothing is fetched before its time.
        let ahead = largest(quota) > 1;
        let low = if ahead {
            units.min(largest(quota)) / 2
        } else {
            0
        };
        self.low.store(low, Ordering::Relaxed);
        let life = until.saturating_sub(now.as_micros());
        let renew_at = if ahead { until - life / 4 } else { u64::MAX };
        self.renew_at.store(renew_at, Ordering::Relaxed);
    }

    /// Ends the lease: what is left of it is given back.
    fn close(&self, books: &mut Books) {
        let left = self.units.swap(0, Ordering::AcqRel);
        self.until.store(0, Ordering::Release);
        let Some(lease) = books.lease.take() else {
            return;
        };
        books.own.take_back(Unused {
            ends: lease.own_ends,
            units: left,
        });
        if let Some(ends) = lease.ends
            && left > 0
        {
            books.unused = Some(Unused { ends, units: left });
        }
    }

    fn fill_up(&self, quota: RateLimit, now: u64, wait: Duration) {
        let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        // Nothing is fetched for what is left of the lease.
        self.low.store(0, Ordering::Relaxed);
        self.renew_at.store(u64::MAX, Ordering::Relaxed);
        self.full_until
            .store(now.saturating_add(wait), Ordering::Release);
        self.quota.store(packed(quota), Ordering::Release);
    }
}
