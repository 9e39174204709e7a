//! One of a world's gateways, with a relay on each of its five sides.

use std::net::SocketAddr;

use tokio::sync::Mutex;

use crate::{
    operator::{Operator, Parts},
    schedule::Pair,
    support::{Relay, free_port},
};

/// A gateway, whichever process it is at the moment, and what is around it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) operator: Mutex<Operator>,
    relays: [Relay; 5],
}

/// What is behind all gateways of a world.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) upstream: SocketAddr,
    pub(crate) postgres: SocketAddr,
    pub(crate) database: String,
    pub(crate) redis: SocketAddr,
    pub(crate) prefix: String,
    pub(crate) enterprise: SocketAddr,
}

impl Replica {
    /// Starts a gateway before all of this.
    pub(crate) async fn start(behind: &Behind) -> Self {
        // The same after it has been killed; no outgoing connection may take it meanwhile.
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (to_gateway, to_upstream, to_redis, to_postgres, to_enterprise) = tokio::join!(
            Relay::to(listen),
            Relay::to(behind.upstream),
            Relay::to(behind.redis),
            Relay::to(behind.postgres),
            Relay::to(behind.enterprise)
        );
        let operator = Operator::start(Parts {
            listen,
            upstream: to_upstream.local_addr(),
            postgres: to_postgres.local_addr(),
            database: behind.database.clone(),
            redis: to_redis.local_addr(),
            prefix: behind.prefix.clone(),
            enterprise: to_enterprise.local_addr(),
            dir: tempfile::tempdir().unwrap(),
        })
        .await;
        Self {
            operator: Mutex::new(operator),
            relays: [
                to_gateway,
                to_upstream,
                to_redis,
                to_postgres,
                to_enterprise,
            ],
        }
    }

    /// Returns where clients find it.
    pub(crate) fn front(&self) -> SocketAddr {
        self.relay(Pair::ClientGateway).local_addr()
    }

    /// Returns the relay between two that talk to each other.
    pub(crate) fn relay(&self, pair: Pair) -> &Relay {
        let at = Pair::ALL.iter().position(|one| *one == pair);
        &self.relays[at.unwrap()]
    }
}
