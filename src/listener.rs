//! Accepts connections and hands them to pingora, and lets them end in peace.
//!
//! The accept loop is ours rather than pingora's `Server`: each connection goes to the serving thread
//! that has the fewest; shutdown ends with the last request instead of a fixed sleep; the sockets
//! can be handed to another process; and a port of 0 works, with the real one in the log.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use pingora::apps::ServerApp;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) mod body_watch;
mod bound;
pub(crate) mod chunked;
mod connection;
mod ending;
mod http2;
mod linger;
mod neighbours;
mod opening;
mod pace;
pub(crate) mod proxy_protocol;
mod request_line;
mod socket;
mod tls;
mod transport;
mod upgrade;
mod workers;

pub use bound::inherit_tcp;
use bound::{ListeningSocket, SocketFile};
pub use chunked::Misframed;
pub use connection::{Connection, Gap, HeadPolicy};
pub use ending::Ending;
pub use neighbours::Neighbours;
pub use opening::{Front, Room};
pub use pace::{BodyRate, Pace, TooSlow};
pub use tls::Tls;
pub use upgrade::{Inherited, Predecessor, Successor, hand_over};
pub use workers::Workers;

use crate::config::ListenAddress;

/// How long to hold still when the process has no file descriptors left: accepting would fail
/// again at once.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    asked: ListenAddress,
    address: ListenAddress,
    /// A Unix socket's.
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one. The file of a Unix socket gets the permission
    /// bits `mode`.
    ///
    /// # Errors
    ///
    /// The operating system's, most often that the address is in use.
    pub async fn bind(address: &ListenAddress, mode: u32) -> io::Result<Self> {
        let socket = ListeningSocket::bind(address, mode).await?;
        Self::new(socket, address)
    }

    /// Takes over what another process has bound for `address`.
    ///
    /// # Errors
    ///
    /// When it is not a listening socket of that family.
    pub fn inherit(address: &ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        let socket = ListeningSocket::inherit(address, socket)?;
        Self::new(socket, address)
    }

    fn new(socket: ListeningSocket, asked: &ListenAddress) -> io::Result<Self> {
        Ok(Self {
            address: socket.address(asked)?,
            file: SocketFile::of(asked),
            asked: asked.clone(),
            socket,
        })
    }

    /// Returns the address that was bound.
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Returns the address that was asked for, which may have port 0.
    pub const fn asked(&self) -> &ListenAddress {
        &self.asked
    }

    /// Removes a Unix socket's file: nobody is to connect any more.
    pub fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Serves until `ending` says so; connections go on in `connections`.
    pub async fn serve<A>(
        self: Arc<Self>,
        workers: Arc<Workers<A>>,
        front: Arc<Front>,
        ending: Ending,
        connections: TaskTracker,
    ) where
        A: ServerApp + Send + Sync + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = ending.accepting.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let front = Arc::clone(&front);
                    // Who comes next waits in the kernel's queue until there is room for this one.
                    let Some(room) = before(&ending.opening, front.enter()).await else {
                        return;
                    };
                    let place = workers.place();
                    let ending = ending.clone();
                    let runtime = place.runtime.clone();
                    let serving = async move {
                        let _room = room;
                        let mut counted = front.connections.begin();
                        let socket = match socket.settle() {
                            Ok(socket) => socket,
                            Err(error) => {
                                tracing::debug!(%error, %peer, "a connection was gone at once");
                                return;
                            }
                        };
                        let opening = front.open(socket, peer, &mut counted);
                        // It has not asked for anything yet.
                        let Some(opened) = before(&ending.opening, opening).await else {
                            return;
                        };
                        match opened {
                            Ok((stream, remains)) => {
                                place.app.process_new(stream, ending.reuse()).await;
                                if let Some(remains) = remains {
                                    remains.linger().await;
                                }
                            }
                            Err(error) => {
                                tracing::debug!(%error, %peer, "a connection ended before it began");
                            }
                        }
                    };
                    connections.spawn_on(serving, &runtime);
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

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns what `step` comes to, unless `end` comes first; of both at once, the step counts.
async fn before<T>(end: &CancellationToken, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = step => Some(done),
        () = end.cancelled() => None,
    }
}
