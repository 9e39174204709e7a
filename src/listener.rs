//! Accepts connections and hands them to pingora, and lets them end in peace.
//!
//! The accept loop is ours rather than pingora's `Server`: everything runs on one runtime, so that
//! the stores' connections are driven by the threads that wait for them; shutdown ends with the
//! last request instead of a fixed sleep; and a port of 0 works, with the real one in the log.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    protocols::{
        GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::TaskTracker;

/// How long to hold still when the process has no file descriptors left: accepting would fail
/// again at once.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Size of a connection's write buffer in bytes: a response's head and a small body leave in one
/// segment and one system call. Larger writes go past it.
const WRITE_BUFFER: usize = 4 * 1024;

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// The operating system's, most often that the address is in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Returns the address that was bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` says so; connections go on in `connections`.
    pub async fn serve<A>(
        self,
        app: Arc<A>,
        mut shutdown: watch::Receiver<bool>,
        connections: TaskTracker,
    ) where
        A: ServerApp + Send + Sync + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                    connections.spawn(async move {
                        match Connection::new(socket, peer) {
                            Ok(connection) => {
                                app.process_new(Box::new(connection), &shutdown).await;
                            }
                            Err(error) => tracing::debug!(%error, "a connection broke at once"),
                        }
                    });
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "no connection could be accepted");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}

/// An accepted connection, as pingora wants one. Reads are not buffered: pingora's parser has a
/// buffer of its own, and thousands of idle connections should not each hold another.
#[derive(Debug)]
struct Connection {
    io: BufWriter<TcpStream>,
    id: UniqueIDType,
    socket: Arc<SocketDigest>,
    established: SystemTime,
}

impl Connection {
    fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        socket.set_nodelay(true)?;
        let fd = socket.as_raw_fd();
        let digest = SocketDigest::from_raw_fd(fd);
        // Known already, so that nobody has to ask the kernel again.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Ok(Self {
            io: BufWriter::with_capacity(WRITE_BUFFER, socket),
            id: fd,
            socket: Arc::new(digest),
            established: established(),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "pingora's digest wants the system's time; nothing of ours reads it"
)]
fn established() -> SystemTime {
    SystemTime::now()
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        if let Err(error) = self.io.shutdown().await {
            tracing::trace!(%error, "a connection was gone before it was shut down");
        }
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl Ssl for Connection {}

impl Peek for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.established,
            ..TimingDigest::default()
        })]
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}
