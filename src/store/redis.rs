//! The shared cache in Redis. This module and its children are the only ones that know Redis.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::{sync::Notify, time::timeout};

use super::{CacheObserver, StoreError};
use crate::{config::RedisConfig, health::Dependency};

mod address;
mod connection;
mod flow;
mod nonces;
mod places;
mod script;
mod sentinels;
mod token_cache;
mod tracking;
mod windows;

use connection::{Connection, Endpoint};
use script::OneKeyScript;

pub use flow::RedisFlowStore;
pub use nonces::RedisNonces;
pub use token_cache::RedisTokenCache;
pub use tracking::Tracking;
pub use windows::RedisWindows;

/// How often an idle connection is asked for a sign of life: it bounds how long a silent loss of
/// the network goes unnoticed.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait between attempts to connect. Constant and short: one connection for each
/// process is no burden, and every second without Redis is load on Postgres.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// Least time allowed for connecting, which nobody waits for but the supervisor.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After how many pings sentinels are asked whether they still name the same master: every five
/// seconds. A switch that reaches the old master ends its connections at once; this is for one
/// that cannot.
const PINGS_PER_MASTER: u32 = 5;

/// The name that `StoreError`s and the log use.
const STORE: &str = "redis";

/// Settings that cannot make a connection.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}")]
pub struct InvalidTarget(#[from] RedisError);

/// One multiplexed connection, or one to each node of a cluster, kept up by a task of its own.
///
/// While there is none, a command fails at once instead of waiting: the callers have Postgres to
/// turn to, and nobody should pay for a reconnect.
pub struct RedisLink {
    endpoint: Endpoint,
    timeout: Duration,
    key_prefix: String,
    read: OneKeyScript,
    connection: RwLock<Option<Connection>>,
    suspect: Notify,
    health: Arc<Dependency>,
    /// How many connections there have been; held while one takes another's place.
    epoch: Mutex<u64>,
    observer: OnceLock<Arc<dyn CacheObserver>>,
    /// Notified when there is a new connection.
    renewed: Notify,
    /// The master that is connected to, where sentinels name it.
    master: Mutex<Option<String>>,
}

impl RedisLink {
    /// Prepares a link; [`RedisLink::keep_up`] connects it.
    ///
    /// # Errors
    ///
    /// When the target cannot be understood.
    pub fn new(config: &RedisConfig, health: Arc<Dependency>) -> Result<Arc<Self>, InvalidTarget> {
        Ok(Arc::new(Self {
            endpoint: Endpoint::new(config, connect_timeout(config.timeout))?,
            timeout: config.timeout,
            key_prefix: config.key_prefix.clone(),
            read: OneKeyScript::new(include_str!("redis/read.lua")),
            connection: RwLock::new(None),
            suspect: Notify::new(),
            health,
            epoch: Mutex::default(),
            observer: OnceLock::new(),
            renewed: Notify::new(),
            master: Mutex::default(),
        }))
    }

    /// Understands the target, and keeps nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be understood.
    pub fn check(config: &RedisConfig) -> Result<(), InvalidTarget> {
        Endpoint::new(config, connect_timeout(config.timeout))?;
        Ok(())
    }

    /// Has `observer` told before another connection is used. Only the first call counts.
    pub fn report_to(&self, observer: Arc<dyn CacheObserver>) {
        let _ = self.observer.set(observer);
    }

    /// Connects once; the outcome is in the dependency's health.
    pub async fn connect(&self) {
        let _ = self.try_connect().await;
    }

    /// Connects once; the outcome is in the dependency's health as well.
    ///
    /// # Errors
    ///
    /// What the connection failed of.
    pub async fn try_connect(&self) -> Result<(), StoreError> {
        let limit = connect_timeout(self.timeout);
        let connecting = async {
            // In this order: a switch in between is noticed as one later.
            *lock(&self.master) = self.endpoint.master().await?;
            self.endpoint.connect(limit, self.timeout).await
        };
        let error = match timeout(limit, connecting).await {
            Ok(Ok(connection)) => {
                self.renew(connection);
                self.health.up();
                return Ok(());
            }
            Ok(Err(error)) => classify(error),
            Err(_) => StoreError::TimedOut { store: STORE },
        };
        self.health.down(&error);
        Err(error)
    }

    /// Keeps the link up for ever: pings, and reconnects when a ping fails.
    pub async fn keep_up(self: Arc<Self>) {
        let mut pings = 0_u32;
        loop {
            while let Some(connection) = self.current() {
                match self.run(connection, ping).await {
                    Ok(()) => self.health.up(),
                    Err(error) => {
                        self.replace(None);
                        self.health.down(&error);
                        break;
                    }
                }
                pings = pings.wrapping_add(1);
                if pings.is_multiple_of(PINGS_PER_MASTER) && self.is_deposed().await {
                    tracing::warn!("the sentinels name another redis master: following it");
                    self.replace(None);
                    break;
                }
                // A command that failed asks for the next ping at once.
                let _ = timeout(PING_INTERVAL, self.suspect.notified()).await;
            }
            self.connect().await;
            if self.current().is_none() {
                tokio::time::sleep(RECONNECT_INTERVAL).await;
            }
        }
    }

    /// Tells whether the sentinels name another master than the one that is connected to.
    async fn is_deposed(&self) -> bool {
        let limit = connect_timeout(self.timeout);
        match timeout(limit, self.endpoint.master()).await {
            Ok(Ok(named)) => named.is_some() && named != *lock(&self.master),
            // Nobody says so.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Runs `command` on the present connection, within `redis.timeout`.
    async fn command<T, F>(&self, command: impl FnOnce(Connection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.command_on(self.current(), command).await
    }

    /// The same, on connection `epoch` and no other.
    async fn command_in<T, F>(
        &self,
        epoch: u64,
        command: impl FnOnce(Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = {
            // Held while one connection takes another's place.
            let current = lock(&self.epoch);
            self.current().filter(|_| *current == epoch)
        };
        self.command_on(connection, command).await
    }

    async fn command_on<T, F>(
        &self,
        connection: Option<Connection>,
        command: impl FnOnce(Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = connection.ok_or(StoreError::Unreachable {
            store: STORE,
            source: None,
        })?;
        let outcome = self.run(connection, command).await;
        if matches!(
            outcome,
            Err(StoreError::TimedOut { .. } | StoreError::Unreachable { .. })
        ) {
            self.suspect.notify_one();
        }
        outcome
    }

    async fn run<T, F>(
        &self,
        connection: Connection,
        command: impl FnOnce(Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        match timeout(self.timeout, command(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if self.endpoint.is_single() && is_demoted(&error) {
                    // It answers pings all the same: only a new connection finds its successor.
                    self.replace(None);
                    self.suspect.notify_one();
                }
                Err(classify(error))
            }
            Err(_) => Err(StoreError::TimedOut { store: STORE }),
        }
    }

    /// Reads the value under a full key and its remaining time, absent for a key without one.
    async fn value_and_ttl(
        &self,
        key: String,
    ) -> Result<Option<(Vec<u8>, Option<Duration>)>, StoreError> {
        let call = self.read.on(key);
        let (bytes, ttl): (Option<Vec<u8>>, i64) =
            self.command(|connection| call.run(connection)).await?;
        // Redis says -1 for a key without a TTL.
        let ttl = u64::try_from(ttl).ok().map(Duration::from_millis);
        Ok(bytes.map(|bytes| (bytes, ttl)))
    }

    /// Prepends `redis.key_prefix`, as Dify does: `{prefix}:{key}` when one is set.
    fn key(&self, key: &str) -> String {
        if self.key_prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}:{key}", self.key_prefix)
        }
    }

    fn current(&self) -> Option<Connection> {
        self.connection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts a new connection in place, and tells the observer before anybody can use it.
    fn renew(&self, connection: Connection) {
        let mut epoch = lock(&self.epoch);
        // The first server has no predecessor whose writes it could lack.
        if let Some(observer) = self.observer.get().filter(|_| *epoch > 0) {
            observer.reconnected();
        }
        *epoch += 1;
        self.replace(Some(connection));
        self.renewed.notify_one();
    }

    /// Returns which connection is in use, by number.
    fn epoch(&self) -> u64 {
        *lock(&self.epoch)
    }

    /// Does `then` if connection `epoch` is still the one in use, and keeps it so until it is
    /// done.
    fn while_in(&self, epoch: u64, then: impl FnOnce()) {
        let current = lock(&self.epoch);
        if *current == epoch {
            then();
        }
    }

    fn replace(&self, connection: Option<Connection>) {
        *self
            .connection
            .write()
            .unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

impl fmt::Debug for RedisLink {
    /// Leaves the target out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ping(mut connection: Connection) -> RedisResult<()> {
    connection.ping().await
}

/// How long connecting may take when an answer may take `timeout`.
fn connect_timeout(timeout: Duration) -> Duration {
    timeout.max(CONNECT_TIMEOUT)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// Tells whether the server that answered is no master any more.
fn is_demoted(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}

/// Tells whether the server is there, and does not do what it is asked for.
fn is_refusal(error: &RedisError) -> bool {
    !(error.is_timeout()
        || is_demoted(error)
        || error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error())
}

fn classify(error: RedisError) -> StoreError {
    if error.is_timeout() {
        StoreError::TimedOut { store: STORE }
    } else if is_refusal(&error) {
        StoreError::Rejected {
            store: STORE,
            source: Box::new(error),
        }
    } else {
        StoreError::Unreachable {
            store: STORE,
            source: Some(Box::new(error)),
        }
    }
}
