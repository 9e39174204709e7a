//! What a running gateway takes from a configuration that is read again.

use std::sync::Arc;

use super::{StartError, check_routes, keys_of};
use crate::{
    config::{Config, Loaded, RateLimitsConfig, Spelling},
    current::Current,
    jws::Keys,
    telemetry::LogLevels,
};

/// The parts of a running gateway that change at once, all requests under way undisturbed
/// (`contract/config.md`, `SIGHUP`).
#[derive(Clone, Debug)]
pub struct Live {
    /// The keys of envelopes and console cookies.
    pub(super) keys: Arc<Current<Keys>>,
    /// The limits.
    pub(super) limits: Arc<Current<RateLimitsConfig>>,
    /// Who may begin a login.
    pub(super) known_client_ids: Arc<Current<Vec<String>>>,
}

impl Live {
    /// Puts a start's configuration in force.
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            keys: Current::new(keys_of(config)?),
            limits: Current::new(config.rate_limits.clone()),
            known_client_ids: Current::new(config.device_flow.known_client_ids.clone()),
        })
    }

    /// Puts another configuration in force, as far as that goes without a restart; the keys that
    /// need one are named in the log. `started` is how the keys were spelt at the start.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself; nothing has changed then.
    pub fn apply(
        &self,
        loaded: &Loaded,
        started: &Spelling,
        levels: &LogLevels,
    ) -> Result<(), StartError> {
        let config = &loaded.config;
        check_routes(config)?;
        let keys = keys_of(config)?;
        // Nothing below can fail.
        let active_kid = Arc::clone(keys.envelopes.active_kid());
        self.keys.replace(keys);
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
