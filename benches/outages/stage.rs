//! Stores that can be struck, two gateways on them, and how each strike is done.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::cmd;
use tokio::{task::spawn_blocking, time::sleep};
use uuid::Uuid;

use crate::{
    dify::{Addresses, Dify},
    options::Options,
    scenario::{Scenario, Topology},
    support::{
        DedicatedPostgres, DedicatedRedis, DedicatedSentinels, Gateway, GatewayBuilder, RedisSpace,
        Relay, SERVICE,
    },
    tokens::Tokens,
    upstream,
};

mod failover;

/// More than a run can use up.
const UNLIMITED: &str = "\"1000000/1h\"";

/// Pause between two flushes.
const AGAIN: Duration = Duration::from_millis(50);

/// The Redis side; each gateway has its own way to a single one.
#[derive(Debug)]
enum Side {
    Single(Arc<DedicatedRedis>, Vec<Relay>),
    Sentinels(Arc<DedicatedSentinels>),
}

/// Stores, gateways, and the tokens that live in them.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) topology: Topology,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) tokens: Rc<Tokens>,
    pub(crate) positive_ttl: Duration,
    addresses: Rc<Addresses>,
    account: Uuid,
    postgres: Arc<DedicatedPostgres>,
    side: Side,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set(topology: Topology, positive_ttl: Duration, options: &Options) -> Self {
        let postgres = DedicatedPostgres::start().await;
        let database = postgres.database();
        let account = database.account("ada@example.com", "Ada").await;
        let (side, space) = match topology {
            Topology::Single => {
                let redis = DedicatedRedis::start().await;
                let space = redis.space().clone();
                let relays = vec![Relay::to(redis.addr()).await, Relay::to(redis.addr()).await];
                (Side::Single(Arc::new(redis), relays), space)
            }
            Topology::Sentinels => {
                let sentinels = DedicatedSentinels::start().await;
                let space = sentinels.space(0);
                (Side::Sentinels(Arc::new(sentinels)), space)
            }
        };
        let upstream = upstream::serve().await;
        let mut gateways = Vec::new();
        for number in 0..2 {
            // As an operator would run it, but for the limits.
            let builder = Gateway::builder()
                .upstream(upstream)
                .database(database)
                .unset("log.level")
                .unset("redis.timeout")
                .unset("log.format")
                .set("rate_limits.account", UNLIMITED)
                .set(
                    "token_cache.positive_ttl",
                    &format!("\"{}s\"", positive_ttl.as_secs()),
                );
            let builder = on_redis(builder, &side, &space, number);
            let builder = options
                .set
                .iter()
                .fold(builder, |builder, (key, value)| builder.set(key, value));
            gateways.push(builder.start().await);
        }
        let addresses = Addresses {
            redis: Cell::new(space.addr()),
            prefix: space.prefix().to_owned(),
            postgres: postgres.addr(),
            database: database.name().to_owned(),
        };
        Self {
            topology,
            gateways,
            tokens: Rc::default(),
            positive_ttl,
            addresses: Rc::new(addresses),
            account,
            postgres: Arc::new(postgres),
            side,
        }
    }

    /// Starts a process of Dify's.
    pub(crate) fn dify(&self) -> Dify {
        Dify::new(&self.addresses, Some(self.account))
    }

    /// Tells whether every gateway follows changes.
    pub(crate) async fn is_followed(&self) -> bool {
        for gateway in &self.gateways {
            if gateway.metric("difygate_token_cache_followed").await != 1.0 {
                return false;
            }
        }
        true
    }

    /// Strikes, and stays at it for as long as the scenario has it.
    pub(crate) async fn strike(&self, scenario: Scenario, round: usize) {
        match scenario {
            Scenario::RedisKilled => self.redis(DedicatedRedis::stop).await,
            Scenario::RedisFrozen => self.redis(DedicatedRedis::freeze).await,
            Scenario::PostgresKilled => self.postgres(DedicatedPostgres::stop_immediate).await,
            Scenario::PostgresFrozen => self.postgres(DedicatedPostgres::freeze).await,
            Scenario::BothKilled => {
                self.redis(DedicatedRedis::stop).await;
                self.postgres(DedicatedPostgres::stop_immediate).await;
            }
            Scenario::BothFrozen => {
                self.redis(DedicatedRedis::freeze).await;
                self.postgres(DedicatedPostgres::freeze).await;
            }
            // In turn both gateways and only the first.
            Scenario::RedisPartitioned => {
                let relays = self.relays().iter().take(2 - round % 2);
                relays.for_each(Relay::stall);
            }
            // The sentinels say how long this takes.
            Scenario::RedisFailedOver => return self.depose(round).await,
            Scenario::RedisFlushed => return self.flush_again_and_again(scenario.strike()).await,
            Scenario::Quiet
            | Scenario::RedisRestarted
            | Scenario::PostgresRestarted
            | Scenario::DifyCutOff => {}
        }
        sleep(scenario.strike()).await;
    }

    /// Brings back what was struck.
    pub(crate) async fn restore(&self, scenario: Scenario) {
        match scenario {
            Scenario::RedisKilled | Scenario::RedisRestarted => self.single().restart().await,
            Scenario::RedisFrozen => self.redis(DedicatedRedis::thaw).await,
            Scenario::PostgresKilled | Scenario::PostgresRestarted => self.postgres.restart().await,
            Scenario::PostgresFrozen => self.postgres(DedicatedPostgres::thaw).await,
            Scenario::BothKilled => {
                self.single().restart().await;
                self.postgres.restart().await;
            }
            Scenario::BothFrozen => {
                self.redis(DedicatedRedis::thaw).await;
                self.postgres(DedicatedPostgres::thaw).await;
            }
            Scenario::RedisPartitioned => self.relays().iter().for_each(Relay::restore),
            Scenario::RedisFailedOver => self.succeeded().await,
            Scenario::Quiet | Scenario::RedisFlushed | Scenario::DifyCutOff => {}
        }
    }

    /// Sees to what the next round needs.
    pub(crate) async fn tidy(&self, scenario: Scenario, round: usize) {
        if scenario == Scenario::RedisFailedOver {
            self.rejoin(round).await;
        }
    }

    fn single(&self) -> &Arc<DedicatedRedis> {
        match &self.side {
            Side::Single(redis, _) => redis,
            Side::Sentinels(_) => panic!("this is played on a single Redis"),
        }
    }

    fn relays(&self) -> &[Relay] {
        match &self.side {
            Side::Single(_, relays) => relays,
            Side::Sentinels(_) => panic!("this is played on a single Redis"),
        }
    }

    fn sentinels(&self) -> &Arc<DedicatedSentinels> {
        match &self.side {
            Side::Sentinels(sentinels) => sentinels,
            Side::Single(..) => panic!("this is played with sentinels"),
        }
    }

    /// Gives an order where it does not hold the load up.
    async fn redis(&self, order: impl FnOnce(&DedicatedRedis) + Send + 'static) {
        let redis = Arc::clone(self.single());
        spawn_blocking(move || order(&redis)).await.unwrap();
    }

    async fn postgres(&self, order: impl FnOnce(&DedicatedPostgres) + Send + 'static) {
        let postgres = Arc::clone(&self.postgres);
        spawn_blocking(move || order(&postgres)).await.unwrap();
    }

    async fn flush_again_and_again(&self, length: Duration) {
        let mut connection = self.single().space().connection().await;
        let begun = Instant::now();
        while begun.elapsed() < length {
            let () = cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
            sleep(AGAIN).await;
        }
    }
}

fn on_redis(
    builder: GatewayBuilder,
    side: &Side,
    space: &RedisSpace,
    number: usize,
) -> GatewayBuilder {
    match side {
        Side::Single(_, relays) => builder.redis_addr(relays[number].local_addr(), space.prefix()),
        Side::Sentinels(sentinels) => {
            let nodes = serde_json::Value::from(sentinels.addresses());
            builder
                .redis_addr(SocketAddr::from(([127, 0, 0, 1], 1)), space.prefix())
                .set("redis.sentinels", &nodes.to_string())
                .set("redis.service_name", &format!("\"{SERVICE}\""))
        }
    }
}
