//! A gateway with a relay on each of its four sides, stores of its own, and how they are struck.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use crate::{
    dify::{Addresses, Dify},
    judge::Record,
    login::Logins,
    operator::{Operator, Parts},
    schedule::{Event, Pair, Strike},
    support::{Browser, DedicatedPostgres, DedicatedRedis, Gateway, GatewayBuilder, Relay},
    tokens::{Token, Tokens},
    upstream,
};

/// More than a run can use up.
const UNLIMITED: &str = "\"1000000/1h\"";

/// Everything that one schedule after another happens to.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) tokens: Tokens,
    pub(crate) record: Record,
    pub(crate) browser: Browser,
    pub(crate) logins: Logins,
    pub(crate) operator: Mutex<Operator>,
    pub(crate) postgres: Arc<DedicatedPostgres>,
    pub(crate) redis: Arc<DedicatedRedis>,
    pub(crate) over: Cell<bool>,
    /// Revoked by the schedule that is being played.
    pub(crate) revoked_now: RefCell<Vec<Rc<Token>>>,
    relays: [Relay; 4],
    addresses: Rc<Addresses>,
    account: Uuid,
    // A server is struck in one way at a time.
    postgres_order: Mutex<()>,
    redis_order: Mutex<()>,
}

impl World {
    /// Starts everything.
    pub(crate) async fn create() -> Rc<Self> {
        let (postgres, redis) = tokio::join!(DedicatedPostgres::start(), DedicatedRedis::start());
        let database = postgres.database();
        database.dify_setup().await;
        let account = database.account("ada@example.com", "Ada").await;
        let to_upstream = Relay::to(upstream::serve().await).await;
        let to_redis = Relay::to(redis.addr()).await;
        let to_postgres = Relay::to(postgres.addr()).await;
        let parts = Parts {
            upstream: to_upstream.local_addr(),
            postgres: to_postgres.local_addr(),
            database: database.name().to_owned(),
            redis: to_redis.local_addr(),
            prefix: redis.space().prefix().to_owned(),
            dir: tempfile::tempdir().unwrap(),
        };
        let operator = Operator::start(parts, gateway).await;
        let to_gateway = Relay::to(operator.current.addr()).await;
        let addresses = Addresses {
            redis: Cell::new(redis.addr()),
            prefix: redis.space().prefix().to_owned(),
            postgres: postgres.addr(),
            database: database.name().to_owned(),
        };
        Rc::new(Self {
            tokens: Tokens::default(),
            record: Record::default(),
            browser: Browser::of(account),
            logins: Logins::default(),
            operator: Mutex::new(operator),
            relays: [to_gateway, to_upstream, to_redis, to_postgres],
            addresses: Rc::new(addresses),
            account,
            postgres: Arc::new(postgres),
            redis: Arc::new(redis),
            over: Cell::new(false),
            revoked_now: RefCell::default(),
            postgres_order: Mutex::default(),
            redis_order: Mutex::default(),
        })
    }

    /// Returns where clients find the gateway.
    pub(crate) fn front(&self) -> SocketAddr {
        self.relay(Pair::ClientGateway).local_addr()
    }

    /// Starts a process of Dify's.
    pub(crate) fn dify(&self) -> Dify {
        Dify::new(&self.addresses, self.account)
    }

    /// Does what a schedule has for a moment, and undoes it when its time is up.
    pub(crate) async fn plays(self: Rc<Self>, event: Event, begun: Instant) {
        sleep_until(begun + Duration::from_millis(event.at)).await;
        self.record.count(event.strike.name());
        let weather = &self.record.weather;
        let trouble = weather.troubled_by(event.strike);
        if let Some(trouble) = trouble {
            trouble.begins();
        }
        self.strikes(event).await;
        if let Some(trouble) = trouble {
            trouble.ends();
        }
    }

    async fn strikes(self: &Rc<Self>, event: Event) {
        let length = Duration::from_millis(event.length);
        match event.strike {
            Strike::Cut(pair) => self.relayed(pair, length, Relay::cut).await,
            Strike::Refuse(pair) => self.relayed(pair, length, Relay::drop_new).await,
            Strike::Freeze(pair) => self.relayed(pair, length, Relay::stall).await,
            Strike::Slow(pair, delay) => {
                let delay = Duration::from_millis(delay);
                self.relayed(pair, length, |relay| relay.delay(delay)).await;
            }
            Strike::RestartRedis => {
                let _alone = self.redis_order.lock().await;
                let losses = &self.record.weather.losses;
                // Before and after: what begins meanwhile may be lost or not.
                losses.set(losses.get() + 1);
                self.redis.restart().await;
                losses.set(losses.get() + 1);
            }
            Strike::FreezeRedis => {
                let _alone = self.redis_order.lock().await;
                let (redis, again) = (Arc::clone(&self.redis), Arc::clone(&self.redis));
                spawn_blocking(move || redis.freeze()).await.unwrap();
                sleep(length).await;
                spawn_blocking(move || again.thaw()).await.unwrap();
            }
            Strike::RestartPostgres => {
                let _alone = self.postgres_order.lock().await;
                self.postgres.restart().await;
            }
            Strike::FreezePostgres => {
                let _alone = self.postgres_order.lock().await;
                let (postgres, again) = (Arc::clone(&self.postgres), Arc::clone(&self.postgres));
                spawn_blocking(move || postgres.freeze()).await.unwrap();
                sleep(length).await;
                spawn_blocking(move || again.thaw()).await.unwrap();
            }
            Strike::Reload => {
                let reloaded = self.operator.lock().await.reload().await;
                reloaded.unwrap_or_else(|why| self.record.note(why));
            }
            Strike::Upgrade => {
                let upgraded = self.operator.lock().await.upgrade().await;
                upgraded.unwrap_or_else(|why| self.record.note(why));
            }
            Strike::RevokeAtDify => self.revokes_at_dify().await,
            Strike::RevokeAtGateway => self.revokes_at_gateway().await,
            Strike::Login => self.logs_in(false).await,
            Strike::Rotation => self.logs_in(true).await,
        }
    }

    async fn relayed(&self, pair: Pair, length: Duration, strike: impl Fn(&Relay)) {
        strike(self.relay(pair));
        sleep(length).await;
        self.relay(pair).restore();
    }

    fn relay(&self, pair: Pair) -> &Relay {
        let at = Pair::ALL.iter().position(|one| *one == pair);
        &self.relays[at.unwrap()]
    }
}

/// As an operator would run it, but for the limits and for deadlines that have to pass here.
fn gateway(parts: &Parts) -> GatewayBuilder {
    let socket = parts.dir.path().join("upgrade.sock");
    Gateway::builder()
        .upstream(parts.upstream)
        .postgres_addr(parts.postgres, &parts.database)
        .redis_addr(parts.redis, &parts.prefix)
        .set("log.level", "\"info\"")
        .set("redis.timeout", "\"300ms\"")
        .set("upstream.connect_timeout", "\"1s\"")
        .set("upstream.read_timeout", "\"2s\"")
        .set("server.shutdown_grace", "\"6s\"")
        .set("server.upgrade_socket", &format!("{socket:?}"))
        .set("rate_limits.device_code", UNLIMITED)
        .set("rate_limits.approve", UNLIMITED)
        .set("rate_limits.account", UNLIMITED)
}
