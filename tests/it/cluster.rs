//! The stores and the gateway on a Redis Cluster: what holds on one server holds there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use difygate::{
    config::{NodeAddress, RedisConfig, RedisTarget},
    health::Health,
    secret::Secret,
    store::{
        TokenCache,
        redis::{RedisFlowStore, RedisLink, RedisNonces, RedisTokenCache, RedisWindows},
    },
};

use crate::{
    contract::{cache_contract, cache_races, clock, hash_of},
    contract_flow::{flow_contract, flow_races, windows_contract},
    contract_leases::leases_contract,
    contract_nonces::nonces_contract,
    support::{
        Browser, DedicatedCluster, Gateway, Login, Stage, assert_eventually, patience, within,
    },
};

const LONG: Duration = Duration::from_secs(60);

/// A connected link to the cluster, by way of one of its nodes.
async fn link(cluster: &DedicatedCluster, prefix: &str, timeout: Duration) -> Arc<RedisLink> {
    // Nobody is there: only its user and password matter.
    link_as("redis://127.0.0.1:1/7", cluster, prefix, timeout).await
}

async fn link_as(
    target: &str,
    cluster: &DedicatedCluster,
    prefix: &str,
    timeout: Duration,
) -> Arc<RedisLink> {
    let nodes = cluster.nodes();
    let (host, port) = nodes[0].rsplit_once(':').unwrap();
    let config = RedisConfig {
        target: RedisTarget::Url(Secret::new(target.to_owned())),
        key_prefix: prefix.to_owned(),
        timeout,
        tls: None,
        sentinels: Vec::new(),
        service_name: None,
        sentinel_username: None,
        sentinel_password: None,
        cluster_nodes: vec![NodeAddress {
            host: host.to_owned(),
            port: port.parse().unwrap(),
        }],
    };
    let link = RedisLink::new(&config, Arc::clone(&Health::new(&clock()).redis)).unwrap();
    link.connect().await;
    link
}

