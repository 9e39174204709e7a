//! The token check on a live proxy, with a real Postgres and a real Redis.

mod kinds;

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Database, Gateway, GatewayBuilder, IssuedToken, NewToken, RedisSpace, Upstream, redis_fixture,
};

/// A path that account tokens may use.
const APPS: &str = "/openapi/v1/apps";

struct World {
    upstream: Upstream,
    database: Database,
    redis: RedisSpace,
}

impl World {
    async fn create() -> Self {
        Self {
            upstream: Upstream::start().await,
            database: Database::create().await,
            redis: RedisSpace::create().await,
        }
    }

    fn gateway(&self) -> GatewayBuilder {
        Gateway::builder()
            .upstream(self.upstream.addr())
            .database(&self.database)
            .redis(&self.redis)
    }

    async fn account_token(&self) -> IssuedToken {
        let account = self.database.account("ada@example.com", "Ada").await;
        let token = NewToken::account(account, "ada@example.com").client("difyctl");
        self.database.insert_token(&token).await
    }
}

async fn status(gateway: &Gateway, path: &str, token: &IssuedToken) -> u16 {
    gateway.get(path, Some(&token.token)).await.status
}

fn cache_key(token: &IssuedToken) -> String {
    format!("auth:token:{}", token.hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_inserted_by_sql_is_accepted() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world.gateway().start().await;

    assert_eq!(status(&gateway, APPS, &token).await, 200);
    let request = &world.upstream.wait_for_requests(1).await[0];
    assert_eq!(
        request.header("authorization"),
        Some(token.bearer().as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_by_sql_is_refused_once_the_local_entry_is_over() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world
        .gateway()
        .set("token_cache.untracked_ttl", "\"200ms\"")
        .start()
        .await;
    assert_eq!(status(&gateway, APPS, &token).await, 200);

    world.database.revoke(token.id).await;
    assert!(world.redis.del(&cache_key(&token)).await);

    crate::support::assert_eventually!(
        status(&gateway, APPS, &token).await == 401,
        "the revoked token is refused"
    );
    assert_eq!(
        world.redis.get(&cache_key(&token)).await.as_deref(),
        Some("invalid")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_token_costs_one_lookup() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world
        .gateway()
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;

    for _ in 0..20 {
        assert_eq!(status(&gateway, APPS, &token).await, 200);
    }

    assert_eq!(world.database.statements_seen(), 1);
    // Redis reports the two writes of the fill as well, and each report may take the entry away.
    assert!(
        gateway
            .metric(r#"difygate_token_checks_total{tier="local",result="live"}"#)
            .await
            >= 17.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_uses_the_entry_of_the_first() {
    let world = World::create().await;
    let token = world.account_token().await;
    let first = world.gateway().start().await;
    let second = world.gateway().start().await;
    assert_eq!(status(&first, APPS, &token).await, 200);
    let seen = world.database.statements_seen();

    assert_eq!(status(&second, APPS, &token).await, 200);

    assert_eq!(world.database.statements_seen(), seen);
    let redis_hits = r#"difygate_token_checks_total{tier="redis",result="live"}"#;
    assert_eq!(second.metric(redis_hits).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_dify_wrote_is_checked_once_and_then_used() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world
        .gateway()
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;
    let entry = redis_fixture("auth_token_account");
    world.redis.set_ex(&cache_key(&token), &entry, 60).await;

    for _ in 0..5 {
        assert_eq!(status(&gateway, APPS, &token).await, 200);
    }

    // Redis reports this write as well, and the report may take the entry away once.
    assert!((1..=2).contains(&world.database.statements_seen()));
    assert_eq!(
        world.redis.get(&cache_key(&token)).await,
        Some(entry),
        "Dify's own entry stays as it is"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_entry_that_dify_wrote_is_not_believed() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world.gateway().start().await;
    world.database.revoke(token.id).await;
    let entry = redis_fixture("auth_token_account");
    world.redis.set_ex(&cache_key(&token), &entry, 60).await;

    assert_eq!(status(&gateway, APPS, &token).await, 401);

    assert_eq!(
        world.redis.get(&cache_key(&token)).await.as_deref(),
        Some("invalid"),
        "nor will Dify believe it any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_is_what_dify_would_write_but_for_the_mark() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world.gateway().start().await;
    assert_eq!(status(&gateway, APPS, &token).await, 200);

    let written = world.redis.get(&cache_key(&token)).await.unwrap();

    let ttl = world.redis.ttl(&cache_key(&token)).await;
    assert!((50..=60).contains(&ttl), "{ttl}");
    let theirs: Value = serde_json::from_str(&redis_fixture("auth_token_account")).unwrap();
    let mut ours: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(ours["by"], "gateway");
    ours.as_object_mut().unwrap().remove("by");
    let members = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(members(&ours), members(&theirs));
    assert_eq!(ours["token_id"], token.id.to_string());
    assert_eq!(ours["verified_tenants"], serde_json::json!({}));
    assert!(written.starts_with("{\"subject_email\": \"ada@example.com\", "));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_no_entries_count_as_a_miss_and_are_rewritten() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world
        .gateway()
        // Nothing is kept here, so that each request looks at what stands in Redis by then.
        .set("token_cache.coherence", "\"ttl\"")
        .set("token_cache.untracked_ttl", "\"0s\"")
        .start()
        .await;
    let key = cache_key(&token);

    for value in ["[]", "null", "{}", "{\"token_id\": 1}", "gibberish"] {
        world.redis.set_ex(&key, value, 60).await;
        assert_eq!(status(&gateway, APPS, &token).await, 200, "{value}");
        let written = world.redis.get(&key).await.unwrap();
        assert!(
            written.contains("\"by\": \"gateway\""),
            "{value} → {written}"
        );
    }

    let mut connection = world.redis.connection().await;
    let () = redis::cmd("PERSIST")
        .arg(world.redis.key(&key))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(status(&gateway, APPS, &token).await, 200);
    assert!(world.redis.ttl(&key).await > 0, "no entry without an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_past_the_tokens_end_is_refused_at_every_hit() {
    let world = World::create().await;
    let gateway = world
        .gateway()
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;
    let account = world.database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com").expires_in(Duration::from_secs(4));
    let token = world.database.insert_token(&token).await;
    assert_eq!(status(&gateway, APPS, &token).await, 200);

    crate::support::assert_eventually!(
        status(&gateway, APPS, &token).await == 401,
        "the token ends although its entries live on"
    );
    crate::support::assert_eventually!(
        gateway.audit_events("oauth.token_expired").len() == 1,
        "and is hard-expired"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_row_is_hard_expired_exactly_once() {
    let world = World::create().await;
    let account = world.database.account("ada@example.com", "Ada").await;
    let token = NewToken::account(account, "ada@example.com").expired();
    let token = world.database.insert_token(&token).await;
    let gateways = [world.gateway().start().await, world.gateway().start().await];

    let requests: Vec<_> = (0..50)
        .map(|n| {
            let (addr, token) = (gateways[n % 2].addr(), token.token.clone());
            tokio::spawn(async move { crate::support::get(addr, APPS, Some(&token)).await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 401);
    }

    let events: Vec<Value> = gateways
        .iter()
        .flat_map(|gateway| gateway.audit_events("oauth.token_expired"))
        .collect();
    assert_eq!(events.len(), 1, "{events:?}");
    let field = |name| Gateway::log_field(&events[0], name).cloned();
    assert_eq!(field("token_id"), Some(token.id.to_string().into()));
    assert_eq!(field("reason"), Some("ttl".into()));
    let client = world.database.client().await;
    let row = client
        .query_one(
            "SELECT token_hash, revoked_at IS NOT NULL FROM oauth_access_tokens WHERE id = $1",
            &[&token.id],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, Option<String>>(0), None);
    assert!(row.get::<_, bool>(1));
    assert_eq!(
        world.redis.get(&cache_key(&token)).await.as_deref(),
        Some("invalid")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_with_one_cold_token_cost_one_lookup() {
    let world = World::create().await;
    let token = world.account_token().await;
    let gateway = world
        .gateway()
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;

    let mut clients = Vec::new();
    for _ in 0..1_000 {
        clients.push(gateway.client().await);
    }
    let request = crate::support::request("GET", APPS)
        .bearer(&token.token)
        .to_bytes();
    let requests: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let request = request.clone();
            tokio::spawn(async move {
                client.send(&request).await;
                client.read_response().await.status
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }

    assert_eq!(world.database.statements_seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_token_touches_no_store() {
    let world = World::create().await;
    let gateway = world.gateway().start().await;

    let body = "A".repeat(42);
    for token in ["app-abc", "dfoa_short", "dfp_x", "x"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("dfob_{body}A"),
            format!("DFOA_{body}A"),
            format!("dfoa_{body}!"),
            // The last character says more than 32 bytes can have.
            format!("dfoa_{body}B"),
            format!("dfoa_{body}AA"),
        ])
    {
        assert_eq!(gateway.get(APPS, Some(&token)).await.status, 401, "{token}");
    }

    assert_eq!(world.database.statements_seen(), 0);
    assert_eq!(world.redis.count_keys().await, 0);
    assert!(world.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_token_leaves_nothing_but_a_short_refusal() {
    let world = World::create().await;
    let gateway = world.gateway().start().await;
    let unknown = IssuedToken::unknown("dfoa_");

    assert_eq!(status(&gateway, APPS, &unknown).await, 401);

    assert_eq!(world.redis.keys().await, [cache_key(&unknown)]);
    assert_eq!(
        world.redis.get(&cache_key(&unknown)).await.as_deref(),
        Some("invalid")
    );
    let ttl = world.redis.ttl(&cache_key(&unknown)).await;
    assert!((1..=10).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_tokens_stops_filling_redis() {
    let world = World::create().await;
    let gateway = world.gateway().start().await;
    let mut client = gateway.client().await;

    for _ in 0..1_000 {
        let request = crate::support::request("GET", APPS)
            .bearer(&IssuedToken::unknown("dfoa_").token)
            .to_bytes();
        client.send(&request).await;
        assert_eq!(client.read_response().await.status, 401);
    }

    let kept = world.redis.count_keys().await;
    assert!(kept < 1_000, "{kept} refusals were written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_accounts_token_is_refused() {
    let world = World::create().await;
    for (status_of_account, expected) in [
        ("active", 200),
        ("pending", 200),
        ("uninitialized", 200),
        ("banned", 401),
        ("closed", 401),
        ("something new", 401),
    ] {
        let email = format!("{}@example.com", status_of_account.replace(' ', "."));
        let account = world.database.account(&email, "Ada").await;
        let token = world
            .database
            .insert_token(&NewToken::account(account, &email))
            .await;
        world
            .database
            .set_account_status(account, status_of_account)
            .await;
        let gateway = world.gateway().start().await;
        let answer = status(&gateway, APPS, &token).await;
        assert_eq!(answer, expected, "{status_of_account}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_newer_dify_revoked_but_kept_its_hash_is_refused() {
    let world = World::create().await;
    let token = world.account_token().await;
    let client = world.database.client().await;
    let revoke = "UPDATE oauth_access_tokens SET revoked_at = now() WHERE id = $1";
    client.execute(revoke, &[&token.id]).await.unwrap();
    let gateway = world.gateway().start().await;

    assert_eq!(status(&gateway, APPS, &token).await, 401);
}
