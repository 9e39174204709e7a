//! Follows changes of `auth:token:*` in Redis, on a connection of its own.
//!
//! `CLIENT TRACKING ON BCAST` reports every change of a matching key: write, deletion, expiry,
//! eviction. Whether the reports arrive is not assumed but proven: once a second a key of this
//! process is written *over the connection that fills read from*, and its report awaited here.
//! That covers a server that was never asked to track, a report path that is silently dead, and
//! the two connections having ended up at different servers.
//!
//! In a cluster there is a connection to every primary and a key of this process at each, and
//! with each proof a node is asked who the primaries are: another answer begins all of it anew.
//!
//! A silent loss is noticed [`PROOF_INTERVAL`] and one proof's time after the last proof.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use redis::{PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    RECONNECT_INTERVAL, RedisLink, STORE, classify, connect_timeout, is_refusal, millis,
    places::Place, token_cache,
};
use crate::{
    clock::{Clock, Monotonic},
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
        loop {
            if let Err(error) = self.follow().await {
                if self.link.endpoint.is_single() {
                    self.observer.lost();
                } else {
                    // A node may have been succeeded by its replica, without the link noticing.
                    self.observer.reconnected();
                }
                self.complain(&error);
            }
            sleep(RECONNECT_INTERVAL).await;
        }
    }

    /// Follows until the reports fail to come, or not from everywhere.
    async fn follow(&self) -> Result<(), StoreError> {
        let primaries = self.link.primaries().await?;
        let places = self.link.places(&self.prefix, &self.own).await?;
        let session = Arc::new(Session::new(&places));
        // However this ends, a connection that lingers has nothing more to say.
        let _retirement = Retirement(&session);
        let connections = places.iter().map(|place| self.connect(place, &session));
        let _connections = try_join_all(connections).await?;
        loop {
            let at = self.clock.monotonic();
            if self.link.primaries().await? != primaries {
                return Err(gone());
            }
            self.prove(&session, at).await?;
            tokio::select! {
                // The next proof is of the new connection to fill from.
                () = self.link.renewed.notified() => {}
                () = session.broken.notified() => return Err(gone()),
                () = sleep(PROOF_INTERVAL) => {}
            }
        }
    }

    async fn connect(
        &self,
        place: &Place,
        session: &Arc<Session>,
    ) -> Result<MultiplexedConnection, StoreError> {
        let limit = connect_timeout(self.link.timeout);
        let receiver = {
            let (observer, session) = (Arc::clone(&self.observer), Arc::clone(session));
            let prefix = self.prefix.clone();
            move |push| {
                receive(push, &*observer, &session, &prefix);
                Ok::<_, redis::aio::SendError>(())
            }
        };
        let connecting = async {
            let mut connection = self
                .link
                .endpoint
                .connect_for_pushes(place.node.as_ref(), limit, self.link.timeout, receiver)
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

    /// Writes a key of this process in every place where fills are read from, and waits for the
    /// reports. What was reported by then had changed before `at`.
    async fn prove(&self, session: &Session, at: Monotonic) -> Result<(), StoreError> {
        let epoch = self.link.epoch();
        let written = self.clock.monotonic();
        let proofs = try_join_all(session.proofs.iter().map(|proof| self.write(proof)));
        let limit = self.link.timeout.max(LEAST_PROOF_TIME);
        timeout(limit, proofs)
            .await
            .unwrap_or(Err(StoreError::TimedOut { store: STORE }))?;
        let lag = self.clock.monotonic().since(written);
        // Unless what was proven has been replaced meanwhile.
        self.link.while_in(epoch, || self.observer.proven(at, lag));
        Ok(())
    }

    /// Changes one place's key, and waits for the report.
    async fn write(&self, proof: &Proof) -> Result<(), StoreError> {
        let heard = proof.heard.notified();
        tokio::pin!(heard);
        // From here on a report counts, and none from before.
        heard.as_mut().enable();
        let key = format!("{}{}", self.prefix, proof.own);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(1).arg("PX").arg(millis(PROOF_TTL));
        let mut prolong = redis::cmd("PEXPIRE");
        prolong.arg(&key).arg(millis(PROOF_TTL));
        let change = |mut connection| async move {
            match set.query_async::<()>(&mut connection).await {
                // A Redis that is full takes no value. Its keys change and end all the same, and it
                // reports that: what changes here is the end of the key of the last proof.
                Err(error) if is_refusal(&error) => {
                    let prolonged: bool = prolong.query_async(&mut connection).await?;
                    if prolonged { Ok(()) } else { Err(error) }
                }
                written => written,
            }
        };
        let () = self.link.command(change).await?;
        heard.await;
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

/// The life of one set of connections.
#[derive(Debug)]
struct Session {
    /// Set once the reports of these connections no longer matter.
    retired: AtomicBool,
    proofs: Vec<Proof>,
    broken: Notify,
}

/// The key by which one place proves that it reports.
#[derive(Debug)]
struct Proof {
    own: Box<str>,
    heard: Notify,
}

impl Session {
    fn new(places: &[Place]) -> Self {
        let proof = |place: &Place| Proof {
            own: place.own.clone(),
            heard: Notify::new(),
        };
        Self {
            retired: AtomicBool::new(false),
            proofs: places.iter().map(proof).collect(),
            broken: Notify::new(),
        }
    }

    /// Takes what follows the prefix in a key that has changed.
    fn take(&self, suffix: &[u8], observer: &dyn CacheObserver) {
        let Ok(suffix) = std::str::from_utf8(suffix) else {
            return;
        };
        if let Some(hash) = TokenHash::from_hex(suffix) {
            observer.changed(&hash);
        } else if let Some(proof) = self.proofs.iter().find(|proof| *proof.own == *suffix) {
            proof.heard.notify_waiters();
        }
    }
}

/// Retires a session when it is left.
struct Retirement<'a>(&'a Session);

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        self.0.retired.store(true, Ordering::Release);
    }
}

/// Takes a push, in the order in which they arrive; never blocks.
fn receive(push: PushInfo, observer: &dyn CacheObserver, session: &Session, prefix: &str) {
    if session.retired.load(Ordering::Acquire) {
        return;
    }
    match push.kind {
        PushKind::Invalidate => match push.data.into_iter().next() {
            Some(Value::Array(keys)) => {
                for suffix in keys.iter().filter_map(|key| suffix(key, prefix)) {
                    session.take(suffix, observer);
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
