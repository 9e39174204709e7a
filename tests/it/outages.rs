//! The outage matrix: no 401 from ignorance, nothing that hangs, recovery by itself.

use std::time::{Duration, Instant};

use crate::support::{
    Database, DedicatedPostgres, DedicatedRedis, Gateway, GatewayBuilder, IssuedToken, NewToken,
    RedisSpace, Relay, Response, Upstream, assert_eventually,
};

const APPS: &str = "/openapi/v1/apps";

/// Every wait of these tests must end long before this; nothing here measures how fast.
const HANGS: Duration = Duration::from_secs(8);

async fn token_in(database: &Database) -> IssuedToken {
    let account = database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com");
    database.insert_token(&token).await
}

/// A gateway whose time-outs are short, so that what hangs can be told from what waits.
fn impatient() -> GatewayBuilder {
    Gateway::builder()
        .set("postgres.timeout", "\"2s\"")
        .set("redis.timeout", "\"500ms\"")
}

async fn get(gateway: &Gateway, token: &IssuedToken) -> Response {
    let began = Instant::now();
    let response = gateway.get(APPS, Some(&token.token)).await;
    assert!(began.elapsed() < HANGS, "a request hung");
    response
}

fn assert_undecided(response: &Response) {
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["code"], "auth_unavailable");
    let retry_after: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!(retry_after >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_stopped_a_cached_token_works_and_an_unknown_one_gets_503() {
    let (upstream, redis) = (Upstream::start().await, RedisSpace::create().await);
    let postgres = DedicatedPostgres::start().await;
    let token = token_in(postgres.database()).await;
    let gateway = impatient()
        .upstream(upstream.addr())
        .database(postgres.database())
        .redis(&redis)
        .start()
        .await;
    assert_eq!(get(&gateway, &token).await.status, 200);

    postgres.stop_immediate();

    let unknown = IssuedToken::unknown("dfoa_");
    assert_undecided(&get(&gateway, &unknown).await);
    assert_eq!(get(&gateway, &token).await.status, 200);
    assert_eq!(
        redis
            .get(&format!("auth:token:{}", unknown.hash))
            .await
            .as_deref()
            .filter(|v| *v == "invalid"),
        None,
        "ignorance is not cached"
    );

    postgres.restart().await;
    assert_eventually!(
        get(&gateway, &unknown).await.status == 401,
        "an unknown token is refused again once Postgres can say so"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_frozen_nothing_hangs() {
    let (upstream, redis) = (Upstream::start().await, RedisSpace::create().await);
    let postgres = DedicatedPostgres::start().await;
    let token = token_in(postgres.database()).await;
    let gateway = impatient()
        .upstream(upstream.addr())
        .database(postgres.database())
        .redis(&redis)
        .start()
        .await;
    assert_eq!(get(&gateway, &token).await.status, 200);

    postgres.freeze();
    assert_undecided(&get(&gateway, &IssuedToken::unknown("dfoa_")).await);
    assert_eq!(get(&gateway, &token).await.status, 200);
    postgres.thaw();

    assert_eventually!(
        get(&gateway, &IssuedToken::unknown("dfoa_")).await.status == 401,
        "the gateway recovers by itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_difys_is_used_unverified_while_postgres_is_away() {
    let (upstream, redis) = (Upstream::start().await, RedisSpace::create().await);
    let token = IssuedToken::unknown("dfoa_");
    let gateway = impatient()
        .upstream(upstream.addr())
        .redis(&redis)
        .start()
        .await;
    let entry =
        crate::support::redis_fixture("auth_token_account").replace("2026-06-11", "2096-06-11");
    let key = format!("auth:token:{}", token.hash);
    redis.set_ex(&key, &entry, 60).await;

    assert_eq!(get(&gateway, &token).await.status, 200);

    let used = gateway
        .metric("difygate_token_cache_unverified_entries_used_total")
        .await;
    assert_eq!(used, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_stopped_everything_works_from_postgres() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    let token = token_in(&database).await;
    let gateway = impatient()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .start()
        .await;

    redis.stop();

    assert_eq!(get(&gateway, &token).await.status, 200);
    assert_eq!(
        get(&gateway, &IssuedToken::unknown("dfoa_")).await.status,
        401
    );
    database.revoke(token.id).await;
    assert_eventually!(
        get(&gateway, &token).await.status == 401,
        "a revoked token is refused after the local lifetime"
    );

    redis.restart().await;
    let after = token_in_again(&database).await;
    assert_eventually!(
        {
            let worked = get(&gateway, &after).await.status == 200;
            worked && redis.space().count_keys().await > 0
        },
        "Redis is used again once it is back"
    );
}

async fn token_in_again(database: &Database) -> IssuedToken {
    let account = database.account("bob@example.com", "Bob").await;
    database
        .insert_token(&NewToken::account(account, "bob@example.com"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_frozen_nothing_hangs() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = DedicatedRedis::start().await;
    let token = token_in(&database).await;
    let gateway = impatient()
        .upstream(upstream.addr())
        .database(&database)
        .redis(redis.space())
        .start()
        .await;

    redis.freeze();
    for _ in 0..5 {
        assert_eq!(get(&gateway, &token).await.status, 200);
        assert_eq!(
            get(&gateway, &IssuedToken::unknown("dfoa_")).await.status,
            401
        );
    }
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_stores_away_a_token_in_no_cache_gets_503_and_never_401() {
    let upstream = Upstream::start().await;
    let gateway = impatient().upstream(upstream.addr()).start().await;

    for _ in 0..3 {
        assert_undecided(&get(&gateway, &IssuedToken::unknown("dfoa_")).await);
    }

    assert_eq!(gateway.get("/v1/info", Some("app-x")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_stalled_connections_are_replaced() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let to_postgres = Relay::to(database.addr()).await;
    let to_redis = Relay::to(redis.addr()).await;
    let to_upstream = Relay::to(upstream.addr()).await;
    let token = token_in(&database).await;
    let gateway = impatient()
        .upstream(to_upstream.local_addr())
        .postgres_addr(to_postgres.local_addr(), database.name())
        .redis_addr(to_redis.local_addr(), redis.prefix())
        .set("token_cache.untracked_ttl", "\"0s\"")
        .set("upstream.connect_timeout", "\"500ms\"")
        .set("upstream.read_timeout", "\"1s\"")
        .start()
        .await;
    assert_eq!(get(&gateway, &token).await.status, 200);

    for relay in [&to_postgres, &to_redis] {
        relay.cut();
        assert_ne!(get(&gateway, &token).await.status, 401);
        relay.restore();
        assert_eventually!(get(&gateway, &token).await.status == 200, "after a cut");
        relay.stall();
        assert_ne!(get(&gateway, &token).await.status, 401);
        relay.restore();
        assert_eventually!(get(&gateway, &token).await.status == 200, "after a stall");
    }
    to_upstream.cut();
    assert_eq!(get(&gateway, &token).await.status, 502);
    to_upstream.restore();
    to_upstream.stall();
    assert_eq!(get(&gateway, &token).await.status, 504);
    to_upstream.restore();
    assert_eventually!(get(&gateway, &token).await.status == 200, "after all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_state_is_logged_once_and_not_once_per_request() {
    let (upstream, redis) = (Upstream::start().await, RedisSpace::create().await);
    let postgres = DedicatedPostgres::start().await;
    let gateway = impatient()
        .upstream(upstream.addr())
        .database(postgres.database())
        .redis(&redis)
        .start()
        .await;

    postgres.stop_immediate();
    for _ in 0..20 {
        assert_undecided(&get(&gateway, &IssuedToken::unknown("dfoa_")).await);
    }
    gateway
        .wait_for_log(|line| is_transition(line, "down"))
        .await;

    let lines = gateway.log_lines();
    let transitions = lines.iter().filter(|line| is_transition(line, "down"));
    assert_eq!(transitions.count(), 1);
}

fn is_transition(line: &serde_json::Value, to: &str) -> bool {
    let message = format!("dependency is {to}");
    Gateway::log_field(line, "dependency").is_some_and(|name| name == "postgres")
        && Gateway::log_field(line, "message").is_some_and(|said| *said == message)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_slow_to_open_are_opened_all_the_same() {
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let to_postgres = Relay::to(database.addr()).await;
    // Longer than a probe waits for an answer, shorter than `postgres.timeout`.
    to_postgres.delay_new(Duration::from_millis(700));
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .postgres_addr(to_postgres.local_addr(), database.name())
        .redis(&redis)
        .start()
        .await;

    assert_eventually!(has_postgres(&gateway).await, "after the start");

    to_postgres.cut();
    gateway
        .wait_for_log(|line| is_transition(line, "down"))
        .await;
    to_postgres.restore();
    to_postgres.delay_new(Duration::from_millis(700));
    assert_eventually!(has_postgres(&gateway).await, "after an outage");
    let unknown = IssuedToken::unknown("dfoa_");
    assert_eq!(get(&gateway, &unknown).await.status, 401);
}

/// Whether the gateway has found Postgres by itself.
async fn has_postgres(gateway: &Gateway) -> bool {
    let up = "difygate_dependency_up{dependency=\"postgres\"}";
    gateway.metric(up).await == 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_gone_silent_are_given_up_together() {
    const CONNECTIONS: usize = 18;
    let (upstream, database) = (Upstream::start().await, Database::create().await);
    let redis = RedisSpace::create().await;
    let to_postgres = Relay::to(database.addr()).await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .postgres_addr(to_postgres.local_addr(), database.name())
        .redis(&redis)
        .set("postgres.pool_size", "24")
        .start()
        .await;
    // Long enough for all of them to need a connection at the same time.
    to_postgres.delay(Duration::from_millis(50));
    let unknown = || IssuedToken::unknown("dfoa_").token;
    let lookup = async || {
        let answer = gateway.get(APPS, Some(&unknown())).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    };
    assert_eventually!(
        {
            futures_util::future::join_all((0..CONNECTIONS).map(|_| lookup())).await;
            to_postgres.connections() >= CONNECTIONS
        },
        "as many at once"
    );
    to_postgres.restore();

    to_postgres.silence_open();

    assert_eventually!(
        gateway.get(APPS, Some(&unknown())).await.status == 401,
        "new connections work, and are made"
    );
}
