//! The protocol between the tiers, with a hand on every step.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{entry::REFUSED, *};
use crate::{
    clock::{ManualClock, Timestamp},
    entropy::OsEntropy,
    store::{
        AccountStatus, CacheConnection, CachedValue, StoreError, TokenCache, TokenRecord,
        TokenStore,
        embedded::{EmbeddedCache, EmbeddedTokens},
    },
};

const TOKEN: &[u8] = b"dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";
const ID: Uuid = Uuid::from_u128(3);
const AWAY: StoreError = StoreError::TimedOut { store: "test" };

mod following;
mod joining;

type Interruption = Box<dyn FnOnce() + Send>;

/// A table that can be away, and in whose answers something can come between.
#[derive(Default)]
struct Tokens {
    inner: Mutex<Option<Arc<EmbeddedTokens>>>,
    away: AtomicBool,
    lookups: AtomicUsize,
    /// How long a lookup takes.
    takes: Mutex<Duration>,
    after_lookup: Mutex<Option<Interruption>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    fn inner(&self) -> Arc<EmbeddedTokens> {
        Arc::clone(self.inner.lock().unwrap().as_ref().unwrap())
    }
}

#[async_trait]
impl TokenStore for Tokens {
    async fn find_by_hash(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(AWAY);
        }
        let inner = self.inner();
        let found = inner.find_by_hash(hash).await;
        let takes = *self.takes.lock().unwrap();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let interruption = self.after_lookup.lock().unwrap().take();
        if let Some(interrupt) = interruption {
            interrupt();
        }
        found
    }

    async fn expire(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError> {
        self.inner().expire(id, hash).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A cache that can be away, and in whose reads something can come between.
struct Cache {
    inner: Arc<EmbeddedCache>,
    away: AtomicBool,
    /// Nothing is taken in, and what is there may go.
    full: AtomicBool,
    after_read: Mutex<Option<Interruption>>,
    /// Which connection there is; another one may be to another server.
    connection: AtomicU64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    fn reach(&self) -> Result<&EmbeddedCache, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(AWAY);
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl TokenCache for Cache {
    async fn read(&self, hash: &TokenHash) -> Result<Option<CachedValue>, StoreError> {
        let read = self.reach()?.read(hash).await;
        let interruption = self.after_read.lock().unwrap().take();
        if let Some(interrupt) = interruption {
            interrupt();
        }
        read
    }

    async fn claim(
        &self,
        hash: &TokenHash,
        expected: Option<&[u8]>,
        lease: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.reach()?.claim(hash, expected, lease, ttl).await
    }

    fn connection(&self) -> CacheConnection {
        CacheConnection(self.connection.load(Ordering::SeqCst))
    }

    async fn settle(
        &self,
        hash: &TokenHash,
        lease: &[u8],
        value: &[u8],
        ttl: Duration,
        on: CacheConnection,
    ) -> Result<bool, StoreError> {
        if on != self.connection() {
            return Err(AWAY);
        }
        self.reach()?.settle(hash, lease, value, ttl, on).await
    }

    async fn overwrite(
        &self,
        hash: &TokenHash,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        if self.full.load(Ordering::SeqCst) {
            self.reach()?.delete(hash);
            return Ok(false);
        }
        self.reach()?.overwrite(hash, value, ttl).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    clock: Arc<ManualClock>,
    tokens: Arc<Tokens>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    checker: TokenChecker,
}

impl World {
    /// A world with one live token, whose local entries live for `untracked_ttl`.
    fn new(untracked_ttl: Duration) -> Self {
        Self::with_lookups(untracked_ttl, 12)
    }

    fn with_lookups(untracked_ttl: Duration, lookups: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_780_000_000)));
        let tokens = Arc::new(Tokens::default());
        let table = EmbeddedTokens::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let record = TokenRecord {
            id: ID,
            prefix: "dfoa_".into(),
            subject_email: "ada@example.com".into(),
            subject_issuer: Some("dify:account".into()),
            account_id: Some(Uuid::from_u128(1)),
            account_status: Some(AccountStatus::Usable),
            client_id: "difyctl".into(),
            expires_at: Timestamp::from_unix_seconds(1_790_000_000),
            expired: false,
        };
        table.insert(hash(), "difyctl on ada-laptop", record);
        *tokens.inner.lock().unwrap() = Some(Arc::new(table));
        let cache = Arc::new(Cache {
            inner: Arc::new(EmbeddedCache::new(Arc::clone(&clock) as Arc<dyn Clock>)),
            away: AtomicBool::new(false),
            full: AtomicBool::new(false),
            after_read: Mutex::default(),
            connection: AtomicU64::default(),
        });
        let metrics = Arc::new(Metrics::new());
        let stores = Stores {
            tokens: Arc::clone(&tokens) as Arc<dyn TokenStore>,
            cache: Arc::clone(&cache) as Arc<dyn TokenCache>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(OsEntropy),
            metrics: Arc::clone(&metrics),
        };
        let settings = Settings {
            capacity: 100,
            positive_ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(10),
            untracked_ttl,
            deadline: DEADLINE,
            lookups,
        };
        let checker = TokenChecker::new(stores, settings);
        Self {
            clock,
            tokens,
            cache,
            metrics,
            checker,
        }
    }

    async fn check(&self) -> Result<bool, Undecided> {
        let token = BearerToken::parse(TOKEN).unwrap();
        let verdict = self.checker.check(&token).await?;
        Ok(matches!(verdict, Verdict::Live(_)))
    }

    fn lookups(&self) -> usize {
        self.tokens.lookups.load(Ordering::SeqCst)
    }

    async fn in_redis(&self) -> Option<Vec<u8>> {
        let value = self.cache.inner.read(&hash()).await.unwrap();
        value.map(|value| value.bytes)
    }

    fn in_local(&self) -> Hit {
        self.checker.look_up(&hash())
    }
}

fn hash() -> TokenHash {
    BearerToken::parse(TOKEN).unwrap().hash()
}

const LONG: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_forgotten_token_is_refused_at_once_and_asked_about_again_later() {
    let world = World::new(Duration::from_secs(1));
    let checked = world.checker.resolve(TokenKind::Account, hash()).await;
    assert!(matches!(checked.unwrap().verdict, Verdict::Live(_)));

    world.checker.forget(&hash(), Duration::from_secs(1));

    assert!(matches!(world.checker.look_up(&hash()), Hit::Refused));
    world.clock.advance(Duration::from_secs(2));
    assert!(matches!(world.checker.look_up(&hash()), Hit::Miss));
}

#[tokio::test]
async fn a_fill_leaves_an_entry_in_redis_and_one_in_the_map() {
    let world = World::new(LONG);
    assert_eq!(world.check().await, Ok(true));
    assert!(matches!(world.in_local(), Hit::Live(_)));
    let entry = world.in_redis().await.unwrap();
    assert!(entry.ends_with(b"\"by\": \"gateway\"}"));
    assert_eq!(world.check().await, Ok(true));
    assert_eq!(world.lookups(), 1);
}

#[tokio::test]
async fn a_local_entry_never_outlives_the_one_in_redis() {
    let world = World::new(Duration::from_secs(3600));
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(59));
    assert!(matches!(world.in_local(), Hit::Live(_)));
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn a_revocation_during_a_fill_destroys_the_fill() {
    let world = World::new(LONG);
    let (table, cache) = (world.tokens.inner(), Arc::clone(&world.cache.inner));
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        // As Dify does it: commit, then delete the key, which is our lease.
        assert!(table.revoke(ID));
        cache.delete(&hash());
    }));

    assert_eq!(world.check().await, Ok(false), "the second look decides");

    assert_eq!(world.in_redis().await, None, "nothing was brought back");
    assert!(matches!(world.in_local(), Hit::Miss));
    assert_eq!(world.metrics.fills_lost.get(), 1);
    assert_eq!(world.check().await, Ok(false));
}

