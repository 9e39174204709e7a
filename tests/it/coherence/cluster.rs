//! A Redis Cluster: changes are followed at every node.

use super::*;
use crate::support::DedicatedCluster;

const PREFIX: &str = "some:prefix";

fn key(token: &IssuedToken) -> String {
    format!("{PREFIX}:auth:token:{}", token.hash)
}

/// A replica on a cluster, and tokens enough to meet every node.
async fn on(cluster: &DedicatedCluster) -> (Gateway, Database, Upstream, Vec<IssuedToken>) {
    with(cluster, |gateway| gateway).await
}

async fn with(
    cluster: &DedicatedCluster,
    configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
) -> (Gateway, Database, Upstream, Vec<IssuedToken>) {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let account = database.account("ada@example.com", "Ada").await;
    let mut tokens = Vec::new();
    for number in 0..12 {
        let token = NewToken::account(account, "ada@example.com").label(&format!("{number}"));
        tokens.push(database.insert_token(&token).await);
    }
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .cluster(cluster, PREFIX)
        .set("token_cache.untracked_ttl", "\"60s\"");
    let gateway = configure(gateway).start().await;
    (gateway, database, upstream, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_heard_of_from_whichever_node_has_the_key() {
    let cluster = DedicatedCluster::start().await;
    let (gateway, database, _upstream, tokens) = on(&cluster).await;
    follows(&gateway).await;
    for token in &tokens {
        has_at_hand(&gateway, token).await;
    }
    let held = cluster.keys().await;
    let has_some = |keys: &Vec<String>| tokens.iter().any(|token| keys.contains(&key(token)));
    assert!(held.iter().all(has_some), "{held:?}");

    for token in &tokens {
        database.revoke(token.id).await;
        assert!(cluster.del(&key(token)).await);
        assert_eventually!(status(&gateway, token).await == 401, "heard of");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_has_moved_is_followed_where_it_is() {
    let cluster = DedicatedCluster::start().await;
    let (gateway, database, _upstream, tokens) = on(&cluster).await;
    follows(&gateway).await;
    let token = &tokens[0];
    cluster.hand_over(&key(token)).await;
    has_at_hand(&gateway, token).await;

    database.revoke(token.id).await;
    assert!(cluster.del(&key(token)).await);
    assert_eventually!(status(&gateway, token).await == 401, "heard of");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_ends_the_long_lives_and_is_followed_again() {
    let cluster = DedicatedCluster::start().await;
    let impatient = |gateway: GatewayBuilder| gateway.set("redis.timeout", "\"100ms\"");
    let (gateway, database, _upstream, tokens) = with(&cluster, impatient).await;
    follows(&gateway).await;

    cluster.freeze(1);
    assert_eventually!(
        gateway.metric("difygate_token_cache_followed").await == 0.0,
        "the silence is noticed"
    );
    cluster.thaw(1);

    follows(&gateway).await;
    let token = &tokens[0];
    has_at_hand(&gateway, token).await;
    database.revoke(token.id).await;
    assert!(cluster.del(&key(token)).await);
    assert_eventually!(status(&gateway, token).await == 401, "heard of");
}

#[tokio::test(flavor = "multi_thread")]
async fn braces_in_the_prefix_put_everything_on_one_node() {
    let cluster = DedicatedCluster::start().await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let token = a_token(&database, "ada@example.com").await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .database(&database)
        .cluster(&cluster, "{dify}")
        .set("token_cache.untracked_ttl", "\"60s\"")
        .start()
        .await;
    follows(&gateway).await;
    has_at_hand(&gateway, &token).await;
    database.revoke(token.id).await;
    let key = format!("{{dify}}:auth:token:{}", token.hash);
    assert!(cluster.del(&key).await);
    assert_eventually!(status(&gateway, &token).await == 401, "heard of");
}
