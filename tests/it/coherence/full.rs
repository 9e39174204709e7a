//! A Redis that is full: it refuses what needs memory, and nothing else.

use super::*;
use crate::support::Side;

/// Has the server refuse whatever needs memory, or take it again.
async fn fill_up(server: &DedicatedRedis, full: bool) {
    set_up(server, "maxmemory", if full { "1" } else { "0" }).await;
}

async fn set_up(server: &DedicatedRedis, name: &str, value: &str) {
    let mut connection = server.space().connection().await;
    let mut config = cmd("CONFIG");
    config.arg("SET").arg(name).arg(value);
    let () = config.query_async(&mut connection).await.unwrap();
}

async fn log_out(gateway: &Gateway, token: &IssuedToken) -> u16 {
    request("DELETE", "/openapi/v1/account/sessions/self")
        .bearer(&token.token)
        .send(gateway.addr())
        .await
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_heard_of_though_redis_is_full() {
    let server = DedicatedRedis::start().await;
    let replicas = Replicas::on(server.space().clone()).await;
    let [one, two] = &replicas.gateways;
    fill_up(&server, true).await;
    assert_eq!(status(two, &replicas.token).await, 200);

    assert_eq!(log_out(one, &replicas.token).await, 200);

    assert_eq!(status(one, &replicas.token).await, 401, "at once");
    replicas.refuse_it().await;
    assert_eq!(replicas.redis.get(&replicas.key()).await, None);
    fill_up(&server, false).await;
    assert_eventually!(
        replicas.redis.get(&replicas.key()).await.as_deref() == Some("invalid"),
        "the refusal is written when there is room"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_while_redis_is_full() {
    let server = DedicatedRedis::start().await;
    let replicas = Replicas::on(server.space().clone()).await;
    fill_up(&server, true).await;
    let proofs = "difygate_token_cache_revocation_lag_seconds_count";
    for gateway in &replicas.gateways {
        let before = gateway.metric(proofs).await;
        assert_eventually!(
            gateway.metric(proofs).await >= before + 2.0,
            "changes are proven to be reported"
        );
        let lost = "difygate_token_cache_flushes_total{reason=\"lost\"}";
        assert_eq!(gateway.metric(lost).await, 0.0);
    }

    replicas.database.revoke(replicas.token.id).await;
    assert!(replicas.redis.del(&replicas.key()).await, "as Dify does it");

    replicas.refuse_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_was_under_way_brings_nothing_back_when_there_is_room_again() {
    let server = DedicatedRedis::start().await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let redis = server.space();
    let relay = Relay::to(database.addr()).await;
    let token = a_token(&database, "ada@example.com").await;
    let slow = replica(&upstream, &database, redis)
        .postgres_addr(relay.local_addr(), database.name())
        .set("postgres.timeout", "\"8s\"");
    let other = replica(&upstream, &database, redis);
    let (slow, other) = tokio::join!(slow.start(), other.start());
    follows(&slow).await;
    let key = format!("auth:token:{}", token.hash);

    relay.stall_at(b"FROM oauth_access_tokens", 0, Side::After);
    let meanwhile = async {
        relay.tripped().await;
        assert!(redis.get(&key).await.unwrap().contains("lease"));
        fill_up(&server, true).await;
        assert_eq!(log_out(&other, &token).await, 200);
        fill_up(&server, false).await;
        relay.restore();
    };
    let (answer, ()) = tokio::join!(status(&slow, &token), meanwhile);

    assert_ne!(answer, 200, "the row is looked at again");
    for gateway in [&slow, &other] {
        assert_eventually!(status(gateway, &token).await == 401, "refused by both");
    }
    let left = redis.get(&key).await;
    assert!(left.is_none_or(|value| value == "invalid"));
}

/// `NOREPLICAS` refuses a deletion as well: nothing can be said to the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_itself_refuses_what_it_could_not_delete() {
    let server = DedicatedRedis::start().await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let token = a_token(&database, "ada@example.com").await;
    let gateway = replica(&upstream, &database, server.space())
        .set("token_cache.untracked_ttl", "\"0s\"")
        .start()
        .await;
    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;
    set_up(&server, "min-replicas-to-write", "1").await;

    assert_eq!(log_out(&gateway, &token).await, 503);

    let key = format!("auth:token:{}", token.hash);
    let entry = server.space().get(&key).await.unwrap();
    assert!(entry.contains("\"by\": \"gateway\""), "it is still there");
    assert_eq!(status(&gateway, &token).await, 401);
    set_up(&server, "min-replicas-to-write", "0").await;
    assert_eventually!(
        server.space().get(&key).await.as_deref() == Some("invalid"),
        "the refusal is written when it can be"
    );
}
