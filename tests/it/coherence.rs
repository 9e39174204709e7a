//! Revocations reach every replica: who made them, and what is in the way.
//!
//! `untracked_ttl` is a minute here: a replica that did not hear of a change would go on for
//! longer than these tests wait.

use std::time::Duration;

use redis::cmd;

use crate::support::{
    Browser, Database, DedicatedRedis, Gateway, GatewayBuilder, IssuedToken, Login, NewToken,
    RedisSpace, Relay, Upstream, assert_eventually, request,
};

mod cluster;
mod full;
mod sentinel;

const APPS: &str = "/openapi/v1/apps";

/// Two replicas on the same stores, and a token that both have in their local maps.
struct Replicas {
    gateways: [Gateway; 2],
    upstream: Upstream,
    database: Database,
    redis: RedisSpace,
    token: IssuedToken,
}

impl Replicas {
    async fn on(redis: RedisSpace) -> Self {
        let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
        let token = a_token(&database, "ada@example.com").await;
        let gateways = [0, 1].map(|_| replica(&upstream, &database, &redis).start());
        let [one, two] = gateways;
        let (one, two) = tokio::join!(one, two);
        let replicas = Self {
            gateways: [one, two],
            upstream,
            database,
            redis,
            token,
        };
        for gateway in &replicas.gateways {
            follows(gateway).await;
            has_at_hand(gateway, &replicas.token).await;
        }
        replicas
    }

    fn key(&self) -> String {
        format!("auth:token:{}", self.token.hash)
    }

    async fn refuse_it(&self) {
        for gateway in &self.gateways {
            assert_eventually!(
                status(gateway, &self.token).await == 401,
                "a revoked token is refused by every replica"
            );
        }
    }
}

fn replica(upstream: &Upstream, database: &Database, redis: &RedisSpace) -> GatewayBuilder {
    Gateway::builder()
        .upstream(upstream.addr())
        .database(database)
        .redis(redis)
        .set("token_cache.untracked_ttl", "\"60s\"")
}

async fn a_token(database: &Database, email: &str) -> IssuedToken {
    let account = database.account(email, "Somebody").await;
    let token = NewToken::account(account, email);
    database.insert_token(&token).await
}

async fn status(gateway: &Gateway, token: &IssuedToken) -> u16 {
    gateway.get(APPS, Some(&token.token)).await.status
}

async fn follows(gateway: &Gateway) {
    assert_eventually!(
        gateway.metric("difygate_token_cache_followed").await == 1.0,
        "changes are followed"
    );
}

async fn local_hits(gateway: &Gateway) -> f64 {
    gateway
        .metric("difygate_token_checks_total{tier=\"local\",result=\"live\"}")
        .await
}

