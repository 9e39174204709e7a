//! The limit per token: leased from Redis, shared by every replica, and never in the way of an
//! outage.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::support::{
    Database, DedicatedRedis, Gateway, GatewayBuilder, IssuedToken, NewToken, RedisSpace, Response,
    Stage, Upstream, assert_eventually, request,
};

const APPS: &str = "/openapi/v1/apps";
const SESSIONS: &str = "/openapi/v1/account/sessions";

/// Every wait of these tests must end long before this; nothing here measures how fast.
const HANGS: Duration = Duration::from_secs(8);

/// A window that does not turn within a test.
fn limited(gateway: GatewayBuilder, count: u32) -> GatewayBuilder {
    gateway.set("rate_limits.bearer", &format!("\"{count}/1h\""))
}

fn ledger(token: &IssuedToken) -> String {
    format!("rl:bearer:lease:{}", token.id)
}

/// Two gateways on the same stores, and a token.
struct Pair {
    gateways: [Gateway; 2],
    upstream: Upstream,
    database: Database,
    token: IssuedToken,
}

impl Pair {
    async fn on(redis: &RedisSpace, count: u32) -> Self {
        Self::with(redis, |gateway| limited(gateway, count)).await
    }

    async fn with(
        redis: &RedisSpace,
        configure: impl Fn(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
        let account = database.account("ada@example.com", "Ada").await;
        let token = NewToken::account(account, "ada@example.com");
        let token = database.insert_token(&token).await;
        let one = async || {
            let gateway = replica(&upstream, &database, redis);
            configure(gateway).start().await
        };
        let gateways = tokio::join!(one(), one()).into();
        Self {
            gateways,
            upstream,
            database,
            token,
        }
    }
}

fn replica(upstream: &Upstream, database: &Database, redis: &RedisSpace) -> GatewayBuilder {
    Gateway::builder()
        .upstream(upstream.addr())
        .database(database)
        .redis(redis)
}

async fn get(gateway: &Gateway, token: &IssuedToken) -> Response {
    let began = Instant::now();
    let response = gateway.get(APPS, Some(&token.token)).await;
    assert!(began.elapsed() < HANGS, "a request hung");
    response
}

/// Sends requests until one is refused; how many passed. Only the limit may refuse.
async fn drain(gateway: &Gateway, token: &IssuedToken) -> u32 {
    let mut passed = 0;
    loop {
        let response = get(gateway, token).await;
        match response.status {
            200 if passed < 10_000 => passed += 1,
            429 => return passed,
            _ => panic!("{response:?}"),
        }
    }
}

/// Sends so many requests over one connection; how many passed.
async fn burst(gateway: &Gateway, token: &IssuedToken, times: usize) -> usize {
    let bytes = request("GET", APPS).bearer(&token.token).to_bytes();
    let mut client = gateway.client().await;
    let mut passed = 0;
    for _ in 0..times {
        client.send(&bytes).await;
        let response = client.read_response().await;
        assert!(matches!(response.status, 200 | 429), "{response:?}");
        passed += usize::from(response.status == 200);
    }
    passed
}

/// How many scripts the server has run.
async fn scripts_run(redis: &RedisSpace) -> u64 {
    let mut connection = redis.connection().await;
    let info: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .unwrap();
    let calls = |name: &str| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    calls("evalsha") + calls("eval")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let stage = Stage::with(|gateway| limited(gateway, 3)).await;
    let apps = request("GET", APPS).bearer(&stage.account.token);

    // Local endpoints count as what is forwarded does.
    stage.forwards(&apps).await;
    stage
        .refuses(&request("GET", SESSIONS).bearer(&stage.account.token), 200)
        .await;
    stage.forwards(&apps).await;
    let limited = stage.refuses(&apps, 429).await;

    let body = limited.json();
    assert_eq!(
        (&body["code"], &body["status"]),
        (&"too_many_requests".into(), &429.into())
    );
    assert_eq!(
        limited.header("ratelimit-policy"),
        Some("\"bearer\";q=3;w=3600")
    );
    let seconds: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    // What is charged to a lease comes back after the window and the lease's life.
    assert!((3_590..=3_780).contains(&seconds), "{seconds}");
    assert_eq!(
        limited.header("ratelimit"),
        Some(format!("\"bearer\";r=0;t={seconds}").as_str())
    );
    for path in [SESSIONS, "/openapi/v1/account"] {
        stage
            .refuses(&request("GET", path).bearer(&stage.account.token), 429)
            .await;
    }
    let refused = "difygate_rejections_total{reason=\"limited\"}";
    assert_eq!(stage.gateway.metric(refused).await, 3.0);
    let metric = "difygate_bearer_limit_refusals_total";
    assert_eq!(stage.gateway.metric(metric).await, 3.0);

    // Another token has its own window, and what it may not do counts as well.
    let external = request("GET", APPS).bearer(&stage.external.token);
    for status in [403, 403, 403, 429] {
        stage.refuses(&external, status).await;
    }
    assert!(stage.redis.ttl(&ledger(&stage.account)).await > 3_600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_as_such_even_when_its_window_is_full() {
    let stage = Stage::with(|gateway| limited(gateway, 1)).await;
    let apps = request("GET", APPS).bearer(&stage.account.token);
    stage.forwards(&apps).await;
    stage.refuses(&apps, 429).await;

    stage.database.revoke(stage.account.id).await;
    let entry = format!("auth:token:{}", stage.account.hash);
    assert!(stage.redis.del(&entry).await);

    assert_eventually!(
        apps.send(stage.gateway.addr()).await.status == 401,
        "it is revoked, not limited"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_nothing_and_neither_does_a_limit_that_is_off() {
    let ledgers = async |stage: &Stage| {
        let keys = stage.redis.keys().await;
        keys.into_iter()
            .filter(|key| key.starts_with("rl:"))
            .count()
    };
    let on = Stage::with(|gateway| limited(gateway, 1)).await;
    for _ in 0..3 {
        let stranger = IssuedToken::unknown("dfoa_");
        on.refuses(&request("GET", APPS).bearer(&stranger.token), 401)
            .await;
    }
    assert_eq!(ledgers(&on).await, 0);

    let off = Stage::set().await;
    for _ in 0..5 {
        off.forwards(&request("GET", APPS).bearer(&off.account.token))
            .await;
    }
    assert_eq!(ledgers(&off).await, 0);
    let leases = off
        .gateway
        .metric("difygate_bearer_limit_leases_total")
        .await;
    assert_eq!(leases, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_together_never_let_more_through_than_the_limit() {
    const LIMIT: usize = 400;
    let redis = RedisSpace::create().await;
    let pair = Pair::on(&redis, LIMIT as u32).await;

    let bursts = (0..16).map(|n| burst(&pair.gateways[n % 2], &pair.token, 50));
    let passed: usize = futures_util::future::join_all(bursts)
        .await
        .into_iter()
        .sum();

    assert!(passed <= LIMIT, "{passed}");
    // What one refuses early, the other still has.
    let rest =
        drain(&pair.gateways[0], &pair.token).await + drain(&pair.gateways[1], &pair.token).await;
    assert_eq!(passed + rest as usize, LIMIT);
    assert_eq!(pair.upstream.take_requests().len(), LIMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alone_refuses_early_by_no_more_than_a_twelfth() {
    let redis = RedisSpace::create().await;
    let pair = Pair::on(&redis, 1_000).await;
    let [one, two] = &pair.gateways;
    assert_eq!(burst(one, &pair.token, 300).await, 300);

    let passed = drain(two, &pair.token).await;

    // A twentieth of the limit, and half as much that was left of the lease before.
    assert!((700 - 75..=700).contains(&passed), "{passed}");
    assert_eq!(passed + drain(one, &pair.token).await, 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_limit_asks_redis_now_and_then() {
    const REQUESTS: usize = 10_000;
    let redis = DedicatedRedis::start().await;
    let pair = Pair::on(redis.space(), 100_000).await;
    let before = scripts_run(redis.space()).await;

    let bursts = (0..4).map(|_| burst(&pair.gateways[0], &pair.token, REQUESTS / 4));
    let passed: usize = futures_util::future::join_all(bursts)
        .await
        .into_iter()
        .sum();

    assert_eq!(passed, REQUESTS);
    let calls = scripts_run(redis.space()).await - before;
    // The token's own fill and refreshes are among them.
    assert!(calls <= 40, "{calls} scripts for {REQUESTS} requests");
    let leases = "difygate_bearer_limit_leases_total{result=\"granted\"}";
    assert!(pair.gateways[0].metric(leases).await >= 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_replica_counts_for_itself_and_nobody_is_refused_for_it() {
    let redis = DedicatedRedis::start().await;
    let pair = Pair::on(redis.space(), 6).await;
    let [one, two] = &pair.gateways;
    for _ in 0..2 {
        assert_eq!(get(one, &pair.token).await.status, 200);
    }

    redis.stop();
    // What was leased before counts on.
    assert_eq!(drain(one, &pair.token).await, 4);
    assert_eq!(drain(two, &pair.token).await, 6);
    let alone = "difygate_bearer_limit_leases_total{result=\"alone\"}";
    assert!(one.metric(alone).await >= 1.0);

    redis.restart().await;
    let up = "difygate_dependency_up{dependency=\"redis\"}";
    for gateway in &pair.gateways {
        assert_eventually!(gateway.metric(up).await == 1.0, "redis is back");
    }
    // Nobody gets a second helping from a server that has forgotten, and nothing is charged twice.
    assert_eq!(drain(one, &pair.token).await, 0);
    let third = replica(&pair.upstream, &pair.database, redis.space());
    let third = limited(third, 6).start().await;
    assert_eq!(drain(&third, &pair.token).await, 6);
    assert!(redis.space().ttl(&ledger(&pair.token)).await > 3_600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_nothing_holds_up_nobody() {
    let redis = DedicatedRedis::start().await;
    let impatient = |gateway| limited(gateway, 1_000).set("redis.timeout", "\"100ms\"");
    let pair = Pair::with(redis.space(), impatient).await;
    let gateway = &pair.gateways[0];
    assert_eq!(burst(gateway, &pair.token, 10).await, 10);

    redis.freeze();
    for _ in 0..100 {
        assert_eq!(get(gateway, &pair.token).await.status, 200);
    }
    redis.thaw();

    let granted = "difygate_bearer_limit_leases_total{result=\"granted\"}";
    let before = gateway.metric(granted).await;
    assert_eventually!(
        {
            assert_eq!(get(gateway, &pair.token).await.status, 200);
            gateway.metric(granted).await > before
        },
        "redis is asked again"
    );
    // Never more than the limit by this replica, whatever was counted where.
    assert!(drain(gateway, &pair.token).await < 890);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tokens_are_counted_apart() {
    let redis = RedisSpace::create().await;
    let pair = Pair::on(&redis, 2).await;
    let account = pair.database.account("bob@example.com", "Bob").await;
    for _ in 0..5 {
        let label = Uuid::new_v4().to_string();
        let token = NewToken::account(account, "bob@example.com").label(&label);
        let token = pair.database.insert_token(&token).await;
        assert_eq!(drain(&pair.gateways[0], &token).await, 2);
        assert_eq!(drain(&pair.gateways[1], &token).await, 0);
    }
}
