//! Opening connections: to which server, and how long one may keep the others waiting.
//!
//! The client library tries hosts and their addresses one after another, and bounds the TCP part of
//! each alone: a server that accepts connections and says nothing would use up the time of all of
//! them. Here each has a share of it, handshake included. Then the next one is tried beside it, and
//! whichever is ready first is taken.

use std::{io, ops::Deref, time::Duration};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tokio_postgres::Client;

use super::{
    silence::{Candidate, Silence},
    target::Target,
    tls::Connector,
};
use crate::entropy::{Entropy as _, OsEntropy};

#[cfg(test)]
mod tests;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    /// No server was ready in time.
    #[error("no connection in time")]
    TimedOut,
    /// A name leads nowhere.
    #[error("no address for the host")]
    NoAddress(#[source] io::Error),
    /// A server, or the way to it, said no.
    #[error(transparent)]
    Refused(tokio_postgres::Error),
}

/// An open connection. It ends when this is dropped, whatever the other side does.
pub(super) struct Connection {
    client: Client,
    driver: AbortHandle,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens connections for the pool.
pub(super) struct Opening {
    target: Target,
    connector: Connector,
    /// For all servers together.
    limit: Duration,
    silence: Silence,
}

impl Opening {
    /// Prepares to connect within `limit`.
    pub(super) fn new(target: Target, connector: Connector, limit: Duration) -> Self {
        Self {
            target,
            connector,
            limit,
            silence: Silence::default(),
        }
    }

    /// Connects to one server, beginning with another address of it whenever one has had its share of
    /// the time until `share_end`.
    async fn open(
        &self,
        server: usize,
        share_end: Instant,
        deadline: Instant,
    ) -> Result<Connection, Unopened> {
        let addresses = self.target.addresses(server).await;
        let addresses = addresses.map_err(Unopened::NoAddress)?.into_iter();
        let candidates = addresses.map(|address| (server, address)).collect();
        self.first(candidates, share_end, deadline, |address, _| {
            self.dial(address)
        })
        .await
    }

    async fn dial(&self, (server, address): Candidate) -> Result<Connection, Unopened> {
        let config = self.target.at(server, address);
        let connected = config.connect(self.connector.clone()).await;
        let (client, connection) = connected.map_err(Unopened::Refused)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %crate::health::Chain(&error), "a connection to postgres broke");
            }
        });
        Ok(Connection {
            client,
            driver: driver.abort_handle(),
        })
    }

    /// Tries candidates one after another, each as soon as the one before has failed or has had its
    /// share of the time until `share_end`; those begun before have until `deadline`.
    async fn first<F>(
        &self,
        candidates: Vec<Candidate>,
        share_end: Instant,
        deadline: Instant,
        attempt: impl Fn(Candidate, Instant) -> F,
    ) -> Result<Connection, Unopened>
    where
        F: Future<Output = Result<Connection, Unopened>>,
    {
        let mut under_way = FuturesUnordered::new();
        let mut failure = Unopened::TimedOut;
        let number = candidates.len();
        for (tried, candidate) in self.in_order(candidates).into_iter().enumerate() {
            let left = number - tried;
            let until = self.share(share_end, left);
            let begun = attempt(candidate, until);
            under_way.push(async move { (candidate, begun.await) });
            let until = if left == 1 { deadline } else { until };
            loop {
                match timeout_at(until, under_way.next()).await {
                    Ok(Some((ready, Ok(connection)))) => {
                        self.silence.forget(ready);
                        return Ok(connection);
                    }
                    Ok(Some((_, Err(error)))) => {
                        // What somebody said tells more than that another one said nothing.
                        if !matches!(error, Unopened::TimedOut) {
                            failure = error;
                        }
                        if left > 1 {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {
                        self.silence.note(candidate, until);
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    /// Sorts candidates as the configuration has them, or at random if it says so, and those that
    /// were silent lately to the end.
    fn in_order(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        if candidates.len() > 1 {
            if self.target.in_any_order() {
                candidates.sort_by_cached_key(|_| {
                    let mut random = [0; 8];
                    OsEntropy.fill(&mut random);
                    random
                });
            }
            let now = Instant::now();
            candidates.sort_by_cached_key(|candidate| self.silence.comes_last(*candidate, now));
        }
        candidates
    }

    /// Until when the next of `left` candidates may keep the others waiting.
    fn share(&self, share_end: Instant, left: usize) -> Instant {
        let now = Instant::now();
        let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let share = share_end.saturating_duration_since(now) / left;
        now + self.target.patience().unwrap_or(share).min(share)
    }
}

impl Manager for Opening {
    type Type = Connection;
    type Error = Unopened;

    async fn create(&self) -> Result<Connection, Unopened> {
        let deadline = Instant::now() + self.limit;
        let servers = (0..self.target.servers()).map(|server| (server, None));
        self.first(
            servers.collect(),
            deadline,
            deadline,
            |(server, _), until| self.open(server, until, deadline),
        )
        .await
    }

    /// Looks whether the connection is closed, without a round trip; what dies in between is
    /// retried once, see `PostgresLink::read_until`.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Unopened> {
        if connection.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}
