//! Wires what the gateway answers by itself.

use std::{sync::Arc, time::Duration};

use super::Stores;
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
    jws::ConsoleKey,
    metrics::Metrics,
    mint::Mint,
    rate_limit::RateLimiter,
};

/// What `tokens.ttl_days` counts.
const DAY: Duration = Duration::from_secs(86_400);

/// Where time and randomness come in, and what is counted and noted.
pub(super) struct Edge<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) entropy: &'a Arc<dyn Entropy>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) activity: &'a Arc<Activity>,
}

/// Wires what the gateway answers by itself.
pub(super) fn endpoints(
    config: &Config,
    stores: &Stores,
    checker: &Arc<TokenChecker>,
    edge: &Edge<'_>,
) -> Endpoints {
    let Edge {
        clock,
        entropy,
        metrics,
        activity,
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
        config.rate_limits.clone(),
    );
    Endpoints {
        settings: Settings::from_config(config),
        device: DeviceFlow {
            flows: Arc::clone(&stores.flows),
            mint: Arc::clone(&mint),
            limiter: limiter.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            metrics: Arc::clone(metrics),
            complaints: Complaints::default(),
            known_client_ids: config.device_flow.known_client_ids.clone(),
        },
        console: Console::new(
            Arc::clone(&stores.directory),
            Arc::clone(clock),
            ConsoleKey::new(&config.dify.secret_key),
            config.dify.edition,
        ),
        limiter,
        mint,
        directory: Arc::clone(&stores.directory),
        checker: Arc::clone(checker),
        activity: Arc::clone(activity),
        page: DevicePage::from_binary(),
    }
}
