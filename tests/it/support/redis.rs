//! Redis for tests: one private server per run, one key prefix per test.

mod cluster;
mod sentinel;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig};
use uuid::Uuid;

pub(crate) use self::cluster::DedicatedCluster;
pub(crate) use self::sentinel::{DedicatedSentinels, SERVICE};
use self::server::Server;
use crate::support::certificates::{Authority, Issued};
use crate::support::patience::patience;

/// Values exactly as Dify writes them, by name.
pub(crate) fn redis_fixture(name: &str) -> String {
    let text = include_str!("../fixtures/redis_values.json");
    let values: serde_json::Value = serde_json::from_str(text).unwrap();
    values[name]
        .as_str()
        .unwrap_or_else(|| panic!("no Redis fixture {name}"))
        .to_owned()
}

/// A key prefix that no other test uses, on some server.
#[derive(Debug, Clone)]
pub(crate) struct RedisSpace {
    server: Arc<Server>,
    prefix: String,
}

impl RedisSpace {
    /// A fresh prefix on the server that all tests share.
    pub(crate) async fn create() -> Self {
        let server = tokio::task::spawn_blocking(Server::shared).await.unwrap();
        Self::on(server)
    }

    fn on(server: Arc<Server>) -> Self {
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        Self { server, prefix }
    }

    /// The host that the server listens on.
    pub(crate) fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// Host and port, for a relay.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// A connection URL; the prefix is no part of it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.addr())
    }

    /// The key prefix, without the colon.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name of a key.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix)
    }

    /// A new connection.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience(5.0)))
            .set_response_timeout(Some(patience(5.0)));
        redis::Client::open(self.url())
            .unwrap()
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap()
    }

    /// The value of a key under the prefix.
    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        self.connection().await.get(self.key(key)).await.unwrap()
    }

    /// Sets a key under the prefix, with a lifetime.
    pub(crate) async fn set_ex(&self, key: &str, value: &str, seconds: u64) {
        let mut connection = self.connection().await;
        let () = connection
            .set_ex(self.key(key), value, seconds)
            .await
            .unwrap();
    }

    /// Deletes a key under the prefix; whether it was there.
    pub(crate) async fn del(&self, key: &str) -> bool {
        self.connection().await.del(self.key(key)).await.unwrap()
    }

    /// Seconds that a key under the prefix has to live: -1 is for ever, -2 is no such key.
    pub(crate) async fn ttl(&self, key: &str) -> i64 {
        self.connection().await.ttl(self.key(key)).await.unwrap()
    }

    /// The keys under the prefix, without it, sorted; without those that gateways prove their
    /// tracking with.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut connection = self.connection().await;
        let mut found = connection
            .scan_match::<_, String>(self.key("*"))
            .await
            .unwrap();
        let mut keys = Vec::new();
        while let Some(key) = found.next_item().await {
            keys.push(key.unwrap()[self.prefix.len() + 1..].to_owned());
        }
        keys.retain(|key| !key.starts_with("auth:token:proof-of-"));
        keys.sort();
        // SCAN may return a key more than once.
        keys.dedup();
        keys
    }

    /// How many keys there are under the prefix.
    pub(crate) async fn count_keys(&self) -> usize {
        self.keys().await.len()
    }
}

/// A server of one test's own, to be stopped and frozen at will. It loses everything on stop.
#[derive(Debug)]
pub(crate) struct DedicatedRedis {
    space: RedisSpace,
}

impl DedicatedRedis {
    /// Starts an empty server.
    pub(crate) async fn start() -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
        Self {
            space: RedisSpace::on(Arc::new(server)),
        }
    }

    /// Starts an empty server that speaks TLS as well, with this certificate.
    pub(crate) async fn start_tls(authority: &Authority, issued: &Issued) -> Self {
        let server = tokio::task::block_in_place(|| Server::start_tls(authority, issued));
        Self {
            space: RedisSpace::on(Arc::new(server)),
        }
    }

    /// The port on which TLS is spoken.
    pub(crate) fn tls_port(&self) -> u16 {
        self.space.server.tls_port().expect("started with TLS")
    }

    /// A key prefix on this server.
    pub(crate) fn space(&self) -> &RedisSpace {
        &self.space
    }

    /// Host and port, the same over restarts.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.space.addr()
    }

    /// Its process id, unless it is being started or stopped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.space.server.pid()
    }

    /// Kills the server: open connections are closed.
    pub(crate) fn stop(&self) {
        self.space.server.order("stop");
    }

    /// Starts the server again, empty (stopping it first when it runs), on the same port.
    pub(crate) async fn restart(&self) {
        let server = Arc::clone(&self.space.server);
        tokio::task::spawn_blocking(move || server.restart())
            .await
            .unwrap();
    }

    /// Stops the process in its tracks: connections stay open and silent.
    pub(crate) fn freeze(&self) {
        self.space.server.order("freeze");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.space.server.order("thaw");
    }
}
