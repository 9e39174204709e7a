//! The truth in Postgres. This module and its children are the only ones that know SQL.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError, Timeouts},
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::StoreError;
use crate::{
    config::PostgresConfig,
    health::{Dependency, State},
};

/// A token's end as far as calendars have it: Postgres knows `infinity`, and years that neither this
/// process nor Python can read. Whatever the time zone, the year stays between 1 and 9999.
macro_rules! end_of {
    ($row:literal) => {
        concat!(
            "GREATEST(LEAST(",
            $row,
            ".expires_at, '9999-12-31 00:00:00+00'), '0001-01-02 00:00:00+00')"
        )
    };
}

mod directory;
mod failure;
mod grants;
mod migrate;
mod opening;
mod preflight;
mod sessions;
mod silence;
mod target;
mod tls;
mod tokens;

use failure::decode;
use opening::{Opening, Unopened};
use target::Target;

pub use directory::PgDirectory;
pub use grants::grants;
pub use migrate::Migration;
pub use preflight::Missing;
pub use sessions::PgSessionStore;
pub use target::role;
pub use tokens::PgTokenStore;

/// How often Postgres is asked for a sign of life.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A probe's answer may take this part of `postgres.timeout`, so that a server that hangs is found
/// out before the statements that it keeps waiting are given up …
const PROBE_SHARE: u32 = 4;

/// … but at least this much, unless the timeout itself is shorter: a server may be busy. Opening a
/// connection, should the probe need one, may take all of `postgres.timeout`.
const LEAST_ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How often while it gave none: every second without it is one of 503s.
const PROBE_INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(200);

/// The part of the pool that all statements but token lookups may use at a time. Logins and
/// sessions are rare; many at once wait for each other and never keep a token check waiting, nor the
/// probe, whose lateness would count as Postgres's.
const PLACES_SHARE: usize = 2;

/// How often a statement that only reads is sent, where connections turn out to be dead: those of a
/// pool die together, and the second one may not know of it yet either.
const READ_TRIES: usize = 3;

/// The name that `StoreError`s and the log use.
const STORE: &str = "postgres";

/// Settings that cannot make a connection.
#[derive(Debug, thiserror::Error)]
#[error("postgres: {0}")]
pub struct InvalidTarget(String);

/// Understands where to go, and how TLS is spoken there.
fn understood(config: &PostgresConfig) -> Result<(Target, tls::Connector), InvalidTarget> {
    let target = Target::new(config)?;
    let connector = tls::Connector::new(&config.tls);
    let connector = connector.map_err(|error| InvalidTarget(error.to_string()))?;
    Ok((target, connector))
}

/// A bounded pool of connections, every use of which has a deadline.
///
/// It is a circuit breaker as well, where [`PostgresLink::keep_probing`] runs: once a probe has
/// failed, or two in a row came too late, no statement is tried until another succeeds. A statement
/// that finds nobody, or nobody in time, calls for the next probe at once.
pub struct PostgresLink {
    pool: Pool<Opening>,
    timeout: Duration,
    health: Arc<Dependency>,
    /// Who may send a statement that is no token lookup; those have bounds of their own
    /// ([`crate::check`]).
    places: Semaphore,
    /// Whether somebody probes, so that what is down will be found up again.
    probed: AtomicBool,
    /// Notified when the next probe should not wait.
    suspect: Notify,
    /// Whether the last probe came too late.
    missed: AtomicBool,
    /// How often Postgres has answered.
    answers: AtomicU64,
}

impl PostgresLink {
    /// Understands the target, and keeps nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be understood.
    pub fn check(config: &PostgresConfig) -> Result<(), InvalidTarget> {
        understood(config).map(|_| ())
    }

    /// Prepares a pool; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the target cannot be understood.
    pub fn new(
        config: &PostgresConfig,
        health: Arc<Dependency>,
    ) -> Result<Arc<Self>, InvalidTarget> {
        let (target, connector) = understood(config)?;
        let pool = Pool::builder(Opening::new(target, connector, config.timeout))
            .max_size(config.pool_size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| InvalidTarget(error.to_string()))?;
        Ok(Arc::new(Self {
            pool,
            timeout: config.timeout,
            health,
            places: Semaphore::new((config.pool_size / PLACES_SHARE).max(1)),
            probed: AtomicBool::new(false),
            suspect: Notify::new(),
            missed: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        }))
    }

