//! What the streams of one HTTP/2 connection have to know of each other.
//!
//! They share the connection's window (RFC 9113 section 5.2.1): while one body is left unread,
//! because its upstream takes nothing, the client may be unable to send any other. And they share the
//! place that each connection has for a request.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use pingora::{
    http::ResponseHeader,
    protocols::{Digest, raw_connect::ProxyDigest},
};

/// What is known of one connection's streams.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// Bodies that nobody reads at the moment.
    unread: AtomicUsize,
    /// Whether a request has the place that every connection has.
    first: AtomicBool,
    /// Requests in places that all connections share.
    further: AtomicUsize,
}

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
        self.unread.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one fewer.
    pub fn take_up(&self) {
        self.unread.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells whether any is left unread.
    pub fn any_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > 0
    }

    /// Takes the connection's own place for a request; `false` if another has it.
    pub fn begin_first(&self) -> bool {
        !self.first.swap(true, Ordering::Relaxed)
    }

    /// That request has ended.
    pub fn end_first(&self) {
        self.first.store(false, Ordering::Relaxed);
    }

    /// Counts one more request in a shared place.
    pub fn begin_further(&self) {
        self.further.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one fewer.
    pub fn end_further(&self) {
        self.further.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns how many there are.
    pub fn further(&self) -> usize {
        self.further.load(Ordering::Relaxed)
    }
}
