//! The composition root: the only place that knows every concrete type.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use pingora::{
    apps::HttpServerApp as _, protocols::http::v2::server::H2Options,
    server::configuration::ServerConf,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    activity::Activity,
    admin::{self, Admin},
    check::{self, TokenChecker},
    clock::{Clock, SystemClock},
    config::{Coherence, Config, Problem},
    entropy::{Entropy, OsEntropy},
    gateway::{self, Backend, Backends, Gateway, Heads, RequestIds, Routing, Server, Settings},
    health::Health,
    http::{Rejection, client_ip::TrustedProxies},
    jws::Keys,
    licence::Licence,
    listener::{Front, Listener, Room, Tls},
    metrics::Metrics,
    retention,
    route::{RouteTable, Surface},
    store::{CacheObserver, redis::Tracking},
    tls::Unusable,
};

mod enterprise;
mod live;
mod local;
mod stores;

use enterprise::Enterprise;
pub use live::Live;
pub use stores::{StoreSet, Stores};

/// How long a start waits for each store's first connection. A store that is away delays the
/// start by this much and then is reported like at any other time.
const FIRST_CONTACT: Duration = Duration::from_secs(1);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    /// An address could not be bound.
    #[error("cannot listen on {address} ({key}): {error}")]
    Bind {
        /// The key that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
}

/// A gateway that is bound and wired, but accepts nothing yet.
#[derive(Debug)]
pub struct App {
    gateway: Gateway,
    listeners: Vec<Listener>,
    front: Arc<Front>,
    admin: (Admin, TcpListener),
    stores: StoreSet,
    health: Arc<Health>,
    live: Live,
    /// The enterprise service's licence, where there is such a service.
    licence: Option<Arc<Licence>>,
    grace: Duration,
    /// How many days dead rows are kept, where this process prunes.
    prune: Option<u16>,
    /// This process's name among the others, where it follows changes in Redis.
    follow_as: Option<Uuid>,
    server: Arc<ServerConf>,
    http2: H2Options,
}

