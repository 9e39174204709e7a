//! Redis by TLS.

use super::{assert_fine, assert_refused};
use crate::support::{
    Authority, Database, DedicatedCluster, DedicatedRedis, DedicatedSentinels, Gateway,
    GatewayBuilder, SERVICE, Stage, Upstream, assert_eventually, toml,
};

fn by_tls(gateway: GatewayBuilder, redis: &DedicatedRedis, ca: &Authority) -> GatewayBuilder {
    gateway
        .redis(redis.space())
        .set("redis.host", "\"localhost\"")
        .set("redis.port", &redis.tls_port().to_string())
        .set("redis.tls", "true")
        .set("redis.tls_ca", &toml(&ca.file()))
        .set("redis.timeout", "\"1s\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_shared_and_changes_followed_by_tls() {
    let authority = Authority::new();
    let own = authority.issue(&["client"]);
    let redis = DedicatedRedis::start_tls(&authority, &authority.issue(&["localhost"])).await;
    let stage = Stage::with(|gateway| {
        by_tls(gateway, &redis, &authority)
            .set("redis.tls_cert", &toml(&own.cert))
            .set("redis.tls_key", &toml(&own.key))
    })
    .await;
    let token = Some(stage.account.token.as_str());
    let path = "/openapi/v1/apps";
    let key = format!("auth:token:{}", stage.account.hash);

    assert_eventually!(
        stage.gateway.get(path, token).await.status == 200
            && redis.space().get(&key).await.is_some(),
        "the check is shared"
    );
    assert_eventually!(
        stage.gateway.metric("difygate_token_cache_followed").await == 1.0,
        "changes are followed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_says_so_by_its_scheme() {
    let authority = Authority::new();
    let redis = DedicatedRedis::start_tls(&authority, &authority.issue(&["localhost"])).await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let gateway = |url: &str| {
        Gateway::builder()
            .upstream(upstream.addr())
            .database(&database)
            .unset("redis.host")
            .unset("redis.port")
            .set("redis.timeout", "\"1s\"")
            .set("redis.url", &format!("\"{url}\""))
    };
    let port = redis.tls_port();
    let ca = toml(&authority.file());

    let right = gateway(&format!("rediss://localhost:{port}/0")).set("redis.tls_ca", &ca);
    assert_fine(&right);
    let plain = gateway(&format!("redis://localhost:{port}/0"));
    assert_refused(&plain, &["redis"]);
    let idle = gateway(&format!("redis://localhost:{port}/0")).set("redis.tls_ca", &ca);
    assert_refused(&idle, &["redis.tls_ca", "rediss://"]);
    let blind = gateway(&format!("rediss://localhost:{port}/0#insecure"));
    assert_refused(&blind, &["redis.url", "always verified"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_believed_is_told_from_whoever_is_away() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = DedicatedRedis::start_tls(&authority, &authority.issue(&["localhost"])).await;
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let gateway = || {
        let gateway = Gateway::builder()
            .upstream(upstream.addr())
            .database(&database);
        by_tls(gateway, &redis, &authority)
    };

    assert_fine(&gateway());
    let elsewhere = gateway().set("redis.host", "\"127.0.0.1\"");
    assert_refused(&elsewhere, &["redis", "for the name that is connected to"]);
    let unknown = gateway().set("redis.tls_ca", &toml(&other.file()));
    assert_refused(&unknown, &["redis", "UnknownIssuer", "redis.tls_ca"]);
    let plain = gateway().set("redis.port", &redis.addr().port().to_string());
    assert_refused(&plain, &["redis"]);
    let gone = gateway().set("redis.tls_ca", "\"/nowhere/ca.pem\"");
    assert_refused(&gone, &["redis.tls_ca", "/nowhere/ca.pem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_used_and_followed_by_tls_at_every_node() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let cluster = DedicatedCluster::start_tls(&authority, &issued).await;
    let by_tls = |gateway: GatewayBuilder| {
        gateway
            .cluster(&cluster, "dify")
            .set("redis.tls", "true")
            .set("redis.tls_ca", &toml(&authority.file()))
            .set("redis.timeout", "\"1s\"")
    };
    let stage = Stage::with(by_tls).await;
    let token = Some(stage.account.token.as_str());

    assert_eventually!(
        stage.gateway.get("/openapi/v1/apps", token).await.status == 200
            && cluster.keys().await.concat().len() == 1,
        "the check is shared"
    );
    assert_eventually!(
        stage.gateway.metric("difygate_token_cache_followed").await == 1.0,
        "changes are followed at every node"
    );
    let other = Authority::new();
    let unknown = Gateway::builder()
        .upstream(stage.upstream.addr())
        .database(&stage.database);
    let unknown = by_tls(unknown).set("redis.tls_ca", &toml(&other.file()));
    assert_refused(&unknown, &["redis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_are_asked_and_their_new_master_followed_by_tls() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let sentinels = DedicatedSentinels::start_tls(&authority, &issued).await;
    let nodes = serde_json::Value::from(sentinels.addresses());
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let stage = Stage::with(|gateway| {
        gateway
            .redis_addr(nobody, sentinels.space(0).prefix())
            .set("redis.sentinels", &nodes.to_string())
            .set("redis.service_name", &format!("\"{SERVICE}\""))
            .set("redis.tls", "true")
            .set("redis.tls_ca", &toml(&authority.file()))
            .set("redis.timeout", "\"1s\"")
    })
    .await;
    let key = format!("auth:token:{}", stage.account.hash);
    let shared = async |server: usize| {
        let token = Some(stage.account.token.as_str());
        stage.gateway.get("/openapi/v1/apps", token).await.status == 200
            && sentinels.space(server).get(&key).await.is_some()
    };
    let followed = async || stage.gateway.metric("difygate_token_cache_followed").await == 1.0;
    assert_eventually!(shared(0).await && followed().await, "the master is used");

    sentinels.stop(0);

    sentinels.promotes(1).await;
    let denied = crate::support::NewToken::account(stage.account_id, "ada@example.com");
    let fresh = stage.database.insert_token(&denied.client("other")).await;
    let key = format!("auth:token:{}", fresh.hash);
    assert_eventually!(
        stage
            .gateway
            .get("/openapi/v1/apps", Some(&fresh.token))
            .await
            .status
            == 200
            && sentinels.space(1).get(&key).await.is_some(),
        "the new master is used"
    );
}
