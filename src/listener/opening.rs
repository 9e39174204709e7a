//! From an accepted socket to a connection that pingora can be given.
//!
//! All of it happens in the connection's own task and within one deadline, so that a client that
//! says nothing holds nobody up and is soon gone.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use pingora::protocols::Stream;
use tokio::net::TcpStream;

use crate::http::client_ip::TrustedProxies;

use super::{
    Connection, HeadPolicy, Tls,
    http2::Http2Connection,
    proxy_protocol,
    transport::{Carrier, Transport},
};

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
    pub(super) async fn open(&self, mut socket: TcpStream, peer: SocketAddr) -> io::Result<Stream> {
        let opening = async {
            socket.set_nodelay(true)?;
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
