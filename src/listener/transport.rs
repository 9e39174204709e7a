//! The bytes of a connection: over a socket, with or without TLS, and never stuck for good.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pingora::protocols::{SocketDigest, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::{Neighbours, socket::Socket};

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(Socket),
    /// Boxed: a TLS session is ten times the size of a socket.
    Tls(Box<TlsStream<Socket>>),
    /// Nothing any more.
    Gone,
}

impl Carrier {
    /// Sends no more, and over TLS says so before (RFC 8446 section 6.1); the socket, which what comes
    /// in can be read from as it is.
    ///
    /// # Errors
    ///
    /// The operating system's, most often that the client is gone.
    pub(super) async fn finish(self) -> io::Result<Socket> {
        match self {
            Self::Plain(mut socket) => {
                socket.shutdown().await?;
                Ok(socket)
            }
            Self::Tls(mut stream) => {
                stream.shutdown().await?;
                Ok(stream.into_inner().0)
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Calls the same method on whatever carries the bytes.
macro_rules! carried {
    ($self:ident, $method:ident $(, $argument:expr)*) => {
        match &mut $self.get_mut().carrier {
            Carrier::Plain(carrier) => Pin::new(carrier).$method($($argument),*),
            Carrier::Tls(carrier) => Pin::new(&mut **carrier).$method($($argument),*),
            Carrier::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

/// A connection's bytes, and what is known about its ends.
#[derive(Debug)]
pub(super) struct Transport {
    carrier: Carrier,
    /// What pingora calls the connection.
    pub(super) id: UniqueIDType,
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    pub(super) socket: Arc<SocketDigest>,
    /// What was agreed on, where the bytes are encrypted.
    pub(super) tls: Option<Arc<SslDigest>>,
    /// What the streams share, where there are several.
    pub(super) shared: Option<Arc<ProxyDigest>>,
    /// How long a write may stand still.
    patience: Duration,
    /// Runs while one does.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    /// Takes a connection over. One whose client takes nothing off it for `patience` is broken.
    pub(super) fn new(carrier: Carrier, peer: SocketAddr, patience: Duration) -> Self {
        let (id, tls) = match &carrier {
            Carrier::Plain(socket) => (socket.as_raw_fd(), None),
            Carrier::Tls(stream) => (stream.as_raw_fd(), Some(Arc::new(digest(stream)))),
            // Nobody's number.
            Carrier::Gone => (-1, None),
        };
        let socket = SocketDigest::from_raw_fd(id);
        // Known already, so that nobody has to ask the kernel, who may know less.
        let _ = socket.peer_addr.set(Some(peer.into()));
        let mut transport = Self {
            carrier,
            id,
            peer,
            socket: Arc::new(socket),
            tls,
            shared: None,
            patience,
            stalled: None,
        };
        if transport.speaks_http2() {
            transport.shared = Neighbours::carried();
        }
        transport
    }

    /// Takes the socket away; nothing can be read or written here from now on.
    pub(super) fn take_carrier(&mut self) -> Carrier {
        std::mem::replace(&mut self.carrier, Carrier::Gone)
    }

    /// Tells whether the two ends agreed on HTTP/2 (RFC 7301).
    pub(super) fn speaks_http2(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(_) | Carrier::Gone => false,
            Carrier::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(&b"h2"[..]),
        }
    }

    /// Tells whether bytes have been taken from the writer that are not with the kernel yet.
    pub(super) fn has_unsent(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(_) | Carrier::Gone => false,
            Carrier::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// Ends a write that has stood still for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What pingora wants to know about a TLS session.
fn digest(stream: &TlsStream<Socket>) -> SslDigest {
    let session = stream.get_ref().1;
    let cipher = session
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str());
    let version = session
        .protocol_version()
        .and_then(|version| version.as_str());
    SslDigest::new(
        cipher.unwrap_or_default(),
        version.unwrap_or_default(),
        None,
        None,
        Vec::new(),
    )
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carried!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.as_mut();
        let written = carried!(this, poll_write, cx, buf);
        self.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.as_mut();
        let written = carried!(this, poll_write_vectored, cx, bufs);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(carrier) => carrier.is_write_vectored(),
            Carrier::Tls(carrier) => carrier.is_write_vectored(),
            Carrier::Gone => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.as_mut();
        let flushed = carried!(this, poll_flush, cx);
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.as_mut();
        let shut = carried!(this, poll_shutdown, cx);
        self.unless_stalled(cx, shut)
    }
}

/// Lets pingora see a connection that has a `transport()`, over which a protocol is spoken.
macro_rules! seen_by_pingora {
    ($connection:ty, $protocol:expr) => {
        #[async_trait::async_trait]
        impl pingora::protocols::Shutdown for $connection {
            async fn shutdown(&mut self) {
                if let Err(error) = tokio::io::AsyncWriteExt::shutdown(self).await {
                    tracing::trace!(%error, "a connection was gone before it was shut down");
                }
            }
        }

        impl pingora::protocols::UniqueID for $connection {
            fn id(&self) -> pingora::protocols::UniqueIDType {
                self.transport().id
            }
        }

        impl pingora::protocols::Ssl for $connection {
            fn get_ssl_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::tls::SslDigest>> {
                self.transport().tls.clone()
            }

            fn selected_alpn_proto(&self) -> Option<pingora::protocols::ALPN> {
                Some($protocol)
            }
        }

        impl pingora::protocols::Peek for $connection {}

        impl pingora::protocols::GetTimingDigest for $connection {
            /// pingora asks at every request and nothing of ours reads it.
            fn get_timing_digest(&self) -> Vec<Option<pingora::protocols::TimingDigest>> {
                Vec::new()
            }
        }

        impl pingora::protocols::GetProxyDigest for $connection {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::raw_connect::ProxyDigest>> {
                self.transport().shared.clone()
            }
        }

        impl pingora::protocols::GetSocketDigest for $connection {
            fn get_socket_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::SocketDigest>> {
                Some(std::sync::Arc::clone(&self.transport().socket))
            }
        }
    };
}

pub(super) use seen_by_pingora;