/// Waits until the token is answered from the local map.
async fn has_at_hand(gateway: &Gateway, token: &IssuedToken) {
    assert_eventually!(
        {
            let before = local_hits(gateway).await;
            status(gateway, token).await == 200 && local_hits(gateway).await == before + 1.0
        },
        "the token is in the local map"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_as_dify_does_it_is_heard_of_by_every_replica() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    replicas.database.revoke(replicas.token.id).await;
    assert!(replicas.redis.del(&replicas.key()).await);
    replicas.refuse_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_at_one_replica_is_heard_of_by_the_other() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    let revoked = request("DELETE", "/openapi/v1/account/sessions/self")
        .bearer(&replicas.token.token)
        .send(replicas.gateways[0].addr())
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(status(&replicas.gateways[0], &replicas.token).await, 401);
    replicas.refuse_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_login_of_the_same_device_ends_the_old_token_at_every_replica() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    let [one, two] = &replicas.gateways;
    replicas.database.dify_setup().await;
    let account = replicas.database.account("eve@example.com", "Eve").await;
    let browser = Browser::of(account);
    let logs_in = async |gateway: &Gateway| {
        let login = Login::begin(gateway, "laptop").await;
        let approved = browser.approves(gateway, &login.user_code).await;
        assert_eq!(approved.status, 200, "{approved:?}");
        let granted = login.polls(gateway).await.json();
        (
            granted["token"].as_str().unwrap().to_owned(),
            granted["token_id"].clone(),
        )
    };
    let (old, row) = logs_in(one).await;
    let old = IssuedToken {
        token: old,
        ..IssuedToken::unknown("dfoa_")
    };
    for gateway in [one, two] {
        has_at_hand(gateway, &old).await;
    }

    let (new, same_row) = logs_in(one).await;

    assert_eq!(row, same_row, "rotated in place");
    assert_eq!(status(one, &old).await, 401, "at once where it was done");
    assert_eventually!(status(two, &old).await == 401, "and at the other");
    for gateway in [one, two] {
        assert_eq!(gateway.get(APPS, Some(&new)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_another_writes_is_heard_of() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    replicas.redis.set_ex(&replicas.key(), "invalid", 10).await;
    replicas.refuse_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_empties_the_local_maps() {
    let server = DedicatedRedis::start().await;
    let replicas = Replicas::on(server.space().clone()).await;
    // The row alone, so that nothing but the flush tells of it.
    replicas.database.revoke(replicas.token.id).await;
    assert_eq!(status(&replicas.gateways[0], &replicas.token).await, 200);

    let mut connection = replicas.redis.connection().await;
    let () = cmd("FLUSHALL").query_async(&mut connection).await.unwrap();

    replicas.refuse_it().await;
    let flushed = replicas.gateways[0]
        .metric("difygate_token_cache_flushes_total{reason=\"flushed\"}")
        .await;
    assert_eq!(flushed, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_token_costs_no_io() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    let gateway = &replicas.gateways[0];
    // Both writes of its fill are reported to itself as well, and take the entry out.
    let reported = "difygate_token_cache_invalidations_total";
    assert_eventually!(
        gateway.metric(reported).await >= 2.0,
        "the fill has been reported"
    );
    has_at_hand(gateway, &replicas.token).await;
    let before = local_hits(gateway).await;
    let lookups = gateway
        .metric("difygate_token_postgres_lookups_total")
        .await;
    for _ in 0..200 {
        assert_eq!(status(gateway, &replicas.token).await, 200);
    }
    assert_eq!(local_hits(gateway).await, before + 200.0);
    let after = gateway
        .metric("difygate_token_postgres_lookups_total")
        .await;
    assert_eq!(after, lookups);
    assert!(replicas.upstream.take_requests().len() >= 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tracking_connection_is_noticed_and_replaced() {
    let replicas = Replicas::on(DedicatedRedis::start().await.space().clone()).await;
    let mut connection = replicas.redis.connection().await;
    let mut list = cmd("CLIENT");
    let clients: String = list.arg("LIST").query_async(&mut connection).await.unwrap();
    let tracking = clients.lines().filter(|client| client.contains(" resp=3"));
    let mut killed = 0;
    for client in tracking {
        let id = client.split_whitespace().next().unwrap();
        let mut kill = cmd("CLIENT");
        kill.arg("KILL")
            .arg("ID")
            .arg(id.strip_prefix("id=").unwrap());
        let () = kill.query_async(&mut connection).await.unwrap();
        killed += 1;
    }
    assert_eq!(killed, 2, "one for each replica:\n{clients}");

    for gateway in &replicas.gateways {
        let flushes = "difygate_token_cache_flushes_total{reason=\"lost\"}";
        assert_eventually!(gateway.metric(flushes).await == 1.0, "the loss is noticed");
        follows(gateway).await;
        has_at_hand(gateway, &replicas.token).await;
    }
    replicas.database.revoke(replicas.token.id).await;
    assert!(replicas.redis.del(&replicas.key()).await);
    replicas.refuse_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_partition_ends_what_cannot_be_vouched_for() {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let redis = RedisSpace::create().await;
    let relay = Relay::to(redis.addr()).await;
    let token = a_token(&database, "ada@example.com").await;
    let gateway = replica(&upstream, &database, &redis)
        .redis_addr(relay.local_addr(), redis.prefix())
        .set("redis.timeout", "\"100ms\"")
        .set("token_cache.untracked_ttl", "\"1s\"")
        .start()
        .await;
    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;

    relay.stall();
    database.revoke(token.id).await;
    redis.del(&format!("auth:token:{}", token.hash)).await;

    assert_eventually!(
        status(&gateway, &token).await == 401,
        "the silence is noticed and Postgres asked"
    );
    relay.restore();
    follows(&gateway).await;
    assert_eq!(status(&gateway, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_from_before_a_reconnect_is_checked_before_it_is_believed() {
    checks_what_is_older_than_its_connection("tracking").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_where_changes_are_not_followed_as_well() {
    checks_what_is_older_than_its_connection("ttl").await;
}

async fn checks_what_is_older_than_its_connection(coherence: &str) {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let redis = RedisSpace::create().await;
    let relay = Relay::to(redis.addr()).await;
    let token = a_token(&database, "ada@example.com").await;
    let gateway = replica(&upstream, &database, &redis)
        .redis_addr(relay.local_addr(), redis.prefix())
        .set("token_cache.untracked_ttl", "\"1s\"")
        .set("token_cache.coherence", &format!("\"{coherence}\""))
        .start()
        .await;
    if coherence == "tracking" {
        follows(&gateway).await;
    }
    assert_eventually!(redis_is_up(&gateway).await, "an entry can be written");
    has_at_hand(&gateway, &token).await;
    let key = format!("auth:token:{}", token.hash);
    let entry = redis.get(&key).await.unwrap();
    assert!(entry.contains("\"by\": \"gateway\""));

    // What a failed-over Redis may look like: the deletion is lost, the old entry is there.
    relay.cut();
    database.revoke(token.id).await;
    redis.set_ex(&key, &entry, 50).await;
    assert_eventually!(!redis_is_up(&gateway).await, "the cut is noticed");
    relay.restore();
    assert_eventually!(redis_is_up(&gateway).await, "connected anew");

    assert_eventually!(status(&gateway, &token).await == 401, "Postgres decides");
    assert_eq!(redis.get(&key).await.as_deref(), Some("invalid"));
}

async fn redis_is_up(gateway: &Gateway) -> bool {
    let up = "difygate_dependency_up{dependency=\"redis\"}";
    gateway.metric(up).await == 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_no_master_any_more_is_left() {
    let server = DedicatedRedis::start().await;
    let replicas = Replicas::on(server.space().clone()).await;
    let gateway = &replicas.gateways[0];
    let mut connection = replicas.redis.connection().await;
    let replica_of = |master: [&'static str; 2]| {
        let mut command = cmd("REPLICAOF");
        command.arg(&master);
        command
    };

    // Demoted without its connections being closed: pings are answered as before.
    let () = replica_of(["127.0.0.1", "1"])
        .query_async(&mut connection)
        .await
        .unwrap();

    let reconnected = "difygate_token_cache_flushes_total{reason=\"reconnected\"}";
    let lost = "difygate_token_cache_flushes_total{reason=\"lost\"}";
    assert_eventually!(
        gateway.metric(reconnected).await + gateway.metric(lost).await >= 1.0,
        "the demotion is noticed"
    );
    let mut list = cmd("CLIENT");
    list.arg("LIST");
    let before: String = list.query_async(&mut connection).await.unwrap();
    // The connections for commands: the others speak RESP3.
    let ids = |list: &str| -> Vec<String> {
        let commands = list.lines().filter(|line| line.contains(" resp=2"));
        let id = |line: &str| line.split(' ').next().map(str::to_owned);
        commands.filter_map(id).collect()
    };
    assert!(!ids(&before).is_empty());
    assert_eventually!(
        {
            let now: String = list.query_async(&mut connection).await.unwrap();
            ids(&now).iter().any(|id| !ids(&before).contains(id))
        },
        "it is connected to anew, until there is a master"
    );
    let () = replica_of(["NO", "ONE"])
        .query_async(&mut connection)
        .await
        .unwrap();
    follows(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_track_everything_works_with_short_lives() {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let server = DedicatedRedis::start().await;
    let mut connection = server.space().connection().await;
    let mut user = cmd("ACL");
    let rules = ["on", ">secret", "~*", "+@all", "-client|tracking"];
    user.arg("SETUSER").arg("difygate").arg(&rules);
    let () = user.query_async(&mut connection).await.unwrap();
    let token = a_token(&database, "ada@example.com").await;
    let gateway = replica(&upstream, &database, server.space())
        .set("redis.username", "\"difygate\"")
        .set("redis.password", "\"secret\"")
        .set("token_cache.untracked_ttl", "\"1s\"")
        .start()
        .await;

    gateway
        .wait_for_log(|line| {
            line["level"] == "ERROR"
                && Gateway::log_field(line, "message")
                    .and_then(serde_json::Value::as_str)
                    .is_some_and(|text| text.contains("CLIENT TRACKING"))
        })
        .await;
    assert_eq!(status(&gateway, &token).await, 200);
    database.revoke(token.id).await;
    server
        .space()
        .del(&format!("auth:token:{}", token.hash))
        .await;
    assert_eventually!(
        status(&gateway, &token).await == 401,
        "after its short life"
    );
    assert_eq!(gateway.metric("difygate_token_cache_followed").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_self_test_measures_how_long_a_change_takes() {
    let replicas = Replicas::on(RedisSpace::create().await).await;
    let count = "difygate_token_cache_revocation_lag_seconds_count";
    let before = replicas.gateways[0].metric(count).await;
    assert!(before >= 1.0);
    assert_eventually!(
        replicas.gateways[0].metric(count).await > before,
        "it goes on"
    );
    // A token that expires in Redis by itself leaves the local map as well.
    let mut connection = replicas.redis.connection().await;
    let mut expire = cmd("PEXPIRE");
    expire.arg(replicas.redis.key(&replicas.key())).arg(1);
    let () = expire.query_async(&mut connection).await.unwrap();
    replicas.database.revoke(replicas.token.id).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    replicas.refuse_it().await;
}
