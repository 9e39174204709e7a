//! The token check: local map, then Redis, then Postgres (`contract/tokens.md`, "The check").
//!
//! Invariants, from `design/coherence.md`:
//! - A hit allocates nothing and waits for nothing. An entry ends with its key in
//!   Redis or with its token, whichever is sooner, and its end is checked at every hit.
//! - The local map is filled from what stands in Redis, so that the disappearance of the key
//!   there is noticed. Where changes are not followed, and while Redis is away, an entry lives
//!   `token_cache.untracked_ttl`.
//! - A change that is reported removes the entry, and turns away the answer that is still on its
//!   way into the map.
//! - Redis is filled under a lease: a revocation that comes in between destroys the lease, and
//!   the fill with it.
//! - What a store could not say is not cached and is no refusal.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{
    clock::Clock,
    complaints::Complaints,
    metrics::{Metrics, Tier},
    token::{BearerToken, TokenHash, TokenKind},
};

mod coherence;
mod doubt;
mod end;
pub mod entry;
mod flight;
mod follow;
mod keep;
mod local;
mod near;
mod pace;
mod resolve;
mod truth;

use coherence::Coherence;
pub use flight::Lost;
use flight::{Flights, Landed};
pub use local::Hit;
use local::LocalCache;
pub use near::LiveEntry;
pub use resolve::{Settings, Stores};

/// How often stale entries are dropped from the local map.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the check found.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The token is live.
    Live(LiveEntry),
    /// The token is unknown, revoked or expired, or may not be used; nobody is told which.
    Refused,
}

/// Nobody could say whether the token is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Neither store answered, and the token is in no cache.
    #[error("no store can judge the token")]
    StoresAway,
    /// Postgres has as many lookups as it may have at a time, and the token is in no cache.
    #[error("too many lookups at a time")]
    Overloaded,
    /// The check did not come to an end.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// A verdict and where it came from.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is.
    pub verdict: Verdict,
    /// Who had it.
    pub tier: Tier,
}

/// Checks tokens.
#[derive(Debug)]
pub struct TokenChecker {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    flights: Flights<Outcome>,
    desk: Arc<Desk>,
}

type Outcome = Result<Finding, Undecided>;

/// What flights need of the checker; they outlive the requests that start them.
#[derive(Debug)]
struct Desk {
    stores: Stores,
    settings: Settings,
    local: LocalCache,
    coherence: Coherence,
    /// How many more lookups Postgres may have at a time.
    lookups: Semaphore,
    clients: entry::ClientIds,
    refusals: pace::RefusalRate,
    /// Refusals that Redis has not got yet.
    overdue: end::Overdue,
    /// Tokens that may have ended.
    doubts: doubt::Doubts,
    complaints: Complaints,
}

impl TokenChecker {
    /// Builds a checker with an empty map.
    pub fn new(stores: Stores, settings: Settings) -> Self {
        Self {
            clock: Arc::clone(&stores.clock),
            metrics: Arc::clone(&stores.metrics),
            flights: Flights::new(settings.deadline, stores.metrics.check_waiters.clone()),
            desk: Arc::new(Desk {
                local: LocalCache::new(settings.capacity),
                coherence: Coherence::default(),
                lookups: Semaphore::new(settings.lookups.max(1)),
                clients: entry::ClientIds::default(),
                refusals: pace::RefusalRate::default(),
                overdue: end::Overdue::default(),
                doubts: doubt::Doubts::default(),
                complaints: Complaints::default(),
                stores,
                settings,
            }),
        }
    }

    /// Looks a token up in the local map alone: no I/O, and no allocation but for one pointer when a
    /// thread comes to hold an entry of its own ([`LiveEntry`]). Once in an entry's life,
    /// near its end, it sends somebody to look for a successor.
    pub fn look_up(&self, hash: &TokenHash) -> Hit {
        let instant = self.clock.monotonic();
        let hit = self.desk.local.look_up(hash, instant);
        match &hit {
            Hit::Live(entry) => {
                self.metrics.check(Tier::Local, true);
                if entry.is_refresh_due(instant) {
                    self.refresh(entry.context.subject.kind(), *hash);
                }
            }
            Hit::Refused => self.metrics.check(Tier::Local, false),
            Hit::Miss => {}
        }
        hit
    }

