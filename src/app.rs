//! The composition root: the only place that knows every concrete type.

use std::{io, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use pingora::{protocols::http::v2::server::H2Options, server::configuration::ServerConf};
use uuid::Uuid;

use crate::{
    activity::Activity,
    check::{self, TokenChecker},
    clock::{Clock, SystemClock},
    config::{Coherence, Config, ListenAddress, Origins, Problem},
    entropy::{Entropy, OsEntropy},
    gateway::{
        self, AccessLines, Backends, Gateway, Heads, RequestIds, Routing, Settings, SharedGateway,
    },
    health::Health,
    http::{Rejection, client_ip::TrustedProxies},
    jws::Keys,
    licence::Licence,
    listener::{Front, Room, Tls},
    metrics::Metrics,
    route::{RouteTable, Surface},
    tls::Unusable,
    trace::Exporter,
};

mod enterprise;
mod live;
mod local;
mod run;
mod sockets;
mod status;
mod stores;
mod traces;

use enterprise::Enterprise;
pub use live::Live;
pub use run::{Running, Stop};
pub use sockets::Sockets;
use status::Tells;
pub use stores::{StoreSet, Stores};

/// How long a start waits for each store's first connection, and a reload for new upstreams. What is
/// away delays it by this much and then is reported like at any other time.
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
        address: ListenAddress,
        /// What the operating system said.
        error: io::Error,
    },
    /// The sockets of the running process could not be taken over; it goes on.
    #[error("cannot take over at {} (server.upgrade_socket): {error}", .path.display())]
    Upgrade {
        /// Where it was waited for.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

impl StartError {
    /// Says of each problem where its key was set.
    #[must_use]
    pub fn placed(mut self, origins: &Origins) -> Self {
        if let Self::Invalid(problems) = &mut self {
            origins.place(problems);
        }
        self
    }
}

/// A gateway that is wired, but neither runs nor accepts anything yet.
#[derive(Debug)]
pub struct App {
    gateway: SharedGateway,
    front: Arc<Front>,
    tells: Tells,
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
    threads: NonZeroUsize,
    server: Arc<ServerConf>,
    http2: H2Options,
    /// What brings spans to the collector, where requests are traced.
    exporter: Option<Exporter>,
}

impl App {
    /// Wires everything that `config` asks for.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub fn build(
        config: &Config,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
        stores: StoreSet,
    ) -> Result<Self, StartError> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let metrics = Arc::new(Metrics::with(&health.log));
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
            check_settings(config),
        ));
        let activity = Arc::new(Activity::new(
            Arc::clone(&stores.stores.sessions),
            Arc::clone(&clock),
        ));
        let enterprise = Enterprise::from_config(&config.enterprise, &clock, &health)
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
        let (tracer, exporter) = traces::wired(&config.tracing, &*entropy, &metrics)?.unzip();
        let request_ids = Arc::new(RequestIds::new(&*entropy));
        let access_lines = || {
            let left_out = metrics.access_lines_left_out.clone();
            AccessLines::new(config.log.access, Arc::clone(&clock), left_out)
        };
        let trusted_proxies = TrustedProxies::new(config.server.trusted_proxies.clone());
        Ok(Self {
            front: Arc::new(Front {
                heads: Arc::new(Heads {
                    timeout: config.server.request_header_timeout,
                    max_bytes: config.server.max_header_bytes,
                    request_ids: Arc::clone(&request_ids),
                    metrics: Arc::clone(&metrics),
                    access: access_lines(),
                }),
                tls,
                proxies: config
                    .server
                    .proxy_protocol
                    .then(|| trusted_proxies.clone()),
                room: Room::new(config.server.max_connections),
                connections: metrics.connections.clone(),
                patience: config.server.idle_timeout,
            }),
            gateway: SharedGateway(Arc::new(Gateway {
                settings: Settings::from_config(config),
                routing: Arc::clone(&live.routing),
                checker,
                bearer_limit: Arc::clone(&endpoints.bearer_limit),
                endpoints,
                activity,
                trusted_proxies,
                keys: Arc::clone(&live.keys),
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
                access: access_lines(),
                request_ids,
                tracer,
            })),
            tells: Tells {
                health: Arc::clone(&health),
                metrics,
                clock,
                names: config.admin.names.clone(),
                tls: config.server.tls.is_some(),
            },
            stores,
            health,
            live,
            licence,
            grace: config.server.shutdown_grace,
            prune: config.tokens.prune.then_some(config.tokens.retention_days),
            follow_as: follow_as(config, &*entropy),
            threads: config.server.threads,
            server: proxy_settings(config),
            http2: gateway::http2_limits(config.server.max_header_bytes),
            exporter,
        })
    }

    /// Returns what can be changed while it runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }
}

/// Takes what the token check needs from the configuration.
fn check_settings(config: &Config) -> check::Settings {
    check::Settings {
        capacity: config.token_cache.capacity,
        positive_ttl: config.token_cache.positive_ttl,
        negative_ttl: config.token_cache.negative_ttl,
        untracked_ttl: config.token_cache.untracked_ttl,
        deadline: config.postgres.timeout + config.redis.timeout,
        // The rest of the pool is for logins and sessions, flood or no flood.
        lookups: config.postgres.pool_size - config.postgres.pool_size / 4,
    }
}

/// Takes what each thread's proxy needs from the configuration.
fn proxy_settings(config: &Config) -> Arc<ServerConf> {
    let threads = config.server.threads.get();
    Arc::new(ServerConf {
        // Those of one proxy, and there is one for each thread.
        threads: 1,
        upstream_keepalive_pool_size: config.upstream.keepalive.div_ceil(threads),
        ..ServerConf::default()
    })
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

/// What a configuration is turned into before anything is bound.
#[derive(Debug)]
pub struct Checked {
    routes: RouteTable,
    tls: Option<Arc<Tls>>,
}

/// Checks what a configuration says, without connecting to anything.
///
/// The route table checks its rules against the built-in rows, the files of `server.tls` are read,
/// and the addresses of stores and of the enterprise service understood.
///
/// # Errors
///
/// [`StartError::Invalid`] with every rule that opens what is guarded, every file that cannot
/// be used, and every address.
pub fn check(config: &Config) -> Result<Checked, StartError> {
    let routes = routes_of(config, config.enterprise.enabled);
    let tls = config.server.tls.as_ref().map(Tls::load).transpose();
    let mut others = stores::check(config);
    others.extend(enterprise::check(&config.enterprise).err());
    match (routes, tls) {
        (Ok(routes), Ok(tls)) if others.is_empty() => Ok(Checked {
            routes,
            tls: tls.map(Arc::new),
        }),
        (routes, tls) => {
            let mut problems = routes.err().unwrap_or_default();
            problems.extend(tls.err().unwrap_or_default());
            problems.extend(others);
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
