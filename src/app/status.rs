//! Wires what the admin listener tells.

use std::sync::Arc;

use super::Sockets;
use crate::{
    admin::{About, Admin, Listening},
    clock::Clock,
    health::Health,
    metrics::Metrics,
};

/// What it tells of.
#[derive(Debug)]
pub(super) struct Tells {
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    /// Names under which the page may be asked for (`admin.names`).
    pub(super) names: Vec<String>,
    /// Whether the public listeners speak TLS.
    pub(super) tls: bool,
}

impl Tells {
    /// Builds the listener's answers, now that the addresses are known.
    pub(super) fn of(self, sockets: &Sockets) -> Admin {
        let public = sockets.addresses().map(|address| Listening {
            listener: "gateway",
            address: address.to_string(),
            tls: self.tls,
        });
        let own = sockets.admin_address().map(|address| Listening {
            listener: "admin",
            address: address.to_string(),
            tls: false,
        });
        let about = About {
            listening: public.chain(own).collect(),
            names: self.names,
        };
        Admin::new(self.health, self.metrics, self.clock, about)
    }
}