impl App {
    /// Binds and wires everything that `config` asks for.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub async fn build(
        config: &Config,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
        stores: StoreSet,
    ) -> Result<Self, StartError> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let metrics = Arc::new(Metrics::new());
        metrics.know_rejections(Rejection::EXAMPLES.map(|rejection| rejection.reason()));
        let Checked { routes, tls } = check(config)?;
        let routing = Routing::new(routes, backends(config, &health)?);
        let live = Live::new(config, routing, tls.clone())?;
        let checker = Arc::new(TokenChecker::new(
            check::Stores {
                tokens: Arc::clone(&stores.stores.tokens),
                cache: Arc::clone(&stores.stores.cache),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                metrics: Arc::clone(&metrics),
            },
            check::Settings {
                capacity: config.token_cache.capacity,
                positive_ttl: config.token_cache.positive_ttl,
                negative_ttl: config.token_cache.negative_ttl,
                untracked_ttl: config.token_cache.untracked_ttl,
                deadline: config.postgres.timeout + config.redis.timeout,
                // The rest of the pool is for logins and sessions, flood or no flood.
                lookups: config.postgres.pool_size - config.postgres.pool_size / 4,
            },
        ));
        let activity = Arc::new(Activity::new(
            Arc::clone(&stores.stores.sessions),
            Arc::clone(&clock),
        ));
        let enterprise = Enterprise::from_config(&config.enterprise, &clock)
            .map_err(|problem| StartError::Invalid(vec![problem]))?;
        let licence = enterprise.as_ref().map(|it| Arc::clone(&it.licence));
        let endpoints = local::endpoints(
            config,
            &stores.stores,
            &checker,
            &local::Edge {
                clock: &clock,
                entropy: &entropy,
                metrics: &metrics,
                activity: &activity,
                live: &live,
            },
            enterprise,
        );
        let (listeners, admin) = bind(config).await?;
        let request_ids = Arc::new(RequestIds::new(&*entropy));
        let trusted_proxies = TrustedProxies::new(config.server.trusted_proxies.clone());
        Ok(Self {
            front: Arc::new(Front {
                heads: Arc::new(Heads {
                    timeout: config.server.request_header_timeout,
                    request_ids: Arc::clone(&request_ids),
                    metrics: Arc::clone(&metrics),
                    access: config.log.access,
                }),
                tls,
                proxies: config
                    .server
                    .proxy_protocol
                    .then(|| trusted_proxies.clone()),
                room: Room::new(config.server.max_connections),
                patience: config.server.idle_timeout,
            }),
            gateway: Gateway {
                settings: Settings::from_config(config),
                routing: Arc::clone(&live.routing),
                checker,
                endpoints,
                activity,
                trusted_proxies,
                keys: Arc::clone(&live.keys),
                clock,
                metrics: Arc::clone(&metrics),
                request_ids,
            },
            listeners,
            admin: (
                Admin {
                    health: Arc::clone(&health),
                    metrics,
                },
                admin,
            ),
            stores,
            health,
            live,
            licence,
            grace: config.server.shutdown_grace,
            prune: config.tokens.prune.then_some(config.tokens.retention_days),
            follow_as: follow_as(config, &*entropy),
            server: Arc::new(ServerConf {
                threads: config.server.threads.get(),
                upstream_keepalive_pool_size: config.upstream.keepalive,
                ..ServerConf::default()
            }),
            http2: gateway::http2_limits(config.server.max_header_bytes),
        })
    }

    /// Returns the bound public addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Returns what can be changed while it runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Returns the bound admin address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.1.local_addr().ok()
    }

    /// Serves until `stop` completes, then lets what is under way end, within
    /// `server.shutdown_grace`.
    ///
    /// Returns whether everything had ended by then.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let mut background = self.spawn_background().await;
        let (admin, admin_listener) = self.admin;
        if let Ok(address) = admin_listener.local_addr() {
            tracing::info!(listener = "admin", %address, "listening");
        }
        background.spawn(admin.serve(admin_listener));

        let (shutdown, stopping) = watch::channel(false);
        let connections = TaskTracker::new();
        let activity = Arc::clone(&self.gateway.activity);
        let idle = self.front.patience;
        let proxy = Arc::new(Server::new(self.gateway, &self.server, self.http2, idle));
        for listener in self.listeners {
            let address = listener.address();
            tracing::info!(listener = "gateway", %address, "listening");
            connections.spawn(listener.serve(
                Arc::clone(&proxy),
                Arc::clone(&self.front),
                stopping.clone(),
                connections.clone(),
            ));
        }

        stop.await;
        tracing::info!("stopping: no new connections, waiting for those under way");
        self.health.drain();
        shutdown.send_replace(true);
        // Idle connections end now; the others with the response they are at.
        proxy.http_cleanup().await;
        connections.close();
        let ended = tokio::time::timeout(self.grace, connections.wait())
            .await
            .is_ok();
        if ended {
            tracing::info!("stopped: every request has ended");
        } else {
            tracing::warn!(
                cut = connections.len(),
                "stopped: server.shutdown_grace is over, the rest was cut off"
            );
        }
        activity.flush().await;
        ended
    }

    /// Makes first contact with everything, then keeps it up.
    async fn spawn_background(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let routing = self.gateway.routing.get();
        let backends: Vec<_> = routing.backends.all().cloned().collect();
        let first_contact = async {
            let mut contacts = JoinSet::new();
            if let Some((postgres, redis)) = self.stores.links.clone() {
                contacts.spawn(async move { postgres.probe().await });
                contacts.spawn(async move { redis.connect().await });
            }
            for backend in backends.clone() {
                contacts.spawn(async move {
                    backend.refresh().await;
                });
            }
            if let Some(licence) = self.licence.clone() {
                contacts.spawn(async move { licence.poll().await });
            }
            contacts.join_all().await;
        };
        let _ = tokio::time::timeout(FIRST_CONTACT, first_contact).await;
        if let Some((postgres, redis)) = self.stores.links.clone() {
            let observer = Arc::clone(&self.gateway.checker) as Arc<dyn CacheObserver>;
            // Followed or not: another connection may be to a server with an older state.
            redis.report_to(Arc::clone(&observer));
            tasks.spawn(postgres.keep_probing());
            tasks.spawn(Arc::clone(&redis).keep_up());
            if let Some(replica) = self.follow_as {
                let clock = Arc::clone(&self.gateway.clock);
                let tracking = Tracking::new(redis, observer, clock, replica);
                tasks.spawn(tracking.keep_following());
            }
        }
        if let Some(licence) = self.licence.clone() {
            tasks.spawn(licence.keep_polling());
        }
        for backend in backends {
            tasks.spawn(Backend::keep_fresh(Arc::downgrade(&backend)));
        }
        tasks.spawn(Arc::clone(&self.gateway.checker).keep_sweeping());
        tasks.spawn(Arc::clone(&self.gateway.activity).keep_flushing());
        if let Some(days) = self.prune {
            let sessions = Arc::clone(&self.stores.stores.sessions);
            tasks.spawn(retention::keep_pruning(sessions, days));
        }
        tasks
    }
}

