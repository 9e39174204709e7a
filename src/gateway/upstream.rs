//! Where requests go on to: resolved ahead of time, so that no request waits for DNS.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pingora::{
    Error, ErrorSource, ErrorType,
    protocols::tls::CaType,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Peer as _},
    utils::tls::WrappedX509,
};
use rustls::ClientConfig;
use tokio::{net::UnixStream, sync::Notify, time::timeout};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    config::{Config, Endpoint, RouteRule, UpstreamConfig},
    health::Dependency,
    route::Upstream,
    tls::{self, Authorities, Unusable},
};

/// How often names are resolved again and the API is tried: DNS answers change slowly, and a
/// connection a second would be noise in a small Dify's worker.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// How often that is done while the API is down or its name does not resolve.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What a request's connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether it may become a WebSocket.
    pub(super) may_upgrade: bool,
    /// Whether a kept connection has failed the request already.
    pub(super) is_second_try: bool,
}

/// One upstream.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    settings: UpstreamConfig,
    /// With what the API is tried; the same as requests are sent with.
    tls: Option<Arc<ClientConfig>>,
    /// Whom pingora believes; `None`: the authorities of the system.
    authorities: Option<Arc<CaType>>,
    peers: RwLock<Vec<HttpPeer>>,
    turn: AtomicUsize,
    second_tries: AtomicU64,
    suspect: Arc<Notify>,
    /// Kept for the API alone: `/readyz` speaks of one upstream.
    health: Option<Arc<Dependency>>,
}

impl Backend {
    fn new(
        endpoint: Endpoint,
        settings: UpstreamConfig,
        health: Option<Arc<Dependency>>,
    ) -> Result<Arc<Self>, Unusable> {
        let tls = endpoint.tls().then(|| settings.tls.config());
        let backend = Self {
            endpoint,
            tls: tls.transpose()?.map(Arc::new),
            authorities: settings.tls.authorities.as_ref().map(for_pingora),
            settings,
            peers: RwLock::default(),
            turn: AtomicUsize::new(0),
            second_tries: AtomicU64::new(0),
            suspect: Arc::default(),
            health,
        };
        match &backend.endpoint {
            Endpoint::Tcp { host, port, .. } => {
                if let Ok(address) = host.parse::<IpAddr>() {
                    backend.set_addresses(&[SocketAddr::new(address, *port)]);
                }
            }
            Endpoint::Unix(path) => backend.set_socket(path),
        }
        Ok(Arc::new(backend))
    }

    /// Returns the peer for one request, taking turns where there are several.
    ///
    /// # Errors
    ///
    /// While the name does not resolve.
    pub(super) fn peer(&self, terms: Terms) -> pingora::Result<Box<HttpPeer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let turn = match peers.len() {
            0 => {
                let mut error = Error::explain(
                    ErrorType::ConnectError,
                    "the upstream's name has not been resolved",
                );
                error.esource = ErrorSource::Upstream;
                return Err(error);
            }
            1 => 0,
            several => self.turn.fetch_add(1, Ordering::Relaxed) % several,
        };
        let mut peer = Box::new(peers[turn].clone());
        if !terms.may_upgrade {
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        }
        if terms.is_second_try {
            // Under a key of its own none is kept, and none is kept afterwards.
            peer.group_key = 1 + self.second_tries.fetch_add(1, Ordering::Relaxed);
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        Ok(peer)
    }

