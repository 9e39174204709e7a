//! What the streams of one HTTP/2 connection have to know of each other.
//!
//! They share the connection's window (RFC 9113 section 5.2.1): while one body is left unread,
//! because its upstream takes nothing, the client may be unable to send any other.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pingora::{
    http::ResponseHeader,
    protocols::{Digest, raw_connect::ProxyDigest},
};

/// The bodies of one connection that nobody reads at the moment.
#[derive(Debug, Default)]
pub struct Neighbours(AtomicUsize);

impl Neighbours {
    /// Makes a connection's, in what pingora lets a connection carry along for us.
    pub(super) fn carried() -> Option<Arc<ProxyDigest>> {
        // No proxy has answered; the head has to be there.
        let head = ResponseHeader::build(http::StatusCode::OK, Some(0)).ok()?;
        let neighbours = Arc::new(Self::default());
        let carried = ProxyDigest::new(Box::new(head), Some(Box::new(neighbours)));
        Some(Arc::new(carried))
    }

    /// Returns those of the connection that a stream belongs to.
    pub fn of(digest: &Digest) -> Option<Arc<Self>> {
        let carried = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
        carried.downcast_ref::<Arc<Self>>().cloned()
    }

    /// Counts one more body that is left unread.
    pub fn leave(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one fewer.
    pub fn take_up(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells whether any is left unread.
    pub fn any_unread(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