    /// Checks a token that the local map does not know, together with whoever else waits for it,
    /// and says who knew, within [`Settings::deadline`].
    ///
    /// Dropping the future is safe: the flight goes on for the others, and for the caches.
    ///
    /// # Errors
    ///
    /// [`Undecided`] when no store can say. This is no refusal.
    pub async fn resolve(&self, kind: TokenKind, hash: TokenHash) -> Result<Finding, Undecided> {
        // One deadline for all of it: who has waited for a flight has less time left for another.
        let finding = timeout(self.desk.settings.deadline, self.find_out(kind, hash)).await;
        let finding = finding.unwrap_or(Err(Undecided::Lost(Lost::TimedOut)));
        match &finding {
            Ok(Finding { verdict, tier }) => self
                .metrics
                .check(*tier, matches!(verdict, Verdict::Live(_))),
            Err(_) => self.metrics.checks_undecided.inc(),
        }
        finding
    }

    async fn find_out(&self, kind: TokenKind, hash: TokenHash) -> Outcome {
        let came = self.clock.monotonic();
        let Landed { outcome, joined } = self.fly(kind, hash).await?;
        let found = match &outcome {
            Ok(finding) if joined => &finding.verdict,
            _ => return outcome,
        };
        // It may have been asked before this request came, and the token may have been revoked in
        // between, with everybody told. What is good all the same is what a hit would have found
        // when this request came, and what has not left the map since; a flight from now on knows.
        let verdict = match found {
            Verdict::Live(entry) if came >= entry.deadline() => {
                match self.desk.local.look_up(&hash, self.clock.monotonic()) {
                    Hit::Live(entry) => Verdict::Live(entry),
                    Hit::Refused => Verdict::Refused,
                    Hit::Miss => return self.fly(kind, hash).await?.outcome,
                }
            }
            Verdict::Live(entry) => Verdict::Live(entry.clone()),
            Verdict::Refused => return outcome,
        };
        let tier = Tier::Local;
        Ok(Finding { verdict, tier })
    }

    async fn fly(&self, kind: TokenKind, hash: TokenHash) -> Result<Landed<Outcome>, Lost> {
        let desk = Arc::clone(&self.desk);
        let work = || async move { desk.resolve(kind, hash).await };
        self.flights.join(hash, work).await
    }

    /// Looks for a successor of an entry, in the background. Whoever misses the token meanwhile
    /// waits for the same flight.
    fn refresh(&self, kind: TokenKind, hash: TokenHash) {
        // Without a runtime there is nobody to send: the entry ends, and the next one is a miss.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (flights, desk) = (self.flights.clone(), Arc::clone(&self.desk));
        runtime.spawn(async move {
            let refresh = || async move { desk.refresh(kind, hash).await };
            // Nobody waits for the outcome; the requests to come will find it, or ask again.
            let _ = flights.join(hash, refresh).await;
        });
    }

    /// Checks a token by every tier.
    ///
    /// # Errors
    ///
    /// As [`TokenChecker::resolve`].
    pub async fn check(&self, token: &BearerToken<'_>) -> Result<Verdict, Undecided> {
        let hash = token.hash();
        match self.look_up(&hash) {
            Hit::Live(entry) => Ok(Verdict::Live(entry)),
            Hit::Refused => Ok(Verdict::Refused),
            Hit::Miss => {
                let finding = self.resolve(token.kind(), hash).await?;
                Ok(finding.verdict)
            }
        }
    }

    /// Forgets a token that has just been revoked or replaced, and refuses it for so `long`.
    ///
    /// A lookup that is under way keeps its answer to itself: the generation has moved on.
    fn forget(&self, hash: &TokenHash, long: Duration) {
        self.desk.coherence.changed(hash);
        let instant = self.clock.monotonic();
        let deadline = instant.plus(long);
        self.desk
            .local
            .insert_refused(*hash, deadline, instant, || true);
    }

    /// Drops stale entries, and writes overdue refusals, for ever.
    pub async fn keep_sweeping(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.desk.local.sweep(self.clock.monotonic());
            self.desk.catch_up().await;
            let (live, refused) = self.desk.local.len();
            self.metrics
                .local_entries
                .set(i64::try_from(live).unwrap_or(i64::MAX));
            self.metrics
                .local_refusals
                .set(i64::try_from(refused).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests;
