//! What happens when the local map does not know a token, or knows it for not much longer.

use std::{sync::Arc, time::Duration};

use super::{
    Desk, Finding, Undecided,
    coherence::{Asked, ConnectionId},
    entry::{Cached, REFUSED, TokenContext},
    keep::refused,
    truth::{Truth, invariant_broken},
};
use crate::{
    clock::{Clock, Timestamp},
    entropy::Entropy,
    metrics::{Metrics, Tier},
    store::{CacheConnection, CachedValue, TokenCache, TokenStore},
    token::{TokenHash, TokenKind},
};

/// Life of a lease: longer than any lookup may take, short enough that a process which dies with
/// one delays nobody's caching for long.
const LEASE_TTL: Duration = Duration::from_secs(5);

/// Life of a lease that is given back: the shortest that Redis knows.
const GIVEN_BACK: Duration = Duration::from_millis(1);

/// An entry of ours in Redis that has less than this part of its life left is written anew when
/// somebody asks ahead of its end.
const RENEWAL_SHARE: u32 = 8;

/// The checker's collaborators.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The truth.
    pub tokens: Arc<dyn TokenStore>,
    /// The cache that is shared with Dify.
    pub cache: Arc<dyn TokenCache>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where nonces come from.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The checker's settings, from `[token_cache]`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most live tokens in the local map.
    pub capacity: usize,
    /// Life of a live entry in Redis.
    pub positive_ttl: Duration,
    /// Life of a refusal in Redis.
    pub negative_ttl: Duration,
    /// Longest life of a local entry while nothing tells us of changes in Redis.
    pub untracked_ttl: Duration,
    /// Longest time that one check may take, all stores together.
    pub deadline: Duration,
    /// Most lookups in Postgres at a time, at least 1.
    pub lookups: usize,
}

/// What a fill expects in Redis, and the connection that it knows this from.
#[derive(Clone, Copy)]
struct Standing<'a> {
    value: &'a [u8],
    connection: ConnectionId,
    on: CacheConnection,
}

impl Desk {
    /// Finds out, by way of Redis where that is possible.
    pub(super) async fn resolve(
        &self,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let asked = self.about_to_ask(&hash);
        let Ok(found) = self.stores.cache.read(&hash).await else {
            return self.resolve_without_redis(kind, hash).await;
        };
        match found {
            Some(value) => self.judge(kind, hash, value, &asked).await,
            None => self.fill(kind, hash, None).await,
        }
    }

    /// Finds a successor for a local entry that is near its end (`design/coherence.md`, rule 8).
    ///
    /// Where the entry in Redis nears its end as well it is written anew. It needs no lease: it
    /// is one itself. A revocation that the lookup did not see deletes or overwrites it, and then
    /// it is no longer the value that is replaced.
    pub(super) async fn refresh(
        &self,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        self.stores.metrics.coherence.refreshes.inc();
        let (connection, on) = (self.coherence.connection(), self.stores.cache.connection());
        let asked = self.about_to_ask(&hash);
        let Ok(found) = self.stores.cache.read(&hash).await else {
            return self.resolve_without_redis(kind, hash).await;
        };
        let Some(value) = found else {
            return self.fill(kind, hash, None).await;
        };
        let ending = self.settings.positive_ttl / RENEWAL_SHARE;
        let own = matches!(
            Cached::parse(&value.bytes, &self.clients),
            Cached::Live { own: true, .. }
        );
        if !own || value.remaining.is_none_or(|remaining| remaining > ending) {
            return self.judge(kind, hash, value, &asked).await;
        }
        match self.ask(kind, &hash).await? {
            Truth::Live(context) => {
                let standing = Standing {
                    value: &value.bytes,
                    connection,
                    on,
                };
                self.settle(kind, hash, standing, context).await
            }
            Truth::Refused => {
                let _ = self.publish_refusal(&hash).await;
                Ok(refused(Tier::Postgres))
            }
            Truth::Expired => Ok(refused(Tier::Postgres)),
        }
    }