    /// Asks once for a sign of life; the outcome is in the dependency's health.
    ///
    /// Where a connection has to be opened first, a Postgres that was up counts as down from when two
    /// late answers would have been enough, unless a statement is answered meanwhile, and until that
    /// is done. At the start nothing is known, and whoever comes waits as well.
    pub async fn probe(&self) {
        let answers = self.answers.load(Ordering::Relaxed);
        let answer_limit = self.answer_limit();
        let missed = self.missed.load(Ordering::Relaxed);
        let patience = if missed {
            answer_limit
        } else {
            2 * answer_limit
        };
        let mut asking = pin!(self.ping());
        let outcome = match timeout(patience, &mut asking).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let heard = self.answers.load(Ordering::Relaxed) != answers;
                if !heard && self.health.state().0 == State::Up {
                    self.down(&StoreError::TimedOut { store: STORE });
                }
                // Whoever gave up here would have to begin anew, and never be done.
                asking.await
            }
        };
        match outcome {
            Ok(()) => {
                self.missed.store(false, Ordering::Relaxed);
                self.health.up();
            }
            // One that comes too late may be a moment of starvation, here or there: the next one,
            // at once, decides.
            Err(StoreError::TimedOut { .. }) if !self.missed.swap(true, Ordering::Relaxed) => {
                self.suspect.notify_one();
            }
            Err(error) => self.down(&error),
        }
    }

    /// Ends it for all statements until a probe succeeds, and for the idle connections: where one has
    /// gone silent or broken, so may have all of them, and each would cost the next probe its time.
    ///
    /// A single late answer is no reason: it may be a moment of starvation, in which many new
    /// connections are the last thing that anybody needs.
    fn down(&self, error: &StoreError) {
        self.health.down(error);
        self.pool.retain(|_, _| false);
    }

    /// Probes for ever.
    pub async fn keep_probing(self: Arc<Self>) {
        self.probed.store(true, Ordering::Relaxed);
        loop {
            self.probe().await;
            if self.health.is_down() {
                tokio::time::sleep(PROBE_INTERVAL_WHILE_DOWN).await;
            } else {
                let _ = timeout(PROBE_INTERVAL, self.suspect.notified()).await;
            }
        }
    }

    /// How long a probe waits for an answer, over a connection that is open.
    fn answer_limit(&self) -> Duration {
        (self.timeout / PROBE_SHARE)
            .max(LEAST_ANSWER_LIMIT)
            .min(self.timeout)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let limit = self.answer_limit();
        let client = self.connection(limit).await?;
        let asking = self.send(client, "SELECT 1", &[], Instant::now() + limit);
        asking.await.map(drop)
    }

    /// Runs a statement that may be run twice: a connection that turns out to be dead is replaced
    /// and the statement sent again.
    async fn read(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        let deadline = self.deadline();
        let _place = self.place(deadline).await?;
        self.read_until(deadline, sql, params).await
    }

    /// Runs a statement, unless the last contact failed.
    async fn run(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        let deadline = self.deadline();
        let _place = self.place(deadline).await?;
        self.run_until(deadline, sql, params).await
    }

    /// Reads without a place, for token lookups.
    async fn read_at_once(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        self.read_until(self.deadline(), sql, params).await
    }

    /// Runs without a place, for token lookups.
    async fn run_at_once(&self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, StoreError> {
        self.run_until(self.deadline(), sql, params).await
    }

    /// Until when a statement that begins now may take, whatever it has to wait for.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Waits for a place among the statements that are no token lookups. Whoever waits for it until
    /// the deadline has waited for others like it, which says nothing about Postgres.
    async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, StoreError> {
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(StoreError::TimedOut { store: STORE }),
        }
    }

    async fn read_until(
        &self,
        deadline: Instant,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut outcome = self.run_until(deadline, sql, params).await;
        for _ in 1..READ_TRIES {
            if !matches!(outcome, Err(StoreError::Unreachable { .. })) {
                break;
            }
            outcome = self.run_until(deadline, sql, params).await;
        }
        outcome
    }

    async fn run_until(
        &self,
        deadline: Instant,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        if self.probed.load(Ordering::Relaxed) && self.health.is_down() {
            return Err(StoreError::Unreachable {
                store: STORE,
                source: None,
            });
        }
        let outcome = self.attempt(deadline, sql, params).await;
        if let Err(StoreError::TimedOut { .. } | StoreError::Unreachable { .. }) = outcome {
            // It may have been this statement or this connection alone: the probe decides.
            self.suspect.notify_one();
        }
        outcome
    }

    /// Runs a statement on a pooled connection.
    async fn attempt(
        &self,
        deadline: Instant,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let client = timeout_at(deadline, self.connection(self.timeout))
            .await
            .map_err(|_| StoreError::TimedOut { store: STORE })??;
        self.send(client, sql, params, deadline).await
    }

    /// Takes a connection from the pool, after `wait` at most, or opens one, which may take
    /// `postgres.timeout`.
    async fn connection(&self, wait: Duration) -> Result<Object<Opening>, StoreError> {
        let timeouts = Timeouts {
            wait: Some(wait),
            ..Timeouts::default()
        };
        let connection = self.pool.timeout_get(&timeouts).await;
        connection.map_err(|error| match error {
            PoolError::Timeout(_) | PoolError::Backend(Unopened::TimedOut) => {
                StoreError::TimedOut { store: STORE }
            }
            PoolError::Backend(Unopened::Refused(error)) => failure::of_opening(error),
            PoolError::Backend(error) => failure::unreachable(error),
            other => failure::unreachable(other),
        })
    }

    /// Sends a statement, unnamed and in one round trip, so that PgBouncer works in transaction mode.
    async fn send(
        &self,
        client: Object<Opening>,
        sql: &str,
        params: &Params<'_>,
        deadline: Instant,
    ) -> Result<Vec<Row>, StoreError> {
        let error = match timeout_at(deadline, client.query_typed(sql, params)).await {
            Ok(Ok(rows)) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                return Ok(rows);
            }
            Ok(Err(error)) => failure::of_statement(error),
            Err(_) => StoreError::TimedOut { store: STORE },
        };
        if !matches!(error, StoreError::Rejected { .. }) {
            // Dead, or still busy with the query: of no use to the next.
            drop(Object::take(client));
        }
        Err(error)
    }
}

/// A statement's parameters with their types.
type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

impl fmt::Debug for PostgresLink {
    /// Leaves the target out: it holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLink").finish_non_exhaustive()
    }
}
