//! The table of what is done to the stores.

use std::time::Duration;

/// What is struck, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Quiet,
    RedisKilled,
    RedisRestarted,
    RedisFrozen,
    RedisPartitioned,
    RedisFlushed,
    RedisFailedOver,
    PostgresKilled,
    PostgresRestarted,
    PostgresFrozen,
    BothKilled,
    BothFrozen,
    DifyCutOff,
}

/// What a scenario is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One Redis.
    Single,
    /// A master, a replica, three sentinels.
    Sentinels,
}

impl Scenario {
    pub(crate) const ALL: [Self; 13] = [
        Self::Quiet,
        Self::RedisKilled,
        Self::RedisRestarted,
        Self::RedisFrozen,
        Self::RedisPartitioned,
        Self::RedisFlushed,
        Self::PostgresKilled,
        Self::PostgresRestarted,
        Self::PostgresFrozen,
        Self::BothKilled,
        Self::BothFrozen,
        Self::DifyCutOff,
        Self::RedisFailedOver,
    ];

    /// Returns what `--only` and the reports call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "nothing",
            Self::RedisKilled => "redis killed",
            Self::RedisRestarted => "redis restarted",
            Self::RedisFrozen => "redis frozen",
            Self::RedisPartitioned => "redis partitioned",
            Self::RedisFlushed => "redis flushed",
            Self::RedisFailedOver => "redis failed over",
            Self::PostgresKilled => "postgres killed",
            Self::PostgresRestarted => "postgres restarted",
            Self::PostgresFrozen => "postgres frozen",
            Self::BothKilled => "both killed",
            Self::BothFrozen => "both frozen",
            Self::DifyCutOff => "dify cut off from redis",
        }
    }

    pub(crate) const fn topology(self) -> Topology {
        match self {
            Self::RedisFailedOver => Topology::Sentinels,
            _ => Topology::Single,
        }
    }

    /// Returns how long it stays struck. Long enough for every silence to be noticed and for what
    /// is kept short-lived to end.
    pub(crate) const fn strike(self) -> Duration {
        match self {
            // At once, as far as that goes.
            Self::RedisRestarted | Self::PostgresRestarted => Duration::ZERO,
            // Nothing to be noticed.
            Self::Quiet | Self::DifyCutOff => Duration::from_millis(500),
            _ => Duration::from_millis(2_000),
        }
    }

    /// Tells whether Postgres is there all the time, so that it can always be asked.
    pub(crate) const fn leaves_postgres(self) -> bool {
        !matches!(
            self,
            Self::PostgresKilled
                | Self::PostgresRestarted
                | Self::PostgresFrozen
                | Self::BothKilled
                | Self::BothFrozen
        )
    }

    /// Tells whether the gateways connect to Redis anew because of it, so that they doubt what
    /// they find there.
    pub(crate) const fn reconnects(self) -> bool {
        matches!(
            self,
            Self::RedisKilled
                | Self::RedisRestarted
                | Self::RedisFrozen
                | Self::RedisFailedOver
                | Self::BothKilled
                | Self::BothFrozen
        )
    }
}