/// Runs every contract with one key prefix; the keys that are left on each node.
async fn keeps_every_promise(cluster: &DedicatedCluster, prefix: &str) -> Vec<Vec<String>> {
    let link = link(cluster, prefix, patience(10.0)).await;
    let cache = Arc::new(RedisTokenCache::new(Arc::clone(&link)));
    let flows = Arc::new(RedisFlowStore::new(Arc::clone(&link)));
    cache_contract(&*cache).await;
    cache_races(Arc::clone(&cache) as Arc<dyn TokenCache>).await;
    flow_contract(Arc::clone(&flows) as Arc<_>).await;
    flow_races(flows).await;
    windows_contract(Arc::new(RedisWindows::new(Arc::clone(&link)))).await;
    leases_contract(Arc::new(RedisWindows::new(Arc::clone(&link)))).await;
    nonces_contract(Arc::new(RedisNonces::new(link))).await;

    // The contracts use few keys; these are enough to meet every node, by script and without.
    for n in 0..60 {
        let hash = hash_of(&format!("spread {n}"));
        assert!(cache.claim(&hash, None, b"lease", LONG).await.unwrap());
        assert!(
            cache
                .settle(&hash, b"lease", b"value", LONG, cache.connection())
                .await
                .unwrap()
        );
        assert_eq!(cache.read(&hash).await.unwrap().unwrap().bytes, b"value");
    }
    cluster.keys().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_keep_their_promises_on_a_cluster() {
    let cluster = DedicatedCluster::start().await;

    let bare = keeps_every_promise(&cluster, "").await;
    for keys in &bare {
        assert!(keys.iter().any(|key| key.starts_with("auth:token:")));
        let ours = [
            "auth:token:",
            "device_code:",
            "rl:",
            "sso_assertion_nonce:",
            "device_approval_grant_nonce:",
        ];
        assert!(
            keys.iter()
                .all(|key| ours.iter().any(|begin| key.starts_with(begin)))
        );
    }

    // Scripts that a node has lost come back by themselves.
    cluster.forget_scripts().await;
    let both = keeps_every_promise(&cluster, "some:prefix").await;
    for (keys, before) in both.iter().zip(&bare) {
        let begin = "some:prefix:auth:token:";
        assert!(keys.iter().any(|key| key.starts_with(begin)));
        let prefixed = |key: &&String| key.starts_with("some:prefix:");
        assert!(
            keys.iter()
                .filter(|key| !prefixed(key))
                .all(|key| before.contains(key))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_gets_the_password_of_the_target() {
    let cluster = DedicatedCluster::start().await.lock("hunter2").await;
    let limit = patience(10.0);
    let without = RedisTokenCache::new(link(&cluster, "", limit).await);
    let target = "redis://default:hunter2@127.0.0.1:1/7";
    let with = RedisTokenCache::new(link_as(target, &cluster, "", limit).await);

    assert!(without.ping().await.is_err());
    for n in 0..20 {
        let hash = hash_of(&format!("{n}"));
        with.overwrite(&hash, b"value", LONG).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_has_moved_is_followed() {
    let cluster = DedicatedCluster::start().await;
    let cache = RedisTokenCache::new(link(&cluster, "", patience(10.0)).await);
    let warm = hash_of("warm");
    assert_eq!(cache.read(&warm).await.unwrap(), None);

    for n in 0..3 {
        let hash = hash_of(&format!("{n}"));
        let key = format!("auth:token:{}", hash.to_hex().as_str());
        cluster.hand_over(&key).await;

        // The read first: it is the script that the heir has not seen.
        assert_eq!(cache.read(&hash).await.unwrap(), None);
        assert!(cache.claim(&hash, None, b"lease", LONG).await.unwrap());
        assert!(
            cache
                .settle(&hash, b"lease", b"value", LONG, cache.connection())
                .await
                .unwrap()
        );
        assert_eq!(cache.read(&hash).await.unwrap().unwrap().bytes, b"value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_costs_a_timeout_at_most_and_is_used_again_later() {
    let cluster = DedicatedCluster::start().await;
    let limit = patience(0.2);
    let link = link(&cluster, "", limit).await;
    let supervisor = tokio::spawn(Arc::clone(&link).keep_up());
    let cache = RedisTokenCache::new(link);
    assert_eventually!(cache.ping().await.is_ok(), "the cluster is reached");

    cluster.freeze(1);

    // Soon nobody waits: a link with a silent node is no link.
    assert_eventually!(
        {
            let begun = Instant::now();
            let failed = within(5.0, "an answer", cache.ping()).await.is_err();
            failed && begun.elapsed() < limit / 4
        },
        "commands fail at once"
    );
    cluster.thaw(1);
    for n in 0..20 {
        let hash = hash_of(&format!("{n}"));
        assert_eventually!(
            cache.overwrite(&hash, b"value", LONG).await.is_ok(),
            "the cluster is used again"
        );
    }
    supervisor.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_checks_tokens_and_logs_devices_in_on_a_cluster() {
    let cluster = DedicatedCluster::start().await;
    let stage = Stage::with(|gateway| gateway.cluster(&cluster, "dify")).await;
    stage.database.dify_setup().await;
    let known = async || {
        let keys: Vec<String> = cluster.keys().await.concat();
        keys.iter()
            .filter(|key| key.starts_with("dify:auth:token:"))
            .count()
    };

    // A gateway without Postgres knows of the token only what the first has left in Redis.
    let path = "/openapi/v1/account";
    let token = Some(stage.account.token.as_str());
    assert_eventually!(
        stage.gateway.get(path, token).await.status == 200 && known().await == 1,
        "the check is shared"
    );
    let other = Gateway::builder()
        .upstream(stage.upstream.addr())
        .cluster(&cluster, "dify");
    let other = other.start().await;
    let path = "/openapi/v1/apps";
    assert_eventually!(
        other.get(path, token).await.status == 200,
        "the second check is answered from Redis"
    );

    let login = Login::begin(&stage.gateway, "ada-laptop").await;
    let browser = Browser::of(stage.account_id);
    let approved = browser.approves(&stage.gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let granted = login.polls(&stage.gateway).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    let minted = granted.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(stage.gateway.get(path, Some(&minted)).await.status, 200);
    let keys: Vec<String> = cluster.keys().await.concat();
    let left =
        |key: &&String| key.starts_with("dify:device_code:") || key.starts_with("dify:user_code:");
    assert_eq!(keys.iter().filter(left).count(), 0, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_cluster_away_a_gateway_works_from_postgres_and_comes_back() {
    let cluster = DedicatedCluster::start().await;
    let stage = Stage::with(|gateway| gateway.cluster(&cluster, "dify")).await;
    let path = "/openapi/v1/apps";
    let token = Some(stage.account.token.as_str());
    let works = async || stage.gateway.get(path, token).await.status == 200;
    assert_eventually!(
        works().await && cluster.keys().await.concat().len() == 1,
        "the check is shared"
    );

    cluster.stop();

    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(works().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What is away is told when it goes, not at every attempt to reach it.
    let lines = stage.gateway.log_lines();
    let told = lines.iter().filter(|line| line["level"] == "WARN").count();
    assert!((1..5).contains(&told), "{}", stage.gateway.log_text());
    let cluster = cluster.restart().await;
    assert_eventually!(
        works().await && cluster.keys().await.concat().len() == 1,
        "the cluster is used again"
    );
}
