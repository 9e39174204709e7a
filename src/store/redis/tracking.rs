//! Follows changes of `auth:token:*` in Redis, on a connection of its own.
//!
//! `CLIENT TRACKING ON BCAST` reports every change of a matching key: write, deletion, expiry,
//! eviction. Whether the reports arrive is not assumed but proven: once a second a key of this
//! process is written *over the connection that fills read from*, and its report awaited here.
//! That covers a server that was never asked to track, a report path that is silently dead, and
//! the two connections having ended up at different servers.
//!
//! A silent loss is noticed [`PROOF_INTERVAL`] and one proof's time after the last proof.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{RECONNECT_INTERVAL, RedisLink, STORE, classify, connect_timeout, millis, token_cache};
use crate::{
    clock::Clock,
    complaints::Complaints,
    health::Chain,
    store::{CacheObserver, StoreError},
    token::TokenHash,
};

/// How often it is proven that changes are reported.
const PROOF_INTERVAL: Duration = Duration::from_secs(1);

/// Least time that a proof is given; `redis.timeout` where that is longer. A process that is
/// starved for a moment should not throw its entries away.
const LEAST_PROOF_TIME: Duration = Duration::from_millis(250);

/// Life of the key that is written for the proof: long enough to be written again before it ends,
/// so that a proof is one report and not two.
const PROOF_TTL: Duration = Duration::from_secs(10);

/// Follows changes for one process.
#[derive(Debug)]
pub struct Tracking {
    link: Arc<RedisLink>,
    observer: Arc<dyn CacheObserver>,
    clock: Arc<dyn Clock>,
    /// What every key of interest begins with.
    prefix: Box<str>,
    /// What follows the prefix in the key of this process's proofs.
    own: Box<str>,
    complaints: Complaints,
}

impl Tracking {
    /// Prepares to follow; `replica` tells this process from all others.
    pub fn new(
        link: Arc<RedisLink>,
        observer: Arc<dyn CacheObserver>,
        clock: Arc<dyn Clock>,
        replica: uuid::Uuid,
    ) -> Self {
        link.report_to(Arc::clone(&observer));
        Self {
            prefix: token_cache::prefix(&link).into(),
            own: format!("proof-of-{}", replica.simple()).into(),
            link,
            observer,
            clock,
            complaints: Complaints::default(),
        }
    }

    /// Follows for ever.
    pub async fn keep_following(self) {
        if !self.link.endpoint.is_single() {
            tracing::warn!(
                "changes in a redis cluster are not followed: \
                 local entries live token_cache.untracked_ttl"
            );
            return;
        }
        loop {
            if let Err(error) = self.follow().await {
                self.observer.lost();
                self.complain(&error);
            }
            sleep(RECONNECT_INTERVAL).await;
        }
    }

    /// Follows until the reports fail to come.
    async fn follow(&self) -> Result<(), StoreError> {
        let session = Arc::new(Session::default());
        // However this ends, a connection that lingers has nothing more to say.
        let _retirement = Retirement(&session);
        let _connection = self.connect(&session).await?;
        loop {
            self.prove(&session).await?;
            tokio::select! {
                // The next proof is of the new connection to fill from.
                () = self.link.renewed.notified() => {}
                () = session.broken.notified() => return Err(gone()),
                () = sleep(PROOF_INTERVAL) => {}
            }
        }
    }

    async fn connect(&self, session: &Arc<Session>) -> Result<MultiplexedConnection, StoreError> {
        let limit = connect_timeout(self.link.timeout);
        let receiver = {
            let (observer, session) = (Arc::clone(&self.observer), Arc::clone(session));
            let (prefix, own) = (self.prefix.clone(), self.own.clone());
            move |push| {
                receive(push, &*observer, &session, &prefix, &own);
                Ok::<_, redis::aio::SendError>(())
            }
        };
        let connecting = async {
            let mut connection = self
                .link
                .endpoint
                .connect_for_pushes(limit, self.link.timeout, receiver)
                .await?;
            let answer: RedisResult<()> = redis::cmd("CLIENT")
                .arg("TRACKING")
                .arg("ON")
                .arg("BCAST")
                .arg("PREFIX")
                .arg(&*self.prefix)
                .query_async(&mut connection)
                .await;
            answer.map(|()| connection)
        };
        match timeout(limit, connecting).await {
            Ok(outcome) => outcome.map_err(classify),
            Err(_) => Err(StoreError::TimedOut { store: STORE }),
        }
    }