/// Builds the upstreams.
fn backends(config: &Config, health: &Health) -> Result<Backends, StartError> {
    Backends::from_config(config, Arc::clone(&health.upstream))
        .map_err(|error| nobody_vouches(&error))
}

/// Says that an upstream's certificate could not be verified.
fn nobody_vouches(error: &Unusable) -> StartError {
    StartError::Invalid(vec![Problem {
        key: "upstream.ca".to_owned(),
        origin: None,
        got: Some(error.to_string()),
        need: "authorities that can vouch for the upstream".to_owned(),
        remedy: Some("name them here, or install ca-certificates".to_owned()),
    }])
}

/// Names this process for the self-test, where changes in Redis are to be followed.
fn follow_as(config: &Config, entropy: &dyn Entropy) -> Option<Uuid> {
    match config.token_cache.coherence {
        Coherence::Tracking => {
            let mut name = [0; 16];
            entropy.fill(&mut name);
            Some(Uuid::from_bytes(name))
        }
        Coherence::Ttl => None,
    }
}

/// Binds every address that `config` names.
async fn bind(config: &Config) -> Result<(Vec<Listener>, TcpListener), StartError> {
    let mut listeners = Vec::with_capacity(config.server.listen.len());
    for address in &config.server.listen {
        let listener = Listener::bind(*address).await;
        listeners.push(listener.map_err(|error| StartError::Bind {
            key: "server.listen",
            address: *address,
            error,
        })?);
    }
    let address = config.admin.listen;
    let admin = admin::bind(address)
        .await
        .map_err(|error| StartError::Bind {
            key: "admin.listen",
            address,
            error,
        })?;
    Ok((listeners, admin))
}

/// What a configuration is turned into before anything is bound.
#[derive(Debug)]
pub struct Checked {
    routes: RouteTable,
    tls: Option<Arc<Tls>>,
}

/// Builds the route table, which checks the rules of the configuration against the built-in rows,
/// and reads the files of `server.tls`.
///
/// # Errors
///
/// [`StartError::Invalid`] with every rule that opens what is guarded, and every file that cannot
/// be used.
pub fn check(config: &Config) -> Result<Checked, StartError> {
    let routes = routes_of(config, config.enterprise.enabled);
    let tls = config.server.tls.as_ref().map(Tls::load).transpose();
    match (routes, tls) {
        (Ok(routes), Ok(tls)) => Ok(Checked {
            routes,
            tls: tls.map(Arc::new),
        }),
        (routes, tls) => {
            let mut problems = routes.err().unwrap_or_default();
            problems.extend(tls.err().unwrap_or_default());
            Err(StartError::Invalid(problems))
        }
    }
}

/// Builds the route table; `enterprise` tells whether the enterprise branch is there.
fn routes_of(config: &Config, enterprise: bool) -> Result<RouteTable, Vec<Problem>> {
    let surface = Surface {
        legacy_paths: config.device_flow.legacy_paths,
        enterprise,
        device_page: config.device_page.enabled,
    };
    RouteTable::new(&config.routes, surface)
}

/// Builds the keys.
fn keys_of(config: &Config) -> Result<Keys, StartError> {
    Keys::from_config(&config.dify).map_err(|error| {
        StartError::Invalid(vec![Problem {
            key: "dify.keys".to_owned(),
            origin: None,
            got: Some(error.to_string()),
            need: "kids with secrets that are not empty, the active one among them".to_owned(),
            remedy: None,
        }])
    })
}

/// Returns the operating system's clock.
pub fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}
