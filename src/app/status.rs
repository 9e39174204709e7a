//! Wires what the admin listener tells.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{
    admin::{About, Admin, Listening},
    clock::Clock,
    config::Config,
    health::Health,
    listener::Listener,
    metrics::Metrics,
};

/// Builds it from what it tells of and the addresses that were bound.
pub(super) fn admin(
    config: &Config,
    told: (&Arc<Health>, &Arc<Metrics>, &Arc<dyn Clock>),
    public: &[Listener],
    own: &TcpListener,
) -> Admin {
    let public = public.iter().map(|listener| Listening {
        listener: "gateway",
        address: listener.address().to_string(),
        tls: config.server.tls.is_some(),
    });
    let own = own.local_addr().ok().map(|address| Listening {
        listener: "admin",
        address: address.to_string(),
        tls: false,
    });
    let about = About {
        listening: public.chain(own).collect(),
        names: config.admin.names.clone(),
    };
    let (health, metrics, clock) = told;
    Admin::new(
        Arc::clone(health),
        Arc::clone(metrics),
        Arc::clone(clock),
        about,
    )
}
