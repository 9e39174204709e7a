//! Two gateways that share an upstream and stores of their own, and how all of it is struck.

use std::{
    cell::{Cell, RefCell},
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
    attempt::Logins,
    connection::Connection,
    dify::{Addresses, Dify},
    judge::Record,
    login::Way,
    replica::{Behind, Replica},
    schedule::{Event, Link, Pair, Strike},
    support::{Browser, DedicatedPostgres, DedicatedRedis, Relay, Upstream, enterprise},
    tokens::{Token, Tokens},
    upstream,
};

/// Everything that one schedule after another happens to.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) tokens: Tokens,
    pub(crate) record: Record,
    pub(crate) browser: Browser,
    pub(crate) logins: Logins,
    pub(crate) replicas: [Replica; 2],
    pub(crate) postgres: Arc<DedicatedPostgres>,
    pub(crate) redis: Arc<DedicatedRedis>,
    pub(crate) over: Cell<bool>,
    /// Revoked by the schedule that is being played.
    pub(crate) revoked_now: RefCell<Vec<Rc<Token>>>,
    /// Tokens of which nobody was told whether they stand.
    pub(crate) unsettled: RefCell<Vec<Rc<Token>>>,
    pub(crate) account: Uuid,
    addresses: Rc<Addresses>,
    pids: Cell<[u32; 4]>,
    _enterprise: Upstream,
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
        let enterprise = enterprise().await;
        let behind = Behind {
            upstream: upstream::serve().await,
            postgres: postgres.addr(),
            database: database.name().to_owned(),
            redis: redis.addr(),
            prefix: redis.space().prefix().to_owned(),
            enterprise: enterprise.addr(),
        };
        let (first, second) = tokio::join!(Replica::start(&behind), Replica::start(&behind));
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
            replicas: [first, second],
            addresses: Rc::new(addresses),
            account,
            pids: Cell::default(),
            _enterprise: enterprise,
            unsettled: RefCell::default(),
            postgres: Arc::new(postgres),
            redis: Arc::new(redis),
            over: Cell::new(false),
            revoked_now: RefCell::default(),
            postgres_order: Mutex::default(),
            redis_order: Mutex::default(),
        })
    }

    /// Opens a connection to a gateway as soon as it is needed.
    pub(crate) fn connection(&self, gateway: usize) -> Connection {
        Connection::to(gateway, self.replicas[gateway].front())
    }

    /// Starts a process of Dify's, which issues tokens for this account or, without one, for
    /// somebody whom an identity provider vouches for.
    pub(crate) fn dify(&self, account: Option<Uuid>) -> Dify {
        Dify::new(&self.addresses, account)
    }

    /// Returns the process ids of the gateways, of Redis and of Postgres, as they were last known.
    pub(crate) fn pids(&self) -> [u32; 4] {
        let mut pids = self.pids.get();
        for (pid, replica) in pids.iter_mut().zip(&self.replicas) {
            // Whoever is at it will have another before long.
            if let Ok(operator) = replica.operator.try_lock() {
                *pid = operator.current.pid();
            }
        }
        if let Some(redis) = self.redis.pid() {
            pids[2] = redis;
        }
        if let Some(postgres) = self.postgres.pid() {
            pids[3] = postgres;
        }
        self.pids.set(pids);
        pids
    }

    /// Does what a schedule has for a moment, and undoes it when its time is up.
    pub(crate) async fn plays(self: Rc<Self>, event: Event, begun: Instant) {
        sleep_until(begun + Duration::from_millis(event.at)).await;
        self.record.count(event.strike.name());
        let troubles = self.record.weather.troubled_by(event.strike);
        let struck = async {
            for trouble in &troubles {
                trouble.begins();
            }
            self.strikes(event).await;
            for trouble in &troubles {
                trouble.ends();
            }
        };
        let meanwhile = async {
            match event.strike {
                Strike::Kill(gateway) => self.logs_in(Way::Login, Some(1 - gateway)).await,
                // One that has to do with it, and one that must not.
                Strike::Cut(link)
                | Strike::Refuse(link)
                | Strike::Freeze(link)
                | Strike::Slow(link, _)
                    if link.pair == Pair::GatewayEnterprise =>
                {
                    let gateway = link.at.gateways().next();
                    tokio::join!(
                        self.logs_in(Way::Sso, gateway),
                        self.logs_in(Way::Login, gateway)
                    );
                }
                _ => {}
            }
        };
        tokio::join!(struck, meanwhile);
    }

    async fn strikes(self: &Rc<Self>, event: Event) {
        let length = Duration::from_millis(event.length);
        match event.strike {
            Strike::Cut(link) => self.relayed(link, length, Relay::cut).await,
            Strike::Refuse(link) => self.relayed(link, length, Relay::drop_new).await,
            Strike::Freeze(link) => self.relayed(link, length, Relay::stall).await,
            Strike::Slow(link, delay) => {
                let delay = Duration::from_millis(delay);
                self.relayed(link, length, |relay| relay.delay(delay)).await;
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
            Strike::Reload(gateway) => {
                let mut operator = self.replicas[gateway].operator.lock().await;
                let reloaded = operator.reload().await;
                reloaded.unwrap_or_else(|why| self.record.note(why));
            }
            Strike::Upgrade(gateway) => {
                let mut operator = self.replicas[gateway].operator.lock().await;
                let upgraded = operator.upgrade().await;
                upgraded.unwrap_or_else(|why| self.record.note(why));
            }
            Strike::Kill(gateway) => {
                let mut operator = self.replicas[gateway].operator.lock().await;
                operator.kill().await;
                sleep(length).await;
                operator.starts_again().await;
            }
            Strike::KillAt(gateway, step, side) => self.kills_at(gateway, step, side, length).await,
            Strike::RevokeAtDify => self.revokes_at_dify().await,
            Strike::RevokeAtGateway(gateway) => self.revokes_at(gateway).await,
            Strike::Login => self.logs_in(Way::Login, None).await,
            Strike::SignIn => self.logs_in(Way::Sso, None).await,
            Strike::Rotation => self.logs_in(Way::Again, None).await,
        }
    }

    async fn relayed(&self, link: Link, length: Duration, strike: impl Fn(&Relay)) {
        let relays = || {
            let gateways = link.at.gateways();
            gateways.map(|gateway| self.replicas[gateway].relay(link.pair))
        };
        relays().for_each(strike);
        sleep(length).await;
        relays().for_each(Relay::restore);
    }
}
