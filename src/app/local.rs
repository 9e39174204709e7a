//! Wires what the gateway answers by itself.

use std::{sync::Arc, time::Duration};

use super::{Live, Stores, enterprise::Enterprise};
use crate::{
    activity::Activity,
    check::TokenChecker,
    clock::Clock,
    complaints::Complaints,
    config::Config,
    console::Console,
    device::DeviceFlow,
    endpoints::{DevicePage, Endpoints, Settings},
    entropy::Entropy,
    metrics::Metrics,
    mint::Mint,
    rate_limit::{RateLimiter, bearer::BearerLimiter},
    sso::Sso,
};

/// What `tokens.ttl_days` counts.
const DAY: Duration = Duration::from_secs(86_400);

/// Where time and randomness come in, and what is counted and noted.
pub(super) struct Edge<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) entropy: &'a Arc<dyn Entropy>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) activity: &'a Arc<Activity>,
    pub(super) live: &'a Live,
}

/// Wires what the gateway answers by itself.
pub(super) fn endpoints(
    config: &Config,
    stores: &Stores,
    checker: &Arc<TokenChecker>,
    edge: &Edge<'_>,
    enterprise: Option<Enterprise>,
) -> Endpoints {
    let Edge {
        clock,
        entropy,
        metrics,
        activity,
        live,
    } = edge;
    let mint = Arc::new(Mint {
        sessions: Arc::clone(&stores.sessions),
        checker: Arc::clone(checker),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        life: DAY * u32::from(config.tokens.ttl_days),
    });
    let limiter = RateLimiter::new(
        Arc::clone(&stores.windows),
        Arc::clone(entropy),
        Arc::clone(&live.limits),
    );
    let device = Arc::new(DeviceFlow {
        flows: Arc::clone(&stores.flows),
        mint: Arc::clone(&mint),
        limiter: limiter.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        metrics: Arc::clone(metrics),
        complaints: Complaints::default(),
        known_client_ids: Arc::clone(&live.known_client_ids),
    });
    let sso = enterprise.map(|enterprise| Sso {
        device: Arc::clone(&device),
        directory: Arc::clone(&stores.directory),
        nonces: Arc::clone(&stores.nonces),
        enterprise: enterprise.client,
        licence: enterprise.licence,
        keys: Arc::clone(&live.keys),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        issuer: config
            .dify
            .console_api_url
            .as_ref()
            .map_or_else(String::new, |url| {
                url.as_str().trim_end_matches('/').to_owned()
            }),
    });
    Endpoints {
        settings: Settings::from_config(config),
        device: Arc::clone(&device),
        sso,
        console: Console::new(
            Arc::clone(&stores.directory),
            Arc::clone(clock),
            Arc::clone(&live.keys),
            config.dify.edition,
        ),
        limiter,
        mint,
        directory: Arc::clone(&stores.directory),
        checker: Arc::clone(checker),
        bearer_limit: Arc::new(BearerLimiter::new(
            Arc::clone(&stores.windows),
            Arc::clone(clock),
            Arc::clone(metrics),
            Arc::clone(&live.limits),
            // As many tokens as are cached.
            config.token_cache.capacity,
        )),
        activity: Arc::clone(activity),
        page: DevicePage::from_binary(),
    }
}
