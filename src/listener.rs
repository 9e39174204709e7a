//! Accepts connections and hands them to pingora, and lets them end in peace.
//!
//! The accept loop is ours rather than pingora's `Server`: everything runs on one runtime, so that
//! the stores' connections are driven by the threads that wait for them; shutdown ends with the
//! last request instead of a fixed sleep; and a port of 0 works, with the real one in the log.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use pingora::apps::ServerApp;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::TaskTracker;

mod body_watch;
pub(crate) mod chunked;
mod connection;
mod http2;
mod opening;
pub(crate) mod proxy_protocol;
mod tls;
mod transport;

pub use chunked::Misframed;
pub use connection::{Connection, HeadPolicy};
pub use opening::{Front, Room};
pub use tls::Tls;

/// How long to hold still when the process has no file descriptors left: accepting would fail
/// again at once.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

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
        front: Arc<Front>,
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
                    let (app, front) = (Arc::clone(&app), Arc::clone(&front));
                    // Who comes next waits in the kernel's queue until there is room for this one.
                    let room = tokio::select! {
                        room = front.room.enter() => room,
                        _ = shutdown.wait_for(|stop| *stop) => return,
                    };
                    let mut shutdown = shutdown.clone();
                    connections.spawn(async move {
                        let _room = room;
                        let opened = tokio::select! {
                            opened = front.open(socket, peer) => opened,
                            // It has not asked for anything yet.
                            _ = shutdown.wait_for(|stop| *stop) => return,
                        };
                        match opened {
                            Ok(stream) => {
                                app.process_new(stream, &shutdown).await;
                            }
                            Err(error) => {
                                tracing::debug!(%error, %peer, "a connection ended before it began");
                            }
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
