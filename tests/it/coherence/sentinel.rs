//! A Redis whose master changes.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::*;
use crate::support::{DedicatedSentinels, SERVICE};

fn behind(sentinels: &DedicatedSentinels, gateway: GatewayBuilder) -> GatewayBuilder {
    behind_these(sentinels.addresses(), sentinels, gateway)
}

fn behind_these(
    addresses: Vec<String>,
    sentinels: &DedicatedSentinels,
    gateway: GatewayBuilder,
) -> GatewayBuilder {
    let nodes = serde_json::Value::from(addresses);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    gateway
        .redis_addr(nobody, sentinels.space(0).prefix())
        .set("redis.timeout", "\"100ms\"")
        .set("redis.sentinels", &nodes.to_string())
        .set("redis.service_name", &format!("\"{SERVICE}\""))
}

/// Kills the master, or freezes it; the other takes over, and revocations reach the gateway as
/// before.
async fn a_failover(strike: impl FnOnce(&DedicatedSentinels)) {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let sentinels = DedicatedSentinels::start().await;
    let (first, second) = (sentinels.space(0), sentinels.space(1));
    let token = a_token(&database, "ada@example.com").await;
    let other = a_token(&database, "bob@example.com").await;
    let gateway = behind(&sentinels, replica(&upstream, &database, &first))
        .set("token_cache.untracked_ttl", "\"1s\"")
        .start()
        .await;
    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;
    has_at_hand(&gateway, &other).await;
    let key = |token: &IssuedToken| format!("auth:token:{}", token.hash);
    assert!(first.get(&key(&token)).await.is_some());

    strike(&sentinels);
    // Dify cannot reach Redis either: the row is revoked, nothing is deleted.
    database.revoke(token.id).await;
    assert_eventually!(
        status(&gateway, &token).await == 401,
        "refused whatever Redis remembers"
    );
    sentinels.promotes(1).await;
    follows(&gateway).await;
    has_at_hand(&gateway, &other).await;
    assert_eq!(status(&gateway, &token).await, 401);

    database.revoke(other.id).await;
    assert!(
        second.del(&key(&other)).await,
        "the new master is written to"
    );
    assert_eventually!(status(&gateway, &other).await == 401, "heard of as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_succeeded() {
    a_failover(|sentinels| sentinels.stop(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_is_succeeded() {
    a_failover(|sentinels| sentinels.freeze(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sentinel_that_is_silent_hides_no_master() {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let sentinels = DedicatedSentinels::start().await;
    let first = sentinels.space(0);
    let token = a_token(&database, "ada@example.com").await;
    let gateway = behind(&sentinels, replica(&upstream, &database, &first))
        .start()
        .await;
    follows(&gateway).await;
    sentinels.freeze_first_sentinel();

    let mut connection = first.connection().await;
    let mut kill = cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal");
    let () = kill.query_async(&mut connection).await.unwrap();

    let lost = "difygate_token_cache_flushes_total{reason=\"lost\"}";
    assert_eventually!(gateway.metric(lost).await >= 1.0, "the loss is noticed");
    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;
    let other = behind(&sentinels, replica(&upstream, &database, &first))
        .start()
        .await;
    follows(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_guarded_are_asked_with_their_own_password() {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let sentinels = DedicatedSentinels::start().await;
    let rights = "-@all +role +sentinel|masters";
    sentinels
        .guard("watcher", "s3cret-of-sentinels", rights)
        .await;
    let first = sentinels.space(0);
    let token = a_token(&database, "ada@example.com").await;
    let environment = [
        ("REDIS_SENTINEL_USERNAME", "watcher"),
        ("REDIS_SENTINEL_PASSWORD", "s3cret-of-sentinels"),
    ];
    let mut gateway = behind(&sentinels, replica(&upstream, &database, &first));
    for (name, value) in environment {
        gateway = gateway.env(name, value);
    }
    let gateway = gateway.start().await;

    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;
    assert!(!gateway.log_text().contains("s3cret-of-sentinels"));
}

/// An address at which nobody answers, not even by refusing: its queue is full.
async fn deaf() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    let wait = Duration::from_millis(300);
    while let Ok(waiting) = timeout(wait, TcpStream::connect(address)).await {
        queue.push(waiting.unwrap());
    }
    (address, listener, queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_does_not_know_that_it_is_none_any_more_is_left() {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let sentinels = DedicatedSentinels::start().await;
    let (first, second) = (sentinels.space(0), sentinels.space(1));
    let (deaf, _listener, _queue) = deaf().await;
    // As many as are asked at a time by who asks a few, and the two that are there.
    let mut addresses = vec![deaf.to_string(); 3];
    addresses.extend_from_slice(&sentinels.addresses()[1..]);
    let gateway = replica(&upstream, &database, &first);
    let gateway = behind_these(addresses, &sentinels, gateway).start().await;
    follows(&gateway).await;

    sentinels.freeze_first_sentinel();
    sentinels.name_unheard(1).await;

    gateway
        .wait_for_log(|line| {
            Gateway::log_field(line, "message")
                .and_then(serde_json::Value::as_str)
                .is_some_and(|text| text.contains("name another redis master"))
        })
        .await;
    follows(&gateway).await;
    let token = a_token(&database, "ada@example.com").await;
    has_at_hand(&gateway, &token).await;
    let key = format!("auth:token:{}", token.hash);
    assert!(second.get(&key).await.is_some(), "the other one is used");
}
