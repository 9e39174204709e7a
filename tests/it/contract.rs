//! What every implementation of a store promises, asked of the embedded and of the real ones.

use std::{sync::Arc, time::Duration};

use difygate::{
    clock::{Clock, SystemClock, Timestamp},
    config::{PostgresConfig, PostgresTarget, RedisConfig, RedisTarget},
    health::Health,
    secret::Secret,
    store::{
        AccountStatus, TokenCache, TokenRecord, TokenStore,
        embedded::{EmbeddedCache, EmbeddedTokens},
        postgres::{PgTokenStore, PostgresLink},
        redis::{RedisLink, RedisTokenCache},
    },
    token::TokenHash,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::support::{Database, NewToken, RedisSpace, assert_eventually};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

pub(crate) fn hash_of(text: &str) -> TokenHash {
    TokenHash::from_digest(Sha256::digest(text).into())
}

fn from_hex(hex: &str) -> TokenHash {
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    TokenHash::from_digest(digest)
}

pub(crate) fn redis_link(space: &RedisSpace) -> Arc<RedisLink> {
    let config = RedisConfig {
        target: RedisTarget::Url(Secret::new(space.url())),
        key_prefix: space.prefix().to_owned(),
        timeout: Duration::from_secs(10),
        tls: None,
        sentinels: Vec::new(),
        service_name: None,
        sentinel_username: None,
        sentinel_password: None,
        cluster_nodes: Vec::new(),
    };
    RedisLink::new(&config, Arc::clone(&Health::new(&clock()).redis)).unwrap()
}

fn real_cache(space: &RedisSpace) -> (RedisTokenCache, Arc<RedisLink>) {
    let link = redis_link(space);
    (RedisTokenCache::new(Arc::clone(&link)), link)
}

pub(crate) fn postgres_link(database: &Database) -> Arc<PostgresLink> {
    let config = PostgresConfig {
        target: PostgresTarget::Url(Secret::new(database.url())),
        tls: difygate::config::PostgresTls::default(),
        pool_size: 4,
        timeout: Duration::from_secs(5),
    };
    let health = Arc::clone(&Health::new(&clock()).postgres);
    PostgresLink::new(&config, health).unwrap()
}

fn real_tokens(database: &Database) -> PgTokenStore {
    PgTokenStore::new(postgres_link(database))
}

async fn text(cache: &dyn TokenCache, hash: &TokenHash) -> Option<String> {
    let value = cache.read(hash).await.unwrap();
    value.map(|value| String::from_utf8(value.bytes).unwrap())
}

/// The promises of [`TokenCache`].
pub(crate) async fn cache_contract(cache: &dyn TokenCache) {
    let hash = hash_of("a");
    assert_eq!(text(cache, &hash).await, None);
    cache.ping().await.unwrap();

    // A claim on nothing succeeds once, and only while there is nothing.
    assert!(cache.claim(&hash, None, b"lease-1", LONG).await.unwrap());
    assert!(!cache.claim(&hash, None, b"lease-2", LONG).await.unwrap());
    assert_eq!(text(cache, &hash).await.as_deref(), Some("lease-1"));

    // A claim on a value succeeds on exactly that value.
    assert!(
        !cache
            .claim(&hash, Some(b"x"), b"lease-2", LONG)
            .await
            .unwrap()
    );
    let lease_1 = Some(&b"lease-1"[..]);
    assert!(cache.claim(&hash, lease_1, b"lease-2", LONG).await.unwrap());

    // Only the present lease settles, and settles once.
    assert!(
        !cache
            .settle(&hash, b"lease-1", b"stale", LONG, cache.connection())
            .await
            .unwrap()
    );
    assert!(
        cache
            .settle(&hash, b"lease-2", b"value", LONG, cache.connection())
            .await
            .unwrap()
    );
    assert!(
        !cache
            .settle(&hash, b"lease-2", b"again", LONG, cache.connection())
            .await
            .unwrap()
    );
    let value = cache.read(&hash).await.unwrap().unwrap();
    assert_eq!(value.bytes, b"value");
    let remaining = value.remaining.unwrap();
    assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");

    // An overwrite asks nobody.
    assert!(cache.overwrite(&hash, b"invalid", LONG).await.unwrap());
    assert_eq!(text(cache, &hash).await.as_deref(), Some("invalid"));

    // What has ended is not there: it is neither read, settled nor in the way.
    let other = hash_of("b");
    cache.claim(&other, None, b"lease", SHORT).await.unwrap();
    assert_eventually!(text(cache, &other).await.is_none(), "the lease ends");
    assert!(
        !cache
            .settle(&other, b"lease", b"late", LONG, cache.connection())
            .await
            .unwrap()
    );
    assert_eq!(text(cache, &other).await, None);
    assert!(cache.claim(&other, None, b"lease", LONG).await.unwrap());

    // Bytes are bytes.
    let odd = b"\0\xff\r\n\"'";
    cache.overwrite(&other, odd, LONG).await.unwrap();
    assert_eq!(cache.read(&other).await.unwrap().unwrap().bytes, odd);
}

/// Of many who settle or claim at once, one does.
pub(crate) async fn cache_races(cache: Arc<dyn TokenCache>) {
    let hash = hash_of("race");
    let attempt = |n: usize| {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let lease = format!("lease-{n}");
            cache
                .claim(&hash, None, lease.as_bytes(), LONG)
                .await
                .unwrap()
        })
    };
    let attempts: Vec<_> = (0..50).map(attempt).collect();
    let mut winners = 0;
    for attempt in attempts {
        winners += usize::from(attempt.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_cache_keeps_its_promises() {
    let cache = Arc::new(EmbeddedCache::new(clock()));
    cache_contract(&*cache).await;
    cache_races(cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redis_cache_keeps_its_promises() {
    let space = RedisSpace::create().await;
    let (cache, link) = real_cache(&space);
    link.connect().await;
    let cache = Arc::new(cache);
    cache_contract(&*cache).await;
    cache_races(Arc::clone(&cache) as Arc<dyn TokenCache>).await;
    // Every key has the prefix, those in scripts too.
    assert_eq!(space.count_keys().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_key_without_an_end_is_told_from_one_with() {
    let space = RedisSpace::create().await;
    let (cache, link) = real_cache(&space);
    link.connect().await;
    let hash = hash_of("endless");
    let mut connection = space.connection().await;
    let () = redis::cmd("SET")
        .arg(space.key(&format!("auth:token:{}", hash.to_hex().as_str())))
        .arg("invalid")
        .query_async(&mut connection)
        .await
        .unwrap();

    assert_eq!(cache.read(&hash).await.unwrap().unwrap().remaining, None);
}

/// The promises of [`TokenStore`]: `live` and `expired` are the hashes and ids of two such rows.
async fn store_contract(
    store: Arc<dyn TokenStore>,
    live: (TokenHash, Uuid),
    expired: (TokenHash, Uuid),
) {
    store.ping().await.unwrap();
    assert_eq!(store.find_by_hash(&hash_of("nobody")).await.unwrap(), None);

    let record = store.find_by_hash(&live.0).await.unwrap().unwrap();
    assert_eq!((record.id, record.expired), (live.1, false));
    assert_eq!(record.prefix, "dfoa_");
    assert_eq!(record.subject_email, "ada@example.com");
    assert_eq!(record.subject_issuer.as_deref(), Some("dify:account"));
    assert_eq!(record.account_status, Some(AccountStatus::Usable));
    assert_eq!(record.client_id, "difyctl");

    // Only what is over is expired, and only under the hash it was found by.
    assert!(!store.expire(live.1, &live.0).await.unwrap());
    assert!(store.find_by_hash(&live.0).await.unwrap().is_some());
    let record = store.find_by_hash(&expired.0).await.unwrap().unwrap();
    assert_eq!((record.id, record.expired), (expired.1, true));
    assert!(!store.expire(expired.1, &live.0).await.unwrap());
    assert!(!store.expire(Uuid::nil(), &expired.0).await.unwrap());

    // Of many who expire it, one does.
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.expire(expired.1, &expired.0).await.unwrap() })
        })
        .collect();
    let mut winners = 0;
    for attempt in attempts {
        winners += usize::from(attempt.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(store.find_by_hash(&expired.0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_table_keeps_its_promises() {
    let clock = clock();
    let store = Arc::new(EmbeddedTokens::new(Arc::clone(&clock)));
    let insert = |name: &str, expires_at: Timestamp| {
        let id = Uuid::new_v4();
        let record = TokenRecord {
            id,
            prefix: "dfoa_".into(),
            subject_email: "ada@example.com".into(),
            subject_issuer: Some("dify:account".into()),
            account_id: Some(Uuid::nil()),
            account_status: Some(AccountStatus::Usable),
            client_id: "difyctl".into(),
            expires_at,
            expired: false,
        };
        store.insert(hash_of(name), name, record);
        (hash_of(name), id)
    };
    let live = insert("live", clock.now().plus(LONG));
    let expired = insert("expired", clock.now());

    store_contract(Arc::clone(&store) as Arc<dyn TokenStore>, live, expired).await;

    assert!(store.revoke(live.1));
    assert!(!store.revoke(live.1));
    assert_eq!(store.find_by_hash(&live.0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgres_table_keeps_its_promises() {
    let database = Database::create().await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = || NewToken::account(account, "ada@example.com").client("difyctl");
    let live = database.insert_token(&token().expires_in(LONG)).await;
    let expired = database.insert_token(&token().expired()).await;

    store_contract(
        Arc::new(real_tokens(&database)),
        (from_hex(&live.hash), live.id),
        (from_hex(&expired.hash), expired.id),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_row_is_not_expired_by_who_saw_the_old_token() {
    let database = Database::create().await;
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com").expired();
    let token = database.insert_token(&token).await;
    let store = real_tokens(&database);
    let seen = store.find_by_hash(&from_hex(&token.hash)).await.unwrap();
    assert!(seen.unwrap().expired);
    let rotate = "UPDATE oauth_access_tokens SET token_hash = $2, expires_at = now() + interval '1 day' WHERE id = $1";
    let client = database.client().await;
    client
        .execute(rotate, &[&token.id, &"0".repeat(64)])
        .await
        .unwrap();

    assert!(
        !store
            .expire(token.id, &from_hex(&token.hash))
            .await
            .unwrap()
    );

    let rotated = from_hex(&"0".repeat(64));
    assert!(store.find_by_hash(&rotated).await.unwrap().is_some());
}
