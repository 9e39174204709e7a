//! The limit of requests per token (`rate_limits.bearer`), counted in leases.
//!
//! The window slides and is shared by every replica, as the other limits' are, but a hot token does
//! not ask Redis for each request: it takes from a lease that was charged to the window before it
//! is used ([`super::ledger`]). What follows:
//!
//! - **Never more** than the limit passes in any window, however many replicas there are.
//! - **Refused early** is at most what other replicas have leased and not used: no more than each
//!   of them has used itself since its lease began, no more than a twentieth of the limit (and a
//!   fortieth that is left of the lease before), and single requests where the limit is below 40.
//!   What is left over goes back with the replica's next call for that token; where there is none,
//!   with the window.
//! - **Redis is asked** once for each lease; leases grow with use, live a fortieth to a twentieth of
//!   the window, and the next one is fetched before the present one ends. A full window is refused
//!   from memory until Redis has said that something leaves it.
//! - **Redis away**: each replica admits the limit by itself, counting what it has leased before.
//!   Nobody waits longer than `redis.timeout`, and not more often than once a second. A window that
//!   an outage touches holds the limit for each replica at most. Requests of an outage are not
//!   charged to Redis afterwards; the replica that let them through goes on counting them against
//!   what it leases there.
//! - A grant that comes later than its lease ends still admits the request that waited for it.
//! - What is counted is the row's id: a login that rotates the row goes on with its count. An
//!   unknown token has no id, so it leaves nothing here nor in Redis.

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{
    Limit, Standing, WindowKey,
    share::{Books, Share, Take},
};
use crate::{
    clock::{Clock, Monotonic},
    complaints::Complaints,
    config::{RateLimit, RateLimitsConfig},
    current::Current,
    health::Chain,
    metrics::{LeaseOutcome, Metrics},
    store::Windows,
};

/// How long Redis is left alone after it could not say. A lease without it lives as long.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two searches of a full map for idle tokens: each looks at all of them.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// How often idle tokens are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Limits requests per token.
#[derive(Debug)]
pub struct BearerLimiter {
    limits: Arc<Current<RateLimitsConfig>>,
    desk: Arc<Desk>,
}

/// What the calls need; they outlive the requests that make them.
#[derive(Debug)]
struct Desk {
    windows: Arc<dyn Windows>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    shares: DashMap<Uuid, Arc<Share>, RandomState>,
    /// Kept beside the map, since asking the map would take every shard's lock.
    len: AtomicUsize,
    /// Most tokens that are remembered; those on top ask Redis for each request.
    capacity: usize,
    /// From when on a full map may be searched again.
    search_at: AtomicU64,
    /// Until when Redis is left alone.
    away_until: AtomicU64,
    complaints: Complaints,
}

impl BearerLimiter {
    /// Builds a limiter that remembers up to `capacity` tokens.
    pub fn new(
        windows: Arc<dyn Windows>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        limits: Arc<Current<RateLimitsConfig>>,
        capacity: usize,
    ) -> Self {
        Self {
            limits,
            desk: Arc::new(Desk {
                windows,
                clock,
                metrics,
                shares: DashMap::with_hasher(RandomState::new()),
                len: AtomicUsize::new(0),
                capacity,
                search_at: AtomicU64::new(0),
                away_until: AtomicU64::new(0),
                complaints: Complaints::default(),
            }),
        }
    }

    /// Counts a request of a live token, by its row's id.
    ///
    /// Dropping the future is safe: a call that is under way ends, and its lease is there for the
    /// requests to come.
    ///
    /// # Errors
    ///
    /// Where the token stands when its window is full. Whether Redis is there is no reason to
    /// refuse.
    pub async fn admit(&self, token: Uuid) -> Result<(), Standing> {
        match self.admit_at_once(token) {
            Some(outcome) => outcome,
            // Boxed, like all that is rare: it would make every request's future larger.
            None => Box::pin(self.ask(token)).await,
        }
    }

    /// Counts a request from memory alone: no I/O, and no allocation but where it is the first to
    /// find the lease near its end. `None` when Redis has to be asked.
    ///
    /// # Errors
    ///
    /// As [`BearerLimiter::admit`].
    pub fn admit_at_once(&self, token: Uuid) -> Option<Result<(), Standing>> {
        let Some(quota) = self.quota() else {
            return Some(Ok(()));
        };
        let share = Arc::clone(&*self.desk.shares.get(&token)?);
        match share.take(quota, self.desk.clock.monotonic()) {
            Take::Admitted { renew } => {
                if renew {
                    self.renew(token, share, quota);
                }
                Some(Ok(()))
            }
            Take::Full(wait) => Some(Err(self.refuse(quota, wait))),
            Take::Empty => None,
        }
    }

