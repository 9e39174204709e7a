//! What a flood costs, as the gateway, Postgres and Redis tell.

use tokio_postgres::Client;

use crate::support::{Database, Gateway, RedisSpace};

/// Figures at one moment, or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) lookups: f64,
    pub(crate) shed: f64,
    pub(crate) lookups_at_a_time: i64,
    pub(crate) memory_kib: u64,
    pub(crate) keys: usize,
    /// Checks of live tokens, and those of them that the local map answered.
    pub(crate) live: f64,
    pub(crate) local: f64,
}

impl Costs {
    /// Returns what has been added, with what was the most at any moment.
    pub(crate) fn since(&self, before: &Self, peaks: &Self) -> Self {
        Self {
            lookups: self.lookups - before.lookups,
            shed: self.shed - before.shed,
            lookups_at_a_time: peaks.lookups_at_a_time,
            memory_kib: self.memory_kib.saturating_sub(before.memory_kib),
            keys: self.keys.max(peaks.keys),
            live: self.live - before.live,
            local: self.local - before.local,
        }
    }

    /// Adds another part's; what goes up and down is the most of both.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.shed += other.shed;
        self.live += other.live;
        self.local += other.local;
        // The peak never goes down again, so that parts add up.
        self.memory_kib += other.memory_kib;
        self.raise(other);
    }

    /// Returns the share of live tokens' checks that cost no I/O.
    pub(crate) fn local_share(&self) -> f64 {
        self.local / self.live.max(1.0)
    }

    /// Keeps the greater of the figures that go up and down.
    pub(crate) fn raise(&mut self, other: &Self) {
        self.lookups_at_a_time = self.lookups_at_a_time.max(other.lookups_at_a_time);
        self.keys = self.keys.max(other.keys);
    }
}

/// Looks at a gateway and its stores.
pub(crate) struct Watch<'a> {
    gateway: &'a Gateway,
    database: &'a Database,
    client: Client,
    redis: &'a RedisSpace,
}

impl<'a> Watch<'a> {
    pub(crate) async fn new(
        gateway: &'a Gateway,
        database: &'a Database,
        redis: &'a RedisSpace,
    ) -> Self {
        Self {
            gateway,
            database,
            client: database.client().await,
            redis,
        }
    }

    /// Returns every figure.
    pub(crate) async fn costs(&self) -> Costs {
        let live = "difygate_token_checks_total{result=\"live\"}";
        let local = "difygate_token_checks_total{tier=\"local\",result=\"live\"}";
        Costs {
            lookups: self
                .gateway
                .metric("difygate_token_postgres_lookups_total")
                .await,
            shed: self
                .gateway
                .metric("difygate_token_postgres_lookups_shed_total")
                .await,
            live: self.gateway.metric(live).await,
            local: self.gateway.metric(local).await,
            memory_kib: self.gateway.peak_rss_kib(),
            ..self.load().await
        }
    }

    /// Returns what goes up and down.
    pub(crate) async fn load(&self) -> Costs {
        let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 \
                      AND application_name = 'difygate' AND state = 'active' \
                      AND query LIKE '%oauth_access_tokens%'";
        let name = self.database.name();
        let row = self.client.query_one(active, &[&name]).await.unwrap();
        let keys = self.redis.keys().await;
        Costs {
            lookups_at_a_time: row.get(0),
            keys: keys
                .iter()
                .filter(|key| key.starts_with("auth:token:"))
                .count(),
            ..Costs::default()
        }
    }
}
