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

use crate::http::client_ip::TrustedProxies;

use super::{
    Connection, HeadPolicy, Tls,
    http2::Http2Connection,
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

    /// Waits until there is room for one more, which lasts as long as the permit.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if self.free.available_permits() == 0 && !self.is_full.swap(true, Ordering::Relaxed) {
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
    /// How long a client may leave what it is sent unread (`server.idle_timeout`).
    pub patience: Duration,
}

impl Front {
    /// Makes a connection of a socket.
    ///
    /// # Errors
    ///
    /// The operating system's or rustls's, and [`io::ErrorKind::TimedOut`] when the deadline has
    /// passed.
    pub(super) async fn open(&self, mut socket: Socket, peer: SocketAddr) -> io::Result<Stream> {
        let opening = async {
            socket.set_nodelay()?;
            let peer = match &self.proxies {
                None => peer,
                Some(proxies) if proxies.contains(peer.ip()) => {
                    let said = proxy_protocol::read_header(&mut socket).await?;
                    said.unwrap_or(peer)
                }
                Some(_) => {
                    let why = "with server.proxy_protocol, only server.trusted_proxies connect";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
            };
            let carrier = match &self.tls {
                Some(tls) => Carrier::Tls(Box::new(tls.acceptor().accept(socket).await?)),
                None => Carrier::Plain(socket),
            };
            Ok::<_, io::Error>(Transport::new(carrier, peer, self.patience))
        };
        let deadline = self.heads.timeout();
        let transport = tokio::time::timeout(deadline, opening).await??;
        let stream: Stream = if transport.speaks_http2() {
            Box::new(Http2Connection::new(transport, deadline))
        } else {
            Box::new(Connection::new(transport, Arc::clone(&self.heads)))
        };
        Ok(stream)
    }
}