    /// Writes the key of this process where fills are read from, and waits for the report.
    async fn prove(&self, session: &Session) -> Result<(), StoreError> {
        let epoch = self.link.epoch();
        let heard = session.heard.notified();
        tokio::pin!(heard);
        // From here on a report counts, and none from before.
        heard.as_mut().enable();
        let mut set = redis::cmd("SET");
        set.arg(format!("{}{}", self.prefix, self.own))
            .arg(1)
            .arg("PX")
            .arg(millis(PROOF_TTL));
        let at = self.clock.monotonic();
        let proof = async {
            let () = self
                .link
                .command(|mut connection| async move { set.query_async(&mut connection).await })
                .await?;
            heard.await;
            Ok(())
        };
        let limit = self.link.timeout.max(LEAST_PROOF_TIME);
        timeout(limit, proof)
            .await
            .unwrap_or(Err(StoreError::TimedOut { store: STORE }))?;
        let lag = self.clock.monotonic().since(at);
        // Unless what was proven has been replaced meanwhile.
        self.link.while_in(epoch, || self.observer.proven(at, lag));
        Ok(())
    }

    /// Says why changes cannot be followed where it is not that Redis is away, which is said
    /// elsewhere.
    fn complain(&self, error: &StoreError) {
        if matches!(error, StoreError::Rejected { .. })
            && self.complaints.is_due(self.clock.monotonic())
        {
            tracing::error!(
                error = %Chain(error),
                "redis refuses to report changes (that takes Redis 6 and the right to \
                 CLIENT TRACKING): local entries live token_cache.untracked_ttl"
            );
        }
    }
}

/// One connection's life.
#[derive(Debug, Default)]
struct Session {
    /// Set once the reports of this connection no longer matter.
    retired: AtomicBool,
    heard: Notify,
    broken: Notify,
}

/// Retires a session when it is left.
struct Retirement<'a>(&'a Session);

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        self.0.retired.store(true, Ordering::Release);
    }
}

/// Takes a push, in the order in which they arrive; never blocks.
fn receive(
    push: PushInfo,
    observer: &dyn CacheObserver,
    session: &Session,
    prefix: &str,
    own: &str,
) {
    if session.retired.load(Ordering::Acquire) {
        return;
    }
    match push.kind {
        PushKind::Invalidate => match push.data.into_iter().next() {
            Some(Value::Array(keys)) => {
                for key in &keys {
                    match suffix(key, prefix) {
                        Some(suffix) if suffix == own.as_bytes() => session.heard.notify_waiters(),
                        Some(suffix) => {
                            let hash = std::str::from_utf8(suffix)
                                .ok()
                                .and_then(TokenHash::from_hex);
                            if let Some(hash) = hash {
                                observer.changed(&hash);
                            }
                        }
                        None => {}
                    }
                }
            }
            // FLUSHALL and the like name no keys. Neither would anything that is not understood.
            _ => observer.all_changed(),
        },
        PushKind::Disconnection => {
            observer.lost();
            session.broken.notify_one();
        }
        _ => {}
    }
}

/// Returns what follows the prefix in a key.
fn suffix<'a>(key: &'a Value, prefix: &str) -> Option<&'a [u8]> {
    match key {
        Value::BulkString(key) => key.strip_prefix(prefix.as_bytes()),
        Value::SimpleString(key) => key.as_bytes().strip_prefix(prefix.as_bytes()),
        _ => None,
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable {
        store: STORE,
        source: None,
    }
}