#[tokio::test]
async fn a_fill_never_overwrites_what_another_wrote_meanwhile() {
    let world = World::new(LONG);
    let (table, cache) = (world.tokens.inner(), Arc::clone(&world.cache.inner));
    *world.tokens.after_lookup.lock().unwrap() = Some(Box::new(move || {
        table.revoke(ID);
        futures_util::FutureExt::now_or_never(cache.overwrite(&hash(), REFUSED, LONG))
            .unwrap()
            .unwrap();
    }));

    assert_eq!(world.check().await, Ok(false));
    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
}

#[tokio::test]
async fn beside_anothers_fill_the_answer_is_right_and_nothing_is_kept() {
    let world = World::new(LONG);
    let lease = entry::Cached::write_lease(&OsEntropy);
    world
        .cache
        .inner
        .overwrite(&hash(), &lease, LONG)
        .await
        .unwrap();

    assert_eq!(world.check().await, Ok(true));

    assert_eq!(
        world.in_redis().await,
        Some(lease),
        "the lease is another's"
    );
    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn an_invalidation_that_overtakes_a_read_keeps_its_answer_out_of_the_map() {
    let world = World::new(LONG);
    assert_eq!(world.check().await, Ok(true));
    world
        .checker
        .desk
        .local
        .sweep(world.clock.monotonic().plus(LONG));
    let desk = Arc::clone(&world.checker.desk);
    *world.cache.after_read.lock().unwrap() = Some(Box::new(move || {
        desk.coherence.changed(&hash());
    }));

    assert_eq!(world.check().await, Ok(true));

    assert!(matches!(world.in_local(), Hit::Miss));
}

#[tokio::test]
async fn without_redis_postgres_answers_and_is_asked_once_per_short_life() {
    let world = World::new(Duration::from_secs(1));
    world.cache.away.store(true, Ordering::SeqCst);

    for _ in 0..10 {
        assert_eq!(world.check().await, Ok(true));
    }
    assert_eq!(world.lookups(), 1);
    world.tokens.inner().revoke(ID);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.check().await, Ok(false));
}