    /// Returns where it is, by its name.
    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns how many addresses there are to try.
    pub(super) fn addresses(&self) -> usize {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Asks for the next probe at once: a request has met a failure.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Resolves the name and tries to connect; the outcome is in the dependency's health.
    pub async fn refresh(&self) -> bool {
        let outcome = self.try_refresh().await;
        if let Some(health) = &self.health {
            match &outcome {
                Ok(()) => health.up(),
                Err(error) => health.down(error),
            }
        }
        outcome.is_ok()
    }

    /// Refreshes for as long as there is a rule or a request that needs it.
    pub async fn keep_fresh(needed: Weak<Self>) {
        while let Some(backend) = needed.upgrade() {
            let interval = if backend.refresh().await {
                REFRESH_INTERVAL
            } else {
                RETRY_INTERVAL
            };
            let suspect = Arc::clone(&backend.suspect);
            drop(backend);
            let _ = timeout(interval, suspect.notified()).await;
        }
    }

    async fn try_refresh(&self) -> io::Result<()> {
        let limit = self.settings.connect_timeout;
        if let Endpoint::Tcp { host, port, .. } = &self.endpoint
            && host.parse::<IpAddr>().is_err()
        {
            let resolved =
                timeout(limit, tokio::net::lookup_host((host.as_str(), *port))).await??;
            let addresses: Vec<SocketAddr> = resolved.collect();
            self.set_addresses(&addresses);
        }
        if self.health.is_some() {
            let reached = reach(&self.endpoint, self.tls.clone());
            timeout(limit, reached).await??;
        }
        Ok(())
    }

    fn set_addresses(&self, addresses: &[SocketAddr]) {
        let peers = addresses.iter().map(|address| self.peer_at(*address));
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers.collect();
    }

    /// The one address of a Unix socket, known from the start.
    fn set_socket(&self, path: &Path) {
        let peer = HttpPeer::new_uds(&path.to_string_lossy(), false, String::new());
        match peer {
            Ok(peer) => {
                let peers = vec![self.with_settings(peer)];
                *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
            }
            // The configuration has seen to the only reason, a path that is too long.
            Err(error) => tracing::error!(%error, "the upstream's Unix socket cannot be used"),
        }
    }

    fn peer_at(&self, address: SocketAddr) -> HttpPeer {
        // pingora skips verification when the name is empty; a host never is.
        let name = match &self.endpoint {
            Endpoint::Tcp { host, .. } => host.clone(),
            Endpoint::Unix(_) => String::new(),
        };
        self.with_settings(HttpPeer::new(address, self.endpoint.tls(), name))
    }

    fn with_settings(&self, mut peer: HttpPeer) -> HttpPeer {
        let settings = &self.settings;
        if let Some(options) = peer.get_mut_peer_options() {
            options.connection_timeout = Some(settings.connect_timeout);
            options.total_connection_timeout = Some(settings.connect_timeout);
            options.read_timeout = Some(settings.read_timeout);
            options.write_timeout = Some(settings.read_timeout);
            options.idle_timeout = Some(settings.idle_timeout);
            options.ca.clone_from(&self.authorities);
        }
        peer
    }
}

/// Connects to an upstream, with TLS where `tls` is given, and sends it nothing.
///
/// # Errors
///
/// When it cannot be reached, or not believed.
pub async fn reach(endpoint: &Endpoint, tls: Option<Arc<ClientConfig>>) -> io::Result<()> {
    match endpoint {
        Endpoint::Tcp { host, port, .. } => tls::reach(host, *port, tls).await,
        Endpoint::Unix(path) => UnixStream::connect(path).await.map(drop),
    }
}

/// Returns authorities in pingora's own form; those that it cannot read are left out, and then
/// vouch for nobody.
fn for_pingora(authorities: &Authorities) -> Arc<CaType> {
    let certificates = authorities.certificates().iter();
    let parsed = certificates.filter_map(|certificate| {
        let der = certificate.to_vec();
        WrappedX509::try_new(der, |der| {
            X509Certificate::from_der(der).map(|(_, parsed)| parsed)
        })
        .ok()
    });
    parsed.collect()
}

/// Every upstream there is.
#[derive(Debug)]
pub struct Backends {
    api: Arc<Backend>,
    web: Arc<Backend>,
    others: HashMap<Endpoint, Arc<Backend>>,
}

impl Backends {
    /// Builds what the configuration names.
    ///
    /// # Errors
    ///
    /// When an upstream is to be verified and the system has no authorities.
    pub fn from_config(config: &Config, health: Arc<Dependency>) -> Result<Self, Unusable> {
        let settings = &config.upstream;
        let api = Backend::new(settings.url.clone(), settings.clone(), Some(health))?;
        let web = match &settings.web_url {
            Some(url) => Backend::new(url.clone(), settings.clone(), None)?,
            None => Arc::clone(&api),
        };
        let none_yet = Self {
            api,
            web,
            others: HashMap::new(),
        };
        none_yet.next(&config.routes)
    }

    /// Builds what other rules name, with the settings of before; what was there stays.
    pub(super) fn next(&self, rules: &[RouteRule]) -> Result<Self, Unusable> {
        let mut others = HashMap::new();
        for rule in rules {
            let Upstream::Other(endpoint) = Upstream::from(&rule.upstream) else {
                continue;
            };
            if others.contains_key(&endpoint) {
                continue;
            }
            let backend = match self.others.get(&endpoint) {
                Some(known) => Arc::clone(known),
                None => Backend::new(endpoint.clone(), self.api.settings.clone(), None)?,
            };
            others.insert(endpoint, backend);
        }
        Ok(Self {
            api: Arc::clone(&self.api),
            web: Arc::clone(&self.web),
            others,
        })
    }

    /// Returns the upstream that a rule names.
    pub(super) fn of(&self, upstream: &Upstream) -> &Arc<Backend> {
        match upstream {
            Upstream::Api => &self.api,
            Upstream::Web => &self.web,
            Upstream::Other(endpoint) => self.others.get(endpoint).unwrap_or(&self.api),
        }
    }

    /// Returns all of them, each once.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let web = (!Arc::ptr_eq(&self.web, &self.api)).then_some(&self.web);
        std::iter::once(&self.api)
            .chain(web)
            .chain(self.others.values())
    }
}
