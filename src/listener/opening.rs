//! From an accepted socket to a connection that pingora can be given.
//!
//! All of it happens in the connection's own task and within one deadline, so that a client that
//! says nothing holds nobody up and is soon gone.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pingora::protocols::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    http::client_ip::TrustedProxies,
    metrics::{ConnectionFailure as Failure, ConnectionMetrics, OpenConnection, Protocol},
};

use super::{
    Connection, HeadPolicy, Tls,
    http2::Http2Connection,
    linger::Remains,
    proxy_protocol,
    socket::Socket,
    transport::{Carrier, Transport},
};

/// Room for connections (`server.max_connections`).
#[derive(Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    /// Whether the log has been told that there is none.
    is_full: AtomicBool,
}

impl Room {
    /// Makes room for so many.
    pub fn new(connections: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections)),
            is_full: AtomicBool::new(false),
        }
    }

    /// Tells whether a further connection has to wait.
    fn has_none(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// Waits until there is room for one more, which lasts as long as the permit.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if self.has_none() && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!("server.max_connections is reached: further clients wait");
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        if self.free.available_permits() > 0 {
            self.is_full.store(false, Ordering::Relaxed);
        }
        permit
    }
}

/// How connections of the public listeners begin.
#[derive(Debug)]
pub struct Front {
    /// What becomes of header sections; its deadline is the one of the beginning, too.
    pub heads: Arc<dyn HeadPolicy>,
    /// TLS, unless the listeners speak in plain text.
    pub tls: Option<Arc<Tls>>,
    /// The proxies whose PROXY header every connection has to begin with, where
    /// `server.proxy_protocol` says so.
    pub proxies: Option<TrustedProxies>,
    /// How many connections there may be at a time, and whether there are that many.
    pub room: Room,
    /// What is counted about them.
    pub connections: ConnectionMetrics,
    /// How long a client may leave what it is sent unread (`server.idle_timeout`).
    pub patience: Duration,
}

impl Front {
    /// Waits until there is room for one more connection, which lasts as long as the permit.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if self.room.has_none() {
            self.connections.waited.inc();
        }
        self.room.enter().await
    }

    /// Makes a connection of a socket; what remains of it afterwards, if that is to be seen to.
    ///
    /// # Errors
    ///
    /// The operating system's or rustls's, and [`io::ErrorKind::TimedOut`] when the deadline has
    /// passed.
    pub(super) async fn open(
        &self,
        mut socket: Socket,
        peer: SocketAddr,
        counted: &mut OpenConnection,
    ) -> io::Result<(Stream, Option<Remains>)> {
        let failed = |reason| self.connections.failed(reason);
        let opening = async {
            socket.set_nodelay()?;
            let peer = match &self.proxies {
                None => peer,
                Some(proxies) if proxies.contains(peer.ip()) => {
                    let said = proxy_protocol::read_header(&mut socket).await;
                    let said = said.inspect_err(|_| failed(Failure::ProxyHeader))?;
                    said.unwrap_or(peer)
                }
                Some(_) => {
                    failed(Failure::Stranger);
                    let why = "with server.proxy_protocol, only server.trusted_proxies connect";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
            };
            let carrier = match &self.tls {
                Some(tls) => {
                    let accepted = tls.acceptor().accept(socket).await;
                    let accepted = accepted.inspect_err(|_| failed(Failure::Tls))?;
                    Carrier::Tls(Box::new(accepted))
                }
                None => Carrier::Plain(socket),
            };
            Ok::<_, io::Error>(Transport::new(carrier, peer, self.patience))
        };
        let deadline = self.heads.timeout();
        let opened = tokio::time::timeout(deadline, opening).await;
        let transport = opened.inspect_err(|_| failed(Failure::Deadline))??;
        if transport.speaks_http2() {
            counted.speaks(Protocol::Http2);
            let connection = Http2Connection::new(transport, deadline);
            return Ok((Box::new(connection), None));
        }
        counted.speaks(Protocol::Http1);
        let (connection, remains) = Connection::new(transport, Arc::clone(&self.heads));
        Ok((Box::new(connection), Some(remains)))
    }
}