    /// Waits for a lease, together with whoever else does.
    async fn ask(&self, token: Uuid) -> Result<(), Standing> {
        let share = self.desk.share_of(token);
        let books = Arc::clone(&share.books).lock_owned().await;
        // While others had the books, the limit and the lease may have changed.
        let Some(quota) = self.quota() else {
            return Ok(());
        };
        match share.take(quota, self.desk.clock.monotonic()) {
            Take::Admitted { .. } => {
                share.renewed();
                return Ok(());
            }
            Take::Full(wait) => return Err(self.refuse(quota, wait)),
            Take::Empty => {}
        }
        let desk = Arc::clone(&self.desk);
        let call = tokio::spawn(async move { desk.call(token, &share, books, quota, 1).await });
        match call.await {
            Ok(Err(wait)) => Err(self.refuse(quota, wait)),
            // A call that did not come to an end says nothing against the token.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Fetches the next lease in the background.
    fn renew(&self, token: Uuid, share: Arc<Share>, quota: RateLimit) {
        // Without a runtime there is nobody to send, and with somebody at the books they see to it.
        let (Ok(runtime), Ok(books)) = (
            tokio::runtime::Handle::try_current(),
            Arc::clone(&share.books).try_lock_owned(),
        ) else {
            share.renewed();
            return;
        };
        let desk = Arc::clone(&self.desk);
        runtime.spawn(async move {
            // The requests to come will find the outcome, or ask themselves.
            let _ = desk.call(token, &share, books, quota, 0).await;
            share.renewed();
        });
    }

    fn quota(&self) -> Option<RateLimit> {
        self.limits.with(|limits| limits.bearer)
    }

    fn refuse(&self, quota: RateLimit, wait: Duration) -> Standing {
        self.desk.metrics.bearer_limit.refusals.inc();
        Standing {
            limit: Limit::BEARER,
            quota,
            remaining: 0,
            reset: wait,
        }
    }

    /// Forgets idle tokens, for ever.
    pub async fn keep_sweeping(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.desk.sweep(false);
        }
    }
}

impl Desk {
    /// Fetches a lease; `kept` requests of it are the caller's own.
    ///
    /// # Errors
    ///
    /// How long the window is full for.
    async fn call(
        &self,
        token: Uuid,
        share: &Share,
        mut books: OwnedMutexGuard<Books>,
        quota: RateLimit,
        kept: u32,
    ) -> Result<(), Duration> {
        let asked = self.clock.monotonic();
        let ask = share.next_ask(&mut books, quota, asked)?;
        if asked.as_micros() >= self.away_until.load(Ordering::Relaxed) {
            let key = WindowKey::of_lease(token);
            // What is given back is given back once, whatever becomes of the call.
            let unused = books.unused.take();
            match self.windows.lease(&key, quota, ask, unused).await {
                Ok(grant) if grant.units > 0 => {
                    self.count(LeaseOutcome::Granted);
                    share.put(&mut books, quota, grant, asked, kept);
                    return Ok(());
                }
                Ok(grant) => {
                    self.count(LeaseOutcome::Full);
                    share.put_full(quota, grant, self.clock.monotonic());
                    return Err(grant.wait);
                }
                Err(error) => {
                    self.count(LeaseOutcome::Failed);
                    let now = self.clock.monotonic();
                    self.away_until
                        .store(now.plus(RETRY_INTERVAL).as_micros(), Ordering::Relaxed);
                    if self.complaints.is_due(now) {
                        tracing::warn!(
                            error = %Chain(&error),
                            "requests per token are counted by each replica for itself"
                        );
                    }
                }
            }
        }
        let now = self.clock.monotonic();
        let retry = Monotonic::from_micros(self.away_until.load(Ordering::Relaxed));
        share.put_alone(&mut books, quota, (ask, retry), now, kept)?;
        self.count(LeaseOutcome::Alone);
        Ok(())
    }

    fn count(&self, outcome: LeaseOutcome) {
        self.metrics.bearer_limit.lease(outcome);
    }

    /// Finds a token's share, or makes one: for the map while there is room, else for one request.
    fn share_of(&self, token: Uuid) -> Arc<Share> {
        if self.len.load(Ordering::Relaxed) >= self.capacity && !self.shares.contains_key(&token) {
            self.search();
            if self.len.load(Ordering::Relaxed) >= self.capacity {
                return Arc::default();
            }
        }
        match self.shares.entry(token) {
            Entry::Occupied(place) => Arc::clone(place.get()),
            Entry::Vacant(place) => {
                self.len.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&*place.insert(Arc::default()))
            }
        }
    }

    /// Forgets idle tokens before their time, now and then.
    fn search(&self) {
        let now = self.clock.monotonic();
        let due = self.search_at.load(Ordering::Relaxed);
        if now.as_micros() < due {
            return;
        }
        let next = now.plus(SEARCH_INTERVAL).as_micros();
        let turn = self
            .search_at
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if turn.is_ok() {
            self.sweep(true);
        }
    }

    fn sweep(&self, in_need: bool) {
        let now = self.clock.monotonic();
        let mut dropped = 0;
        self.shares.retain(|_, share| {
            let idle = share.is_idle(now, in_need);
            dropped += usize::from(idle);
            !idle
        });
        let before = self.len.fetch_sub(dropped, Ordering::Relaxed);
        let left = before - dropped;
        // A rush that has passed gives its memory back.
        if dropped > 0 && self.shares.capacity() > 8 * (left + 1024) {
            self.shares.shrink_to_fit();
        }
        let tokens = i64::try_from(left).unwrap_or(i64::MAX);
        self.metrics.bearer_limit.tokens.set(tokens);
    }
}

#[cfg(test)]
mod tests;
