//! The sockets that the configuration names: bound, or taken over from the process before.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    sync::Arc,
};

use tokio::net::TcpListener;

use super::StartError;
use crate::{
    admin,
    config::{Config, ListenAddress},
    listener::{self, Inherited, Listener, Successor},
};

/// The keys that name addresses.
const PUBLIC: &str = "server.listen";
const ADMIN: &str = "admin.listen";

/// Every socket that listens; none is accepted from yet.
#[derive(Debug)]
pub struct Sockets {
    pub(super) public: Vec<Arc<Listener>>,
    pub(super) admin: Arc<TcpListener>,
    admin_asked: ListenAddress,
}

impl Sockets {
    /// Binds every address that `config` names.
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`]; nothing stays bound.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        Self::bind_rest(config, &mut Vec::new()).await
    }

    /// Waits until the running process is sent SIGQUIT, and takes its sockets over; what `config`
    /// names beyond them is bound. Call it when everything else is ready. Cancel safe: the running
    /// process then keeps its sockets.
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`] and [`StartError::Upgrade`]; the running process goes on.
    pub async fn take_over(config: &Config) -> Result<Self, StartError> {
        let path = &config.server.upgrade_socket;
        let failed = |error| StartError::Upgrade {
            path: path.clone(),
            error,
        };
        let successor = Successor::bind(path).await.map_err(failed)?;
        tracing::info!(
            socket = %path.display(),
            "ready to take over: send SIGQUIT to the running gateway"
        );
        let mut predecessor = successor.wait().await.map_err(failed)?;
        let mut inherited = predecessor.take_sockets();
        let sockets = Self::bind_rest(config, &mut inherited).await?;
        predecessor.relieve().await.map_err(failed)?;
        for left in inherited {
            tracing::warn!(socket = left.name, "upgrade: nobody listens here any more");
        }
        Ok(sockets)
    }

    /// Takes what is there and binds the rest.
    async fn bind_rest(
        config: &Config,
        inherited: &mut Vec<Inherited>,
    ) -> Result<Self, StartError> {
        let mut public = Vec::with_capacity(config.server.listen.len());
        for address in &config.server.listen {
            let listener = match take(inherited, PUBLIC, address) {
                Some(socket) => Listener::inherit(address, socket.socket),
                None => Listener::bind(address, config.server.socket_mode).await,
            };
            public.push(Arc::new(listener.map_err(failed_at(PUBLIC, address))?));
        }
        let asked = ListenAddress::Tcp(config.admin.listen);
        let admin = match take(inherited, ADMIN, &asked) {
            Some(socket) => listener::inherit_tcp(socket.socket),
            None => admin::bind(config.admin.listen).await,
        };
        Ok(Self {
            public,
            admin: Arc::new(admin.map_err(failed_at(ADMIN, &asked))?),
            admin_asked: asked,
        })
    }

    /// Returns the bound public addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.public.iter().map(|listener| listener.address())
    }

    /// Returns the bound admin address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.local_addr().ok()
    }

    /// Hands all of them to the process that waits at `path`. When this returns, they are its.
    ///
    /// # Errors
    ///
    /// Those of [`listener::hand_over`]; nothing has changed then.
    pub async fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        let public = self
            .public
            .iter()
            .map(|listener| (name(PUBLIC, listener.asked()), listener.as_fd()));
        let admin = (name(ADMIN, &self.admin_asked), self.admin.as_fd());
        let all: Vec<(String, BorrowedFd<'_>)> = public.chain([admin]).collect();
        listener::hand_over(path, &all).await
    }

    /// Gives them up for good: the files of Unix sockets go.
    pub(super) fn close(self) {
        for listener in &self.public {
            listener.remove_file();
        }
    }
}

/// What a socket is called between two processes: key and address as configured, which both read.
fn name(key: &str, asked: &ListenAddress) -> String {
    format!("{key} {asked}")
}

fn take(inherited: &mut Vec<Inherited>, key: &str, asked: &ListenAddress) -> Option<Inherited> {
    let wanted = name(key, asked);
    let at = inherited.iter().position(|socket| socket.name == wanted)?;
    Some(inherited.remove(at))
}

fn failed_at(
    key: &'static str,
    address: &ListenAddress,
) -> impl FnOnce(std::io::Error) -> StartError {
    let address = address.clone();
    move |error| StartError::Bind {
        key,
        address,
        error,
    }
}
