//! Hands the listening sockets of one process to another, so that none of them is ever closed.
//!
//! The successor (`serve --upgrade`) has everything ready, binds a Unix socket and waits. On SIGQUIT
//! its predecessor connects there, and they speak four times:
//!
//! 1. the predecessor sends the names of its sockets and, beside them, the descriptors
//!    (`SCM_RIGHTS`);
//! 2. the successor answers [`READY`] once it could begin to accept;
//! 3. the predecessor answers [`YOURS`] and accepts no more from then on;
//! 4. the successor begins to.
//!
//! Until the third step either side may fail and the predecessor goes on as if nothing had been.
//! From there on the sockets are the successor's; who connects in between waits in the kernel's
//! queue. Each side believes the other only if it runs as the same user.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{UnixListener, UnixStream},
};

use super::bound::{SocketFile, bind_unix};
use crate::config::ListenAddress;

/// Longest time for a whole conversation. All that is done in it is local.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most descriptors that Linux sends at once (`SCM_MAX_FD`).
const MOST_SOCKETS: usize = 253;

/// Longest list of names, in bytes: the paths of that many sockets, and then some.
const LONGEST_LIST: usize = 64 * 1024;

/// What this conversation is called; another version of it would be called otherwise.
const PROTOCOL: &str = "difygate-upgrade/1";

/// The successor could begin.
const READY: u8 = b'R';

/// The sockets are the successor's.
const YOURS: u8 = b'Y';

/// Who may connect to the socket of an upgrade: its owner.
const OWNER_ONLY: u32 = 0o600;

/// What goes with the descriptors.
#[derive(Debug, Deserialize, Serialize)]
struct List {
    protocol: String,
    /// One for each descriptor, in order.
    names: Vec<String>,
}

/// A socket of a predecessor.
#[derive(Debug)]
pub struct Inherited {
    /// What the predecessor calls it.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// A process that waits for its predecessor.
#[derive(Debug)]
pub struct Successor {
    listener: UnixListener,
    file: Option<SocketFile>,
}

impl Successor {
    /// Begins to wait at `path`.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::AddrInUse`] where another successor waits.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        let listener = bind_unix(path, OWNER_ONLY).await?;
        let file = SocketFile::of(&ListenAddress::Unix(PathBuf::from(path)));
        Ok(Self { listener, file })
    }

    /// Waits for the predecessor, however long that takes, and takes its sockets. Cancel safe:
    /// the predecessor then keeps them.
    ///
    /// # Errors
    ///
    /// The operating system's, and [`io::ErrorKind::InvalidData`] for what is not this
    /// conversation.
    pub async fn wait(mut self) -> io::Result<Predecessor> {
        let stream = loop {
            let (stream, _) = self.listener.accept().await?;
            match believe(&stream) {
                Ok(()) => break stream,
                Err(error) => tracing::warn!(%error, "upgrade: somebody else was turned away"),
            }
        };
        if let Some(file) = self.file.take() {
            file.remove();
        }
        let sockets = within_patience(receive(&stream)).await?;
        Ok(Predecessor { stream, sockets })
    }
}

/// A successor that ends before it was found leaves nothing behind.
impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

/// A process that has sent its sockets and still accepts on them.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    sockets: Vec<Inherited>,
}

impl Predecessor {
    /// Returns the sockets, once.
    pub fn take_sockets(&mut self) -> Vec<Inherited> {
        std::mem::take(&mut self.sockets)
    }

    /// Says that everything is ready and waits for the last word: from then on the predecessor
    /// accepts no more.
    ///
    /// # Errors
    ///
    /// When it has not come: the predecessor keeps its sockets.
    pub async fn relieve(mut self) -> io::Result<()> {
        within_patience(async move {
            self.stream.write_all(&[READY]).await?;
            expect(&mut self.stream, YOURS).await
        })
        .await
    }
}

/// Hands sockets to the successor that waits at `path`. When this returns, they are its.
///
/// # Errors
///
/// When nobody waits there, or something goes wrong before the sockets have changed hands: nothing
/// has changed then. [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] stand for
/// nobody.
pub async fn hand_over(path: &Path, sockets: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
    within_patience(async {
        let mut stream = UnixStream::connect(path).await?;
        believe(&stream)?;
        send(&stream, sockets).await?;
        expect(&mut stream, READY).await?;
        stream.write_all(&[YOURS]).await
    })
    .await
}

async fn within_patience<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, step).await?
}

async fn expect(stream: &mut UnixStream, word: u8) -> io::Result<()> {
    match stream.read_u8().await? {
        found if found == word => Ok(()),
        _ => Err(invalid("another answer than the upgrade's")),
    }
}

/// Makes sure that the other process runs as the same user.
fn believe(stream: &UnixStream) -> io::Result<()> {
    let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
    if theirs == ours.as_raw() {
        return Ok(());
    }
    let why = format!(
        "the other process runs as user {theirs}, this one as {}",
        ours.as_raw()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

async fn send(stream: &UnixStream, sockets: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
    if sockets.len() > MOST_SOCKETS {
        return Err(invalid("more sockets than can be sent at once, 253"));
    }
    let list = serde_json::to_vec(&List {
        protocol: PROTOCOL.to_owned(),
        names: sockets.iter().map(|(name, _)| name.clone()).collect(),
    })?;
    let length = u32::try_from(list.len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes()[..], &list].concat();
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| *socket).collect();
    let rights = SendAncillaryMessage::ScmRights(&descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut beside = SendAncillaryBuffer::new(&mut space);
            beside.push(SendAncillaryMessage::ScmRights(&descriptors));
            let parts = [IoSlice::new(&message)];
            Ok(sendmsg(stream, &parts, &mut beside, SendFlags::NOSIGNAL)?)
        })
        .await?;
    // The descriptors have gone with the first byte.
    let mut rest = message.get(sent..).unwrap_or_default();
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn receive(stream: &UnixStream) -> io::Result<Vec<Inherited>> {
    let mut message = Vec::new();
    let mut sockets = Vec::new();
    let mut chunk = vec![0; LONGEST_LIST];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let list = loop {
        let received = stream
            .async_io(Interest::READABLE, || {
                let mut beside = RecvAncillaryBuffer::new(&mut space);
                let mut parts = [IoSliceMut::new(&mut chunk)];
                let flags = RecvFlags::CMSG_CLOEXEC;
                let received = recvmsg(stream, &mut parts, &mut beside, flags)?;
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        sockets.extend(descriptors);
                    }
                }
                Ok(received.bytes)
            })
            .await?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(chunk.get(..received).unwrap_or_default());
        if let Some(list) = whole(&message)? {
            break list;
        }
    };
    let list: List = serde_json::from_slice(list)?;
    if list.protocol != PROTOCOL || list.names.len() != sockets.len() {
        return Err(invalid("another version's upgrade"));
    }
    let named = list.names.into_iter().zip(sockets);
    Ok(named
        .map(|(name, socket)| Inherited { name, socket })
        .collect())
}

/// Returns what follows the length, once it is all there.
fn whole(message: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((length, list)) = message.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
    if length > LONGEST_LIST {
        return Err(invalid("a list of sockets that is too long"));
    }
    Ok(list.get(..length))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
