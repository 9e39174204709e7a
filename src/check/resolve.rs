//! What happens when the local map does not know a token.

use std::{sync::Arc, time::Duration};

use super::{
    Desk, Finding, Undecided, Verdict,
    entry::{Cached, Entry, Judgement, REFUSED, TokenContext},
    generation::Generation,
};
use crate::{
    audit::AuditEvent,
    clock::{Clock, Monotonic},
    entropy::Entropy,
    health::Chain,
    metrics::{Metrics, Tier},
    store::{CachedValue, StoreError, TokenCache, TokenStore},
    token::{TokenHash, TokenKind},
};

/// Life of a lease: longer than any lookup may take, short enough that a process which dies with
/// one delays nobody's caching for long.
const LEASE_TTL: Duration = Duration::from_secs(5);

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
}

/// What the truth says about a token.
enum Truth {
    Live(TokenContext),
    /// Unknown, revoked, blocked or inconsistent.
    Refused,
    /// Past its end; the row has been revoked and the refusal published on the way.
    Expired,
}

impl Desk {
    /// Finds out, by way of Redis where that is possible.
    pub(super) async fn resolve(
        &self,
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let asked = self.stores.clock.monotonic();
        let generation = self.generations.of(&hash);
        let Ok(found) = self.stores.cache.read(&hash).await else {
            return self.resolve_without_redis(kind, hash).await;
        };
        let Some(value) = found else {
            return self.fill(kind, hash, None).await;
        };
        let CachedValue { bytes, remaining } = value;
        let Some(remaining) = remaining else {
            // A key that never ends is nobody's cache entry.
            return self.fill(kind, hash, Some(&bytes)).await;
        };
        let deadline = self.deadline(asked, remaining);
        match Cached::parse(&bytes, &self.clients) {
            Cached::Refused => {
                self.keep_refusal(hash, deadline);
                Ok(refused(Tier::Redis))
            }
            Cached::Live { context, own } => {
                let entry = Entry::new(context, deadline);
                if entry.context.subject.kind() != kind {
                    invariant_broken(entry.context.token_id);
                    return Ok(refused(Tier::Redis));
                }
                let current = !entry.is_expired(self.stores.clock.now());
                if own && current {
                    return Ok(self.keep(hash, entry, generation, Tier::Redis));
                }
                self.verify(kind, hash, entry, generation).await
            }
            Cached::Leased => self.fill(kind, hash, None).await,
            Cached::Unusable => self.fill(kind, hash, Some(&bytes)).await,
        }
    }