    /// Judges what stands in Redis.
    async fn judge(
        &self,
        kind: TokenKind,
        hash: TokenHash,
        value: CachedValue,
        asked: &Asked,
    ) -> Result<Finding, Undecided> {
        let CachedValue { bytes, remaining } = value;
        let Some(remaining) = remaining else {
            // A key that never ends is nobody's cache entry.
            return self.fill(kind, hash, Some(&bytes)).await;
        };
        match Cached::parse(&bytes, &self.clients) {
            Cached::Refused => {
                let deadline = self.until(asked, remaining);
                Ok(self.keep_refusal(hash, asked, deadline, Tier::Redis))
            }
            Cached::Live { context, .. } if context.subject.kind() != kind => {
                invariant_broken(context.token_id);
                Ok(refused(Tier::Redis))
            }
            Cached::Live { context, own: true }
                if !context.is_expired(self.now()) && !self.coherence.doubts(asked, remaining) =>
            {
                let deadline = self.until(asked, remaining);
                Ok(self.keep(hash, context, asked, deadline, Tier::Redis))
            }
            Cached::Live { context, .. } => {
                self.verify(kind, hash, context, remaining, asked).await
            }
            Cached::Leased => self.fill(kind, hash, None).await,
            Cached::Unusable => self.fill(kind, hash, Some(&bytes)).await,
        }
    }

    /// Asks the truth about an entry that cannot be taken at its word: Dify wrote it, whose own
    /// fill can lose a race against a revocation; or it may be older than the connection to
    /// Redis; or the token's time is over.
    async fn verify(
        &self,
        kind: TokenKind,
        hash: TokenHash,
        context: TokenContext,
        remaining: Duration,
        asked: &Asked,
    ) -> Result<Finding, Undecided> {
        self.stores.metrics.coherence.entries_verified.inc();
        match self.ask(kind, &hash).await {
            Ok(Truth::Live(context)) => {
                let deadline = self.until(asked, remaining);
                Ok(self.keep(hash, context, asked, deadline, Tier::Postgres))
            }
            Ok(Truth::Refused) => {
                let _ = self.publish_refusal(&hash).await;
                Ok(refused(Tier::Postgres))
            }
            Ok(Truth::Expired) => Ok(refused(Tier::Postgres)),
            // A token past its end needs no store to be refused.
            Err(_) if context.is_expired(self.now()) => Ok(refused(Tier::Redis)),
            // Postgres is there: nobody should be able to keep it from being asked.
            Err(error @ (Undecided::Overloaded | Undecided::Lost(_))) => Err(error),
            Err(Undecided::StoresAway) => {
                self.stores.metrics.unverified_entries_used.inc();
                let deadline = self.until_unwatched(asked, remaining);
                Ok(self.keep(hash, context, asked, deadline, Tier::Redis))
            }
        }
    }

    /// Asks the truth and fills Redis under a lease, which replaces exactly `expected`.
    async fn fill(
        &self,
        kind: TokenKind,
        hash: TokenHash,
        expected: Option<&[u8]>,
    ) -> Result<Finding, Undecided> {
        if self.refusals.is_exceeded(self.stores.clock.monotonic()) {
            let asked = self.about_to_ask(&hash);
            if !matches!(self.ask(kind, &hash).await?, Truth::Live(_)) {
                let deadline = self.until_unwatched(&asked, self.settings.negative_ttl);
                return Ok(self.keep_refusal(hash, &asked, deadline, Tier::Postgres));
            }
        }
        let lease = Cached::write_lease(&*self.stores.entropy);
        let standing = Standing {
            value: &lease,
            connection: self.coherence.connection(),
            on: self.stores.cache.connection(),
        };
        match self
            .stores
            .cache
            .claim(&hash, expected, &lease, LEASE_TTL)
            .await
        {
            Ok(true) => self.fill_under(standing, kind, hash).await,
            Ok(false) => self.resolve_beside_another(kind, hash).await,
            Err(_) => self.resolve_without_redis(kind, hash).await,
        }
    }

