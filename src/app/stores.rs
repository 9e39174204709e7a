//! What is stored where.

use std::sync::Arc;

use crate::{
    config::{Config, Problem},
    health::Health,
    store::{
        Directory, FlowStore, Nonces, SessionStore, TokenCache, TokenStore, Windows,
        postgres::{PgDirectory, PgSessionStore, PgTokenStore, PostgresLink},
        redis::{RedisFlowStore, RedisLink, RedisNonces, RedisTokenCache, RedisWindows},
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
            .map_err(|error| invalid_target("postgres.url", &error));
        let redis = RedisLink::new(&config.redis, Arc::clone(&health.redis))
            .map_err(|error| invalid_target("redis.url", &error));
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

fn invalid_target(key: &str, error: &dyn std::error::Error) -> Problem {
    Problem {
        key: key.to_owned(),
        origin: None,
        got: None,
        need: format!("a target that can be connected to ({error})"),
        remedy: None,
    }
}
