//! Carries bytes between Unix sockets and TCP, for ends that know only one of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A running bridge; what it carries ends with it.
#[derive(Debug)]
pub(crate) struct Bridge(JoinHandle<()>);

impl Bridge {
    /// Listens on a new Unix socket for what listens at `addr`.
    pub(crate) fn from_unix(path: &Path, addr: SocketAddr) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self(tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(addr).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }))
    }

    /// Listens on any port for what listens on a Unix socket; returns where.
    pub(crate) async fn to_unix(path: &Path) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let path = PathBuf::from(path);
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let path = path.clone();
                tokio::spawn(async move {
                    let mut far = UnixStream::connect(path).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        (Self(task), addr)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.0.abort();
    }
}
