//! What a link talks to: one server, the one that sentinels name, or a cluster that answers like
//! one.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, ProtocolVersion,
    RedisError, RedisFuture, RedisResult, Value,
    aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};

use super::{address::Dialling, sentinels::Sentinels};
use crate::config::RedisConfig;

/// How often the cluster's client tries a command again, elsewhere or later: a slot that moves
/// takes two or three goes. What does not work out within `redis.timeout` has failed anyway.
const CLUSTER_RETRIES: u32 = 4;

/// Least and longest pause before such a retry, in milliseconds. The client's own are seconds.
const CLUSTER_RETRY_PAUSE: (u64, u64) = (5, 25);

/// Parts of the time for connecting that one node of a cluster gets: those given are tried
/// together, then those that they name, and a silent one must not use up the time of the others.
const CLUSTER_CONNECT_SHARE: u32 = 3;

/// Where to connect to.
pub(super) enum Endpoint {
    /// One server.
    Server(Box<Client>),
    /// The master that sentinels name.
    Sentinel(Box<Sentinels>),
    /// The nodes of a cluster that are asked for the others.
    Cluster {
        client: Box<ClusterClient>,
        /// How to connect to single nodes.
        dialling: Box<Dialling>,
    },
}

impl Endpoint {
    /// Understands the settings; nothing is connected yet.
    pub(super) fn new(config: &RedisConfig, connect_timeout: Duration) -> RedisResult<Self> {
        let dialling = Dialling::new(config)?;
        if let Some(service_name) = &config.service_name {
            let sentinels = Sentinels::new(config, service_name, &dialling)?;
            return Ok(Self::Sentinel(Box::new(sentinels)));
        }
        if config.cluster_nodes.is_empty() {
            return Ok(Self::Server(Box::new(Client::open(dialling.target())?)));
        }
        let nodes = config
            .cluster_nodes
            .iter()
            .map(|node| dialling.node(&node.host, node.port));
        let (shortest, longest) = CLUSTER_RETRY_PAUSE;
        let mut builder = ClusterClient::builder(nodes.collect::<RedisResult<Vec<_>>>()?)
            .tcp_settings(dialling.tcp_settings().clone())
            .connection_timeout(connect_timeout / CLUSTER_CONNECT_SHARE)
            .response_timeout(config.timeout)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(shortest)
            .max_retry_wait(longest);
        if let Some(certificates) = dialling.certificates() {
            // For the nodes that the given ones name.
            builder = builder.certs(certificates.clone());
        }
        Ok(Self::Cluster {
            client: Box::new(builder.build()?),
            dialling: Box::new(dialling),
        })
    }

    /// Connects; the caller bounds the time.
    pub(super) async fn connect(
        &self,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> RedisResult<Connection> {
        if let Self::Cluster { client, .. } = self {
            let connection = client.get_async_connection().await?;
            let mut connection = Connection::Cluster(connection);
            // The client is content with one node. What follows needs all of them, and the
            // link would go up and down while one is away.
            connection.ping().await?;
            return Ok(connection);
        }
        let Some(client) = self.server().await? else {
            return Err(no_single_server());
        };
        let settings = settings(connect_timeout, response_timeout);
        let connecting = client.get_multiplexed_async_connection_with_config(&settings);
        connecting.await.map(Connection::Server)
    }

    /// Connects for pushes alone, which go to `receiver`: to one server, or to a `node` of a
    /// cluster. The caller bounds the time.
    pub(super) async fn connect_for_pushes(
        &self,
        node: Option<&ConnectionInfo>,
        connect_timeout: Duration,
        response_timeout: Duration,
        receiver: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let info = match (node, self.server().await?) {
            (Some(node), _) => node.clone(),
            (None, Some(client)) => client.get_connection_info().clone(),
            (None, None) => return Err(no_single_server()),
        };
        let protocol = info.redis_settings().clone();
        let protocol = protocol.set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(protocol))?;
        let settings = settings(connect_timeout, response_timeout).set_push_sender(receiver);
        client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
    }

    /// Tells whether this is one server at a time, whose every key is in one place.
    pub(super) const fn is_single(&self) -> bool {
        !matches!(self, Self::Cluster { .. })
    }

    /// Returns how to connect to the single nodes of a cluster.
    pub(super) fn nodes(&self) -> Option<&Dialling> {
        match self {
            Self::Cluster { dialling, .. } => Some(dialling),
            Self::Server(_) | Self::Sentinel(_) => None,
        }
    }

    /// Returns the address of the master that the sentinels name at present, where there are any.
    pub(super) async fn master(&self) -> RedisResult<Option<String>> {
        match self {
            Self::Sentinel(_) => Ok(self
                .server()
                .await?
                .map(|client| client.get_connection_info().addr().to_string())),
            Self::Server(_) | Self::Cluster { .. } => Ok(None),
        }
    }

    /// Returns the one server that has every key; there is none in a cluster.
    async fn server(&self) -> RedisResult<Option<Client>> {
        match self {
            Self::Server(client) => Ok(Some((**client).clone())),
            Self::Sentinel(sentinels) => sentinels.master().await.map(Some),
            Self::Cluster { .. } => Ok(None),
        }
    }
}

fn settings(connect_timeout: Duration, response_timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_timeout))
        .set_response_timeout(Some(response_timeout))
}

fn no_single_server() -> RedisError {
    RedisError::from((
        ErrorKind::InvalidClientConfig,
        "a cluster has no single server",
    ))
}

/// One connection that all commands share, or one to each node of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Server(MultiplexedConnection),
    /// To the nodes of a cluster; a command goes to the one that has its key.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Asks for a sign of life. In a cluster every primary must give one: one that is silent
    /// would cost each of its keys a timeout, and only a new connection learns of a successor.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        redis::cmd("PING").query_async(self).await
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
