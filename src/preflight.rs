//! `difygate check --connect`: reaches everything that the configuration names, and says what is
//! missing, all of it at once.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::{Config, Endpoint, Problem, RateLimit},
    device::{DeviceCode, UserCode},
    entropy::{Entropy as _, OsEntropy},
    gateway,
    health::{Chain, Health},
    rate_limit::WindowKey,
    store::{
        FlowStore, Nonce, Nonces, StoreError, TokenCache, Windows,
        postgres::{Missing, PostgresLink},
        redis::{RedisFlowStore, RedisLink, RedisNonces, RedisTokenCache, RedisWindows},
    },
    tls,
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
    if let Err(error) = link.try_connect().await {
        return vec![unreachable("redis", &error)];
    }
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
        let quota = RateLimit {
            count: 1,
            window: TRIAL_TTL,
        };
        windows
            .lease(&WindowKey::of_lease(Uuid::nil()), quota, 1, None)
            .await?;
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
    let settings = endpoint.tls().then(|| config.upstream.tls.config());
    let settings = match settings.transpose() {
        Ok(settings) => settings.map(Arc::new),
        Err(error) => return vec![unreachable(key, &error)],
    };
    let reaching = gateway::reach(endpoint, settings);
    match timeout(config.upstream.connect_timeout, reaching).await {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(error)) => vec![unreachable(key, &error)],
        Err(error) => vec![unreachable(key, &error)],
    }
}

fn unreachable(key: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    if let Some(failure) = tls::failure(error) {
        return unbelieved(key, failure);
    }
    Problem {
        key: key.to_owned(),
        origin: None,
        got: Some(Chain(error).to_string()),
        need: "something that answers there".to_owned(),
        remedy: Some("check host, port and credentials, and that it runs".to_owned()),
    }
}

/// Says what is wrong with a server's TLS.
fn unbelieved(key: &str, failure: &rustls::Error) -> Problem {
    use rustls::CertificateError as Wrong;
    let authority = match key {
        "redis" => "name its authority in redis.tls_ca",
        "postgres" => "name its authority as sslrootcert in postgres.url or postgres.parameters",
        _ => "name its authority in upstream.ca",
    };
    let (need, remedy) = match failure {
        // A bad signature: an authority of the same name, but with another key.
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            ("a certificate of an authority that is believed", authority)
        }
        rustls::Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => (
            "a certificate for the name that is connected to",
            "connect by a name in the certificate, or have one issued for this name",
        ),
        rustls::Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => (
            "a certificate that has not expired",
            "renew the server's certificate",
        ),
        rustls::Error::InvalidMessage(_) => (
            "a server that speaks TLS",
            "check the port, and that TLS is switched on there",
        ),
        _ => (
            "a TLS handshake that succeeds",
            "check the server's certificate and TLS settings",
        ),
    };
    Problem {
        key: key.to_owned(),
        origin: None,
        got: Some(failure.to_string()),
        need: need.to_owned(),
        remedy: Some(remedy.to_owned()),
    }
}