    /// Asks the truth about an entry that cannot be taken at its word: Dify wrote it, whose own
    /// fill can lose a race against a revocation, or the token's time is over.
    async fn verify(
        &self,
        kind: TokenKind,
        hash: TokenHash,
        entry: Entry,
        generation: Generation,
    ) -> Result<Finding, Undecided> {
        match self.ask(kind, &hash).await {
            Ok(Truth::Live(context)) => {
                let entry = Entry::new(context, entry.deadline);
                Ok(self.keep(hash, entry, generation, Tier::Postgres))
            }
            Ok(Truth::Refused) => {
                self.publish_refusal(&hash).await;
                Ok(refused(Tier::Postgres))
            }
            Ok(Truth::Expired) => Ok(refused(Tier::Postgres)),
            // A token past its end needs no store to be refused.
            Err(_) if entry.is_expired(self.stores.clock.now()) => Ok(refused(Tier::Redis)),
            Err(_) => {
                self.stores.metrics.unverified_entries_used.inc();
                Ok(self.keep(hash, entry, generation, Tier::Redis))
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
            let asked = self.stores.clock.monotonic();
            if !matches!(self.ask(kind, &hash).await?, Truth::Live(_)) {
                self.keep_refusal(hash, self.deadline(asked, self.settings.negative_ttl));
                return Ok(refused(Tier::Postgres));
            }
        }
        let lease = Cached::write_lease(&*self.stores.entropy);
        match self
            .stores
            .cache
            .claim(&hash, expected, &lease, LEASE_TTL)
            .await
        {
            Ok(true) => self.fill_under(&lease, kind, hash).await,
            Ok(false) => self.resolve_beside_another(kind, hash).await,
            Err(_) => self.resolve_without_redis(kind, hash).await,
        }
    }

    async fn fill_under(
        &self,
        lease: &[u8],
        kind: TokenKind,
        hash: TokenHash,
    ) -> Result<Finding, Undecided> {
        let truth = self.ask(kind, &hash).await?;
        let (value, ttl) = match &truth {
            Truth::Live(context) => (Cached::write(context), self.settings.positive_ttl),
            Truth::Refused => {
                self.refusals.count(self.stores.clock.monotonic());
                (REFUSED.to_vec(), self.settings.negative_ttl)
            }
            // The lease is gone already: a refusal stands in its place.
            Truth::Expired => return Ok(self.read_back(hash, truth).await),
        };
        let settled = self.stores.cache.settle(&hash, lease, &value, ttl).await;
        match settled {
            Ok(true) => Ok(self.read_back(hash, truth).await),
            // Something happened to the token meanwhile: ask again, and keep nothing.
            Ok(false) => {
                self.stores.metrics.fills_lost.inc();
                let truth = self.ask(kind, &hash).await?;
                Ok(self.unkept(truth))
            }
            Err(_) => Ok(self.unkept(truth)),
        }
    }

    /// Puts into the local map what now stands in Redis, and answers from the row.
    async fn read_back(&self, hash: TokenHash, truth: Truth) -> Finding {
        let asked = self.stores.clock.monotonic();
        let generation = self.generations.of(&hash);
        let read = self.stores.cache.read(&hash).await;
        let standing = match &read {
            Ok(Some(CachedValue {
                bytes,
                remaining: Some(remaining),
            })) => Some((
                Cached::parse(bytes, &self.clients),
                self.deadline(asked, *remaining),
            )),
            _ => None,
        };
        match (truth, standing) {
            (Truth::Live(context), Some((Cached::Live { own: true, .. }, deadline))) => self.keep(
                hash,
                Entry::new(context, deadline),
                generation,
                Tier::Postgres,
            ),
            (Truth::Refused | Truth::Expired, Some((Cached::Refused, deadline))) => {
                self.keep_refusal(hash, deadline);
                refused(Tier::Postgres)
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
        let asked = self.stores.clock.monotonic();
        let generation = self.generations.of(&hash);
        if let Ok(Some(CachedValue {
            bytes,
            remaining: Some(remaining),
        })) = self.stores.cache.read(&hash).await
        {
            let deadline = self.deadline(asked, remaining);
            match Cached::parse(&bytes, &self.clients) {
                Cached::Refused => {
                    self.keep_refusal(hash, deadline);
                    return Ok(refused(Tier::Redis));
                }
                Cached::Live { context, own: true } if context.subject.kind() == kind => {
                    let entry = Entry::new(context, deadline);
                    if !entry.is_expired(self.stores.clock.now()) {
                        return Ok(self.keep(hash, entry, generation, Tier::Redis));
                    }
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
        let asked = self.stores.clock.monotonic();
        let generation = self.generations.of(&hash);
        let truth = self.ask(kind, &hash).await?;
        let deadline = self.deadline(asked, self.settings.negative_ttl);
        Ok(match truth {
            Truth::Live(context) => self.keep(
                hash,
                Entry::new(context, deadline),
                generation,
                Tier::Postgres,
            ),
            Truth::Refused | Truth::Expired => {
                self.keep_refusal(hash, deadline);
                refused(Tier::Postgres)
            }
        })
    }

    /// Asks Postgres. Hard expiry happens here, once, by whoever finds the row first.
    async fn ask(&self, kind: TokenKind, hash: &TokenHash) -> Result<Truth, Undecided> {
        self.stores.metrics.postgres_lookups.inc();
        let found = self.stores.tokens.find_by_hash(hash).await;
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Truth::Refused),
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "token lookup failed");
                if matches!(error, StoreError::Rejected { .. })
                    && self.complaints.is_due(self.stores.clock.monotonic())
                {
                    tracing::error!(
                        error = %Chain(&error),
                        "postgres refused the token lookup; `difygate check --connect` says what is missing"
                    );
                }
                return Err(Undecided::StoresAway);
            }
        };
        match Judgement::of(&record, kind, &self.clients) {
            Judgement::Live(context) => Ok(Truth::Live(context)),
            Judgement::Blocked => Ok(Truth::Refused),
            Judgement::Inconsistent => {
                invariant_broken(record.id);
                Ok(Truth::Refused)
            }
            Judgement::Expired => {
                match self.stores.tokens.expire(record.id, hash).await {
                    Ok(true) => {
                        AuditEvent::TokenExpired {
                            token_id: record.id,
                        }
                        .emit();
                        self.publish_refusal(hash).await;
                    }
                    Ok(false) => {}
                    // The row stays; the next lookup tries again. The answer is the same.
                    Err(error) => tracing::warn!(
                        token_id = %record.id,
                        error = %Chain(&error),
                        "an expired token could not be revoked yet"
                    ),
                }
                Ok(Truth::Expired)
            }
        }
    }

    /// Puts a refusal in Redis whatever stands there: the truth has said so, and a token that is
    /// gone never comes back.
    async fn publish_refusal(&self, hash: &TokenHash) {
        self.generations.advance(hash);
        let overwritten = self
            .stores
            .cache
            .overwrite(hash, REFUSED, self.settings.negative_ttl)
            .await;
        if let Err(error) = overwritten {
            tracing::debug!(error = %Chain(&error), "a refusal could not be cached");
        }
    }

    fn keep(&self, hash: TokenHash, entry: Entry, generation: Generation, tier: Tier) -> Finding {
        let instant = self.stores.clock.monotonic();
        let entry = Arc::new(entry.ending_with_token(self.stores.clock.now(), instant));
        self.local
            .insert_live(hash, Arc::clone(&entry), instant, || {
                self.generations.of(&hash) == generation
            });
        Finding {
            verdict: Verdict::Live(entry),
            tier,
        }
    }

    fn keep_refusal(&self, hash: TokenHash, deadline: Monotonic) {
        let instant = self.stores.clock.monotonic();
        self.local.insert_refused(hash, deadline, instant);
    }

    /// Answers without keeping: the entry is good for this one moment.
    fn unkept(&self, truth: Truth) -> Finding {
        match truth {
            Truth::Live(context) => Finding {
                verdict: Verdict::Live(Arc::new(Entry::new(context, Monotonic::default()))),
                tier: Tier::Postgres,
            },
            Truth::Refused | Truth::Expired => refused(Tier::Postgres),
        }
    }

    /// Returns how long an entry may be used that was asked for at `asked` and stays in Redis for
    /// `remaining`.
    fn deadline(&self, asked: Monotonic, remaining: Duration) -> Monotonic {
        asked.plus(remaining.min(self.settings.untracked_ttl))
    }
}

const fn refused(tier: Tier) -> Finding {
    Finding {
        verdict: Verdict::Refused,
        tier,
    }
}

fn invariant_broken(token_id: uuid::Uuid) {
    tracing::error!(
        code = "internal_state_invariant",
        %token_id,
        "a token's row and its prefix contradict each other; the token is refused"
    );
}
