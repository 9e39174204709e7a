//! What else the gateways have to do.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::client::Client;

/// Connections that share a gateway's load.
const CONNECTIONS: u32 = 8;

/// Sends so many requests per second to each gateway, until dropped. Every answer must be 200.
pub(crate) fn on(gateways: &[SocketAddr], token: &str, per_second: usize) -> JoinSet<()> {
    let mut load = JoinSet::new();
    let per_second = u32::try_from(per_second).unwrap().max(1);
    for gateway in gateways.iter().copied() {
        for _ in 0..CONNECTIONS {
            let token = token.to_owned();
            load.spawn_local(async move {
                let mut client = Client::new(gateway, &token).await;
                let mut due = interval(Duration::from_secs(1) * CONNECTIONS / per_second);
                due.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    due.tick().await;
                    let answer = client.ask().await;
                    assert_eq!(answer.status, 200, "a live token beside the revocations");
                }
            });
        }
    }
    load
}
