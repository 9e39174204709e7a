//! A Redis whose master changes.

use super::*;
use crate::support::{DedicatedSentinels, SERVICE};

fn behind(sentinels: &DedicatedSentinels, gateway: GatewayBuilder) -> GatewayBuilder {
    let nodes = serde_json::Value::from(sentinels.addresses());
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    gateway
        .redis_addr(nobody, sentinels.space(0).prefix())
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
    assert_eventually!(sentinels.master() == Some(1), "the other is promoted");
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
