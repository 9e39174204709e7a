//! What a running gateway takes from a configuration that is read again.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{FIRST_CONTACT, StartError, keys_of, nobody_vouches, routes_of};
use crate::{
    config::{Config, Loaded, RateLimitsConfig, Spelling},
    current::Current,
    gateway::{Backend, Routing},
    jws::Keys,
    listener::Tls,
    telemetry::LogLevels,
};

/// The parts of a running gateway that change at once, all requests under way undisturbed
/// (`contract/config.md`, `SIGHUP`).
#[derive(Clone, Debug)]
pub struct Live {
    /// The keys of envelopes and console cookies.
    pub(super) keys: Arc<Current<Keys>>,
    /// The rules and the upstreams that they name.
    pub(super) routing: Arc<Current<Routing>>,
    /// Whether the enterprise branch is there, which no reload changes.
    enterprise: bool,
    /// The limits.
    pub(super) limits: Arc<Current<RateLimitsConfig>>,
    /// Who may begin a login.
    pub(super) known_client_ids: Arc<Current<Vec<String>>>,
    /// Certificate, key and client authorities, where the listeners speak TLS.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Live {
    /// Puts a start's configuration in force.
    pub(super) fn new(
        config: &Config,
        routing: Routing,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            keys: Current::new(keys_of(config)?),
            routing: Current::new(routing),
            enterprise: config.enterprise.enabled,
            limits: Current::new(config.rate_limits.clone()),
            known_client_ids: Current::new(config.device_flow.known_client_ids.clone()),
            tls,
        })
    }

    /// Puts another configuration in force, as far as that goes without a restart; the keys that
    /// need one are named in the log. `started` is how the keys were spelt at the start.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself; nothing has changed then.
    pub async fn apply(
        &self,
        loaded: &Loaded,
        started: &Spelling,
        levels: &LogLevels,
    ) -> Result<(), StartError> {
        let config = &loaded.config;
        let placed = |error: StartError| error.placed(&loaded.origins);
        // What would not do at the next start will not do now.
        super::check(config).map_err(placed)?;
        let table = routes_of(config, self.enterprise).map_err(StartError::Invalid)?;
        let before = self.routing.get();
        let routing = before.next(table, &config.routes);
        let routing = routing.map_err(|error| placed(nobody_vouches(&error)))?;
        let new_backends = routing.new_backends(&before);
        let keys = keys_of(config)?;
        // No request waits for a name to be resolved, so that comes first.
        contact(&new_backends).await;
        match (&self.tls, &config.server.tls) {
            // The files may have changed under the same names.
            (Some(tls), Some(files)) => tls.reload(files).map_err(StartError::Invalid)?,
            (None, None) => {}
            _ => tracing::warn!(
                key = "server.tls",
                "TLS has been turned on or off, which takes a restart"
            ),
        }
        // Nothing below can fail.
        let active_kid = Arc::clone(keys.envelopes.active_kid());
        self.keys.replace(keys);
        self.routing.replace(routing);
        for backend in new_backends {
            tokio::spawn(Backend::keep_fresh(Arc::downgrade(&backend)));
        }
        self.limits.replace(config.rate_limits.clone());
        let known = config.device_flow.known_client_ids.clone();
        self.known_client_ids.replace(known);
        levels.set(&config.log);
        for key in started.needs_restart(&loaded.spelling) {
            tracing::warn!(key, "this key has changed, which takes a restart");
        }
        tracing::info!(%active_kid, "the configuration was read again and is in force");
        Ok(())
    }
}

/// Gives upstreams the time of a start to be found.
async fn contact(backends: &[Arc<Backend>]) {
    let mut contacts = JoinSet::new();
    for backend in backends {
        let backend = Arc::clone(backend);
        contacts.spawn(async move { backend.refresh().await });
    }
    let _ = tokio::time::timeout(FIRST_CONTACT, contacts.join_all()).await;
}