#[tokio::test]
async fn ignorance_is_neither_a_refusal_nor_kept() {
    let world = World::new(LONG);
    world.tokens.away.store(true, Ordering::SeqCst);

    assert_eq!(world.check().await, Err(Undecided::StoresAway));

    assert_ne!(world.in_redis().await.as_deref(), Some(REFUSED));
    assert!(matches!(world.in_local(), Hit::Miss));
    world.tokens.away.store(false, Ordering::SeqCst);
    assert_eq!(world.check().await, Ok(true));
}

#[tokio::test]
async fn a_lease_under_which_nothing_was_found_out_is_given_back() {
    let world = World::new(LONG);
    world.tokens.away.store(true, Ordering::SeqCst);
    assert_eq!(world.check().await, Err(Undecided::StoresAway));
    world.tokens.away.store(false, Ordering::SeqCst);

    world.clock.advance(Duration::from_millis(1));

    assert_eq!(world.in_redis().await, None);
    assert_eq!(world.check().await, Ok(true));
    assert!(matches!(world.in_local(), Hit::Live(_)));
}

#[tokio::test]
async fn with_both_away_a_cached_token_lives_to_its_end_and_then_nobody_knows() {
    let world = World::new(Duration::from_secs(1));
    assert_eq!(world.check().await, Ok(true));
    world.tokens.away.store(true, Ordering::SeqCst);
    world.cache.away.store(true, Ordering::SeqCst);
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.check().await, Err(Undecided::StoresAway));
}

#[tokio::test]
async fn a_refusal_is_remembered_by_both_and_forgotten() {
    let world = World::new(LONG);
    world.tokens.inner().revoke(ID);

    assert_eq!(world.check().await, Ok(false));
    assert_eq!(world.check().await, Ok(false));
    assert_eq!(world.lookups(), 1);
    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.in_redis().await, None);
    assert_eq!(world.check().await, Ok(false));
    assert_eq!(world.lookups(), 2);
}

#[tokio::test]
async fn a_token_whose_time_is_over_is_expired_on_the_way() {
    let world = World::new(LONG);
    assert_eq!(world.check().await, Ok(true));
    world.clock.advance(Duration::from_secs(20_000_000));

    assert_eq!(world.check().await, Ok(false));

    assert_eq!(world.in_redis().await.as_deref(), Some(REFUSED));
    assert!(
        !world.tokens.inner().revoke(ID),
        "the row is revoked already"
    );
    assert_eq!(world.metrics.fills_lost.get(), 0);
}
