//! The end of a connection whose client may still be sending.
//!
//! A socket that is closed with unread bytes in it is reset, and a client that is still sending
//! hears of that before it reads its answer, or instead (RFC 9112 section 9.6). So the sending side
//! is shut first, and what comes is thrown away for a while: nothing of it is ever looked at.
//!
//! All of it happens in the connection's own task, so that it counts as open for as long.

use std::{future::pending, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, copy, sink},
    sync::oneshot,
    time::timeout,
};

use super::transport::Carrier;

/// Most bytes that are read to be thrown away, in the hope that their end comes and the client reads
/// the answer; what pingora's own limit of a header section is.
pub(super) const MOST_DISCARDED: usize = 1 << 20;

/// Longest time that a client is given to read its answer and go.
const LONGEST: Duration = Duration::from_secs(1);

/// Makes the way on which a connection that pingora drops gives its socket back.
pub(super) fn way_back() -> (oneshot::Sender<Carrier>, Remains) {
    let (sender, receiver) = oneshot::channel();
    (sender, Remains(receiver))
}

/// What is left of a connection once pingora is done with it.
#[derive(Debug)]
pub(super) struct Remains(oneshot::Receiver<Carrier>);

impl Remains {
    /// Waits until the client has heard of the end, if there is anything left to do for that. Called
    /// when the connection has been dropped.
    pub(super) async fn linger(mut self) {
        if let Ok(carrier) = self.0.try_recv() {
            // Boxed, like all that is rare: it would make every connection's future larger.
            let _ = Box::pin(timeout(LONGEST, discard(carrier))).await;
        }
    }
}

/// Reads until the client is gone.
async fn discard(carrier: Carrier) {
    let Ok(socket) = carrier.finish().await else {
        return;
    };
    let mut incoming = socket.take(MOST_DISCARDED as u64);
    let end = copy(&mut incoming, &mut sink()).await;
    if end.is_ok() && incoming.limit() == 0 {
        // That is enough work. What it sends from here on waits in the kernel, and so can its client
        // for the rest of the time.
        pending::<()>().await;
    }
}