    async fn fill_under(
        &self,
        lease: Standing<'_>,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let truth = match self.ask(kind, &hash).await {
            Ok(truth) => truth,
            Err(error) => {
                // Who asks next shall not find a lease under which nobody is at work. A revocation
                // may have destroyed it; then there is nothing to give back.
                let _ = self.put(&hash, lease, lease.value, GIVEN_BACK).await;
                return Err(error);
            }
        };
        match truth {
            Truth::Live(context) => self.settle(kind, hash, lease, context).await,
            Truth::Refused => {
                self.refusals.count(self.stores.clock.monotonic());
                let ttl = self.settings.negative_ttl;
                match self.put(&hash, lease, REFUSED, ttl).await {
                    Ok(true) => Ok(self.read_back(hash, Truth::Refused).await),
                    Ok(false) => self.ask_again(kind, &hash).await,
                    Err(_) => Ok(self.unkept(Truth::Refused)),
                }
            }
            // The lease is gone already: a refusal stands in its place.
            Truth::Expired => Ok(self.read_back(hash, Truth::Expired).await),
        }
    }

    /// Puts a live entry in the place of exactly `standing`, and keeps what then stands there.
    async fn settle(
        &self,
        kind: TokenKind,
        hash: TokenHash,
        standing: Standing<'_>,
        context: TokenContext,
    ) -> Result<Finding, Undecided> {
        let value = Cached::write(&context);
        let ttl = self.settings.positive_ttl;
        match self.put(&hash, standing, &value, ttl).await {
            Ok(true) => Ok(self.read_back(hash, Truth::Live(context)).await),
            Ok(false) => self.ask_again(kind, &hash).await,
            Err(_) => Ok(self.unkept(Truth::Live(context))),
        }
    }

    /// Puts `value` in the place of what stands there, on the connection that put or found it.
    ///
    /// Another server may never have heard of the revocation that ended what stands there, and
    /// what is put there anew is doubted by nobody. The cache itself sees to it that the connection
    /// is the same; behind that of a cluster a node may have had a successor, which is asked here.
    async fn put(
        &self,
        hash: &TokenHash,
        standing: Standing<'_>,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, Undecided> {
        if self.coherence.connection() != standing.connection {
            return Err(Undecided::StoresAway);
        }
        let cache = &self.stores.cache;
        let settled = cache
            .settle(hash, standing.value, value, ttl, standing.on)
            .await;
        settled.map_err(|_| Undecided::StoresAway)
    }

    /// Something happened to the token meanwhile: asks again, and keeps nothing.
    async fn ask_again(&self, kind: TokenKind, hash: &TokenHash) -> Result<Finding, Undecided> {
        self.stores.metrics.fills_lost.inc();
        let truth = self.ask(kind, hash).await?;
        Ok(self.unkept(truth))
    }

    /// Puts into the local map what now stands in Redis, and answers from the row.
    async fn read_back(&self, hash: TokenHash, truth: Truth) -> Finding {
        let asked = self.about_to_ask(&hash);
        let read = self.stores.cache.read(&hash).await;
        let Ok(Some(CachedValue {
            bytes,
            remaining: Some(remaining),
        })) = read
        else {
            return self.unkept(truth);
        };
        let deadline = self.until(&asked, remaining);
        match (truth, Cached::parse(&bytes, &self.clients)) {
            (Truth::Live(context), Cached::Live { own: true, .. })
                if !self.coherence.doubts(&asked, remaining) =>
            {
                self.keep(hash, context, &asked, deadline, Tier::Postgres)
            }
            (Truth::Refused | Truth::Expired, Cached::Refused) => {
                self.keep_refusal(hash, &asked, deadline, Tier::Postgres)
            }
            (truth, _) => self.unkept(truth),
        }
    }

    /// Another process fills the key at this moment: its result may be there already.
    async fn resolve_beside_another(
        &self,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let asked = self.about_to_ask(&hash);
        if let Ok(Some(CachedValue {
            bytes,
            remaining: Some(remaining),
        })) = self.stores.cache.read(&hash).await
        {
            let deadline = self.until(&asked, remaining);
            match Cached::parse(&bytes, &self.clients) {
                Cached::Refused => {
                    return Ok(self.keep_refusal(hash, &asked, deadline, Tier::Redis));
                }
                Cached::Live { context, own: true }
                    if context.subject.kind() == kind
                        && !context.is_expired(self.now())
                        && !self.coherence.doubts(&asked, remaining) =>
                {
                    return Ok(self.keep(hash, context, &asked, deadline, Tier::Redis));
                }
                Cached::Live { .. } | Cached::Leased | Cached::Unusable => {}
            }
        }
        let truth = self.ask(kind, &hash).await?;
        Ok(self.unkept(truth))
    }

    /// Redis is away: answers from Postgres alone. What it says is kept for the short time that
    /// is allowed without knowledge of changes, or every request of a hot token would go there.
    async fn resolve_without_redis(
        &self,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let asked = self.about_to_ask(&hash);
        let truth = self.ask(kind, &hash).await?;
        let deadline = self.until_unwatched(&asked, self.settings.negative_ttl);
        Ok(match truth {
            Truth::Live(context) => self.keep(hash, context, &asked, deadline, Tier::Postgres),
            Truth::Refused | Truth::Expired => {
                self.keep_refusal(hash, &asked, deadline, Tier::Postgres)
            }
        })
    }

    fn now(&self) -> Timestamp {
        self.stores.clock.now()
    }
}
