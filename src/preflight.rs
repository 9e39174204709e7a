//! `difygate check --connect`: reaches everything that the configuration names, and says what is
//! missing, all of it at once.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    clock::Clock,
    config::{Config, Endpoint, Problem},
    device::{DeviceCode, UserCode},
    entropy::{Entropy as _, OsEntropy},
    health::{Chain, Health},
    rate_limit::WindowKey,
    store::{
        FlowStore, Nonce, Nonces, StoreError, TokenCache, Windows,
        postgres::{Missing, PostgresLink},
        redis::{RedisFlowStore, RedisLink, RedisNonces, RedisTokenCache, RedisWindows},
    },
    token::TokenHash,
};

/// Life of the value that tries Redis out.
const TRIAL_TTL: Duration = Duration::from_secs(1);

/// Reaches Postgres, Redis and the upstreams; returns every problem found.
pub async fn connect(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Problem> {
    let health = Health::new(clock);
    let (mut problems, redis, upstream) = tokio::join!(
        try_postgres(config, &health),
        try_redis(config, &health),
        try_upstream("upstream.url", &config.upstream.url, config),
    );
    problems.extend(redis);
    problems.extend(upstream);
    if let Some(web) = &config.upstream.web_url {
        problems.extend(try_upstream("upstream.web_url", web, config).await);
    }
    problems
}

async fn try_postgres(config: &Config, health: &Health) -> Vec<Problem> {
    let link = match PostgresLink::new(&config.postgres, Arc::clone(&health.postgres)) {
        Ok(link) => link,
        Err(error) => return vec![unreachable("postgres", &error)],
    };
    match link.missing().await {
        Ok(missing) => missing.into_iter().map(describe).collect(),
        Err(error) => vec![unreachable("postgres", &error)],
    }
}

fn describe(missing: Missing) -> Problem {
    match missing {
        Missing::Table(table) => Problem {
            key: "postgres".to_owned(),
            origin: None,
            got: Some(format!("no table {table}")),
            need: format!("Dify's table {table}"),
            remedy: Some("check postgres.database, and that Dify has been set up".to_owned()),
        },
        Missing::Right { table, right, role } => Problem {
            key: "postgres".to_owned(),
            origin: None,
            got: Some(format!("no {right} on {table}")),
            need: format!("the right to {right} on {table}"),
            remedy: Some(format!("GRANT {right} ON {table} TO \"{role}\";")),
        },
    }
}

/// Does with a key of its own what the gateway does with tokens: an ACL may allow one command and
/// not another.
async fn try_redis(config: &Config, health: &Health) -> Vec<Problem> {
    let link = match RedisLink::new(&config.redis, Arc::clone(&health.redis)) {
        Ok(link) => link,
        Err(error) => return vec![unreachable("redis", &error)],
    };
    link.connect().await;
    let windows = RedisWindows::new(Arc::clone(&link));
    let flows = RedisFlowStore::new(Arc::clone(&link));
    let nonces = RedisNonces::new(Arc::clone(&link));
    let cache = RedisTokenCache::new(link);
    let mut name = [0; 32];
    OsEntropy.fill(&mut name);
    let hash = TokenHash::from_digest(Sha256::digest(name).into());
    let trial = async {
        cache.ping().await?;
        cache.claim(&hash, None, b"difygate", TRIAL_TTL).await?;
        cache
            .settle(
                &hash,
                b"difygate",
                b"invalid",
                TRIAL_TTL,
                cache.connection(),
            )
            .await?;
        cache.read(&hash).await?;
        cache.overwrite(&hash, b"invalid", TRIAL_TTL).await?;
        let (device, user) = (DeviceCode::draw(&OsEntropy), UserCode::draw(&OsEntropy));
        flows.claim_user_code(&user, &device, TRIAL_TTL).await?;
        flows.put(&device, b"difygate", TRIAL_TTL).await?;
        flows.consume(&device, b"difygate").await?;
        flows.tidy(&device, Some(&user)).await?;
        for kind in [Nonce::Assertion, Nonce::Grant] {
            let name = device.as_str().to_owned();
            nonces.claim(&kind(name), TRIAL_TTL).await?;
        }
        windows.hit(&WindowKey::of_trial(), 1, TRIAL_TTL, 0).await
    };
    match trial.await {
        Ok(_) => Vec::new(),
        Err(error @ StoreError::Rejected { .. }) => vec![Problem {
            key: "redis".to_owned(),
            origin: None,
            got: Some(Chain(&error).to_string()),
            need:
                "GET, SET, DEL, PTTL, EVALSHA, EVAL, TIME and the Z… and PEXPIRE commands on keys \
                   below auth:token:, device_code:, user_code:, sso_assertion_nonce:, \
                   device_approval_grant_nonce: and rl:"
                    .to_owned(),
            remedy: Some("extend the ACL of redis.username".to_owned()),
        }],
        Err(error) => vec![unreachable("redis", &error)],
    }
}

async fn try_upstream(key: &str, endpoint: &Endpoint, config: &Config) -> Vec<Problem> {
    let target = (endpoint.host.as_str(), endpoint.port);
    let connecting = timeout(config.upstream.connect_timeout, TcpStream::connect(target));
    match connecting.await {
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(error)) => vec![unreachable(key, &error)],
        Err(error) => vec![unreachable(key, &error)],
    }
}

fn unreachable(key: &str, error: &dyn std::error::Error) -> Problem {
    Problem {
        key: key.to_owned(),
        origin: None,
        got: Some(Chain(error).to_string()),
        need: "something that answers there".to_owned(),
        remedy: Some("check host, port and credentials, and that it runs".to_owned()),
    }
}
