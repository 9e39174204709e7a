//! What is stored where.

use std::sync::Arc;

use crate::{
    config::{Config, PostgresTarget, Problem, RedisTarget},
    health::Health,
    store::{
        Directory, FlowStore, Nonces, SessionStore, TokenCache, TokenStore, Windows,
        postgres::{self, PgDirectory, PgSessionStore, PgTokenStore, PostgresLink},
        redis::{self, RedisFlowStore, RedisLink, RedisNonces, RedisTokenCache, RedisWindows},
    },
};

/// Everything that is stored anywhere, by what it is for.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The truth about tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// The cache that is shared with Dify.
    pub cache: Arc<dyn TokenCache>,
    /// Logins and sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// People and workspaces.
    pub directory: Arc<dyn Directory>,
    /// Logins under way.
    pub flows: Arc<dyn FlowStore>,
    /// What may be used once.
    pub nonces: Arc<dyn Nonces>,
    /// Sliding windows.
    pub windows: Arc<dyn Windows>,
}

/// The stores, and what keeps them alive.
#[derive(Debug)]
pub struct StoreSet {
    pub(super) stores: Stores,
    pub(super) links: Option<(Arc<PostgresLink>, Arc<RedisLink>)>,
}

impl StoreSet {
    /// Builds Postgres and Redis from the configuration.
    ///
    /// # Errors
    ///
    /// Every target that cannot be understood.
    pub fn from_config(config: &Config, health: &Health) -> Result<Self, Vec<Problem>> {
        let postgres = PostgresLink::new(&config.postgres, Arc::clone(&health.postgres))
            .map_err(|error| invalid_postgres(config, &error));
        let redis = RedisLink::new(&config.redis, Arc::clone(&health.redis))
            .map_err(|error| invalid_redis(config, &error));
        match (postgres, redis) {
            (Ok(postgres), Ok(redis)) => Ok(Self {
                stores: Stores {
                    tokens: Arc::new(PgTokenStore::new(Arc::clone(&postgres))),
                    cache: Arc::new(RedisTokenCache::new(Arc::clone(&redis))),
                    sessions: Arc::new(PgSessionStore::new(Arc::clone(&postgres))),
                    directory: Arc::new(PgDirectory::new(Arc::clone(&postgres))),
                    flows: Arc::new(RedisFlowStore::new(Arc::clone(&redis))),
                    nonces: Arc::new(RedisNonces::new(Arc::clone(&redis))),
                    windows: Arc::new(RedisWindows::new(Arc::clone(&redis))),
                },
                links: Some((postgres, redis)),
            }),
            (postgres, redis) => Err(postgres.err().into_iter().chain(redis.err()).collect()),
        }
    }

    /// Takes stores that are always there: the demo's.
    pub fn embedded(stores: Stores, health: &Health) -> Self {
        health.postgres.up();
        health.redis.up();
        Self {
            stores,
            links: None,
        }
    }
}

/// Understands where Postgres and Redis are, and says of which that cannot be done.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let postgres = PostgresLink::check(&config.postgres)
        .map_err(|error| invalid_postgres(config, &error))
        .err();
    let redis = RedisLink::check(&config.redis)
        .map_err(|error| invalid_redis(config, &error))
        .err();
    postgres.into_iter().chain(redis).collect()
}

fn invalid_postgres(config: &Config, error: &postgres::InvalidTarget) -> Problem {
    let key = match config.postgres.target {
        PostgresTarget::Url(_) => "postgres.url",
        // Its other parts cannot be wrong any more.
        PostgresTarget::Parts { .. } => "postgres.parameters",
    };
    invalid_target(key, error)
}

fn invalid_redis(config: &Config, error: &redis::InvalidTarget) -> Problem {
    let key = match config.redis.target {
        RedisTarget::Url(_) => "redis.url",
        RedisTarget::Parts { .. } => "redis.host",
    };
    invalid_target(key, error)
}

/// The errors name options, and no value of any.
fn invalid_target(key: &str, error: &dyn std::error::Error) -> Problem {
    Problem {
        key: key.to_owned(),
        origin: None,
        got: Some(error.to_string()),
        need: "a target that can be connected to".to_owned(),
        remedy: None,
    }
}
