//! Sockets that listen, of either family, TCP or Unix.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::socket::Unsettled;
use crate::config::ListenAddress;

/// Whom a client on a Unix socket counts as: somebody on this machine.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket that listens.
#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// Binds an address. A Unix socket that a process has left behind is replaced; one that
    /// somebody listens on is not, nor is anything else of that name.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) async fn bind(address: &ListenAddress, mode: u32) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path, mode).await.map(Self::Unix),
        }
    }

    /// Takes a socket over that another process has bound.
    ///
    /// # Errors
    ///
    /// When it is not a socket of that family, or the runtime cannot watch it.
    pub(super) fn inherit(address: &ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(_) => inherit_tcp(socket).map(Self::Tcp),
            ListenAddress::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.local_addr()?;
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }

    /// Returns the address that was bound: the real port where any free one was asked for.
    pub(super) fn address(&self, asked: &ListenAddress) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_) => Ok(asked.clone()),
        }
    }

    /// Waits for the next client. Cancel safe.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) async fn accept(&self) -> io::Result<(Unsettled, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Unsettled::Tcp(socket.into_std()?), peer))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Unsettled::Unix(socket.into_std()?), HERE))
            }
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Takes a TCP socket over that another process has bound.
///
/// # Errors
///
/// When it is not one, or the runtime cannot watch it.
pub fn inherit_tcp(socket: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    // Tells the family apart, too.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Binds a Unix socket, in place of one that nobody listens on any more.
///
/// # Errors
///
/// The operating system's; [`io::ErrorKind::AddrInUse`] where somebody does listen.
pub(super) async fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let why = "there is a file of that name that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        match UnixStream::connect(path).await {
            // Nobody listens: whoever bound it has gone without tidying up.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// A Unix socket's name in the file system.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own in this one's place.
    identity: (u64, u64),
}

impl SocketFile {
    /// Remembers the file of a bound address; `None` where it has none.
    pub(super) fn of(address: &ListenAddress) -> Option<Self> {
        let ListenAddress::Unix(path) = address else {
            return None;
        };
        let identity = identity_of(path)?;
        let path = path.clone();
        Some(Self { path, identity })
    }

    /// Removes the file, unless another has taken its place.
    pub(super) fn remove(&self) {
        if identity_of(&self.path) == Some(self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a socket's file stays behind");
        }
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
