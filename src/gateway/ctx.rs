//! What is known about one request.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus::IntGauge;

use super::{Backend, Traced};
use crate::{
    check::entry::Entry,
    clock::Monotonic,
    entropy::Entropy,
    http::Rejection,
    metrics::{Metrics, Outcome},
};

/// Length of a request id: 16 hexadecimal digits for the process, 16 for the request.
const ID_LENGTH: usize = 32;

/// Names requests: unique among all processes, and cheap.
///
/// An id is no secret and need not be unguessable, so it costs one atomic addition.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Draws the process's part.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Self {
            process: u64::from_be_bytes(process),
            next: AtomicU64::new(1),
        }
    }

    /// Returns a name that no request has had.
    pub fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; ID_LENGTH];
        for (half, value) in text.chunks_exact_mut(16).zip([self.process, number]) {
            for (at, digit) in half.iter_mut().enumerate() {
                let nibble = (value >> (60 - 4 * at) & 15) as u8;
                *digit = match nibble {
                    0..=9 => b'0' + nibble,
                    _ => b'a' + nibble - 10,
                };
            }
        }
        RequestId {
            text,
            length: ID_LENGTH as u8,
        }
    }
}

/// A request's name, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    text: [u8; ID_LENGTH],
    length: u8,
}

impl RequestId {
    /// Takes a name that a trusted proxy gave: 1 to 32 letters, digits, `-`, `_` or `.`.
    pub fn from_proxy(name: &[u8]) -> Option<Self> {
        let mut text = [0; ID_LENGTH];
        let fits = !name.is_empty()
            && name.len() <= ID_LENGTH
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        fits.then(|| {
            text[..name.len()].copy_from_slice(name);
            Self {
                text,
                length: name.len() as u8,
            }
        })
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// One request's state, from its head to its end.
#[derive(Debug)]
pub struct Ctx {
    id: RequestId,
    /// When the head had been read.
    pub began: Monotonic,
    /// Who is at the other end, by what may be believed.
    pub client: Option<IpAddr>,
    /// Whether the connection's peer is a trusted proxy.
    pub peer_trusted: bool,
    /// Who the request speaks for, once a token has been checked.
    pub principal: Option<Arc<Entry>>,
    /// Whether a bearer rule let the request through.
    pub guarded: bool,
    /// Whether the path belongs to a local endpoint.
    pub local: bool,
    /// Whether pages of other origins may be allowed to read an answer of the gateway's own.
    pub for_other_origins: bool,
    /// The methods of the local endpoint that OPTIONS was sent to.
    pub preflight: Option<&'static str>,
    /// Where the request goes on to.
    pub backend: Option<Arc<Backend>>,
    /// How many addresses of that upstream could not be connected to.
    pub failed_connects: usize,
    /// How it ended, where that is known before its end.
    pub outcome: Option<Outcome>,
    /// The status that was sent; 0 for none.
    pub status: u16,
    /// Why it was refused.
    pub reason: Option<&'static str>,
    /// The trace that it is part of, where requests are traced.
    pub trace: Option<Traced>,
    _in_flight: InFlight,
}

impl Ctx {
    pub(super) fn begin(id: RequestId, began: Monotonic, metrics: &Metrics) -> Self {
        Self {
            id,
            began,
            client: None,
            peer_trusted: false,
            principal: None,
            guarded: false,
            local: false,
            for_other_origins: false,
            preflight: None,
            backend: None,
            failed_connects: 0,
            outcome: None,
            status: 0,
            reason: None,
            trace: None,
            _in_flight: InFlight::begin(&metrics.requests_in_flight),
        }
    }

    /// Returns the request's name.
    pub fn request_id(&self) -> &str {
        self.id.as_str()
    }

    pub(super) fn rename(&mut self, id: RequestId) {
        self.id = id;
    }

    pub(super) fn reject(&mut self, rejection: &Rejection, metrics: &Metrics) {
        self.outcome = Some(Outcome::Rejected);
        self.reason = Some(rejection.reason());
        metrics.rejection(rejection.reason());
    }
}

/// Counts a request in flight for as long as it lives, however it ends.
#[derive(Debug)]
struct InFlight(IntGauge);

impl InFlight {
    fn begin(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_unique_and_hexadecimal() {
        let ids = RequestIds {
            process: 0x0123_4567_89ab_cdef,
            next: AtomicU64::new(0x1f),
        };
        assert_eq!(ids.next().as_str(), "0123456789abcdef000000000000001f");
        assert_eq!(ids.next().as_str(), "0123456789abcdef0000000000000020");
    }

    #[test]
    fn a_proxys_name_is_taken_only_if_it_is_harmless() {
        assert_eq!(RequestId::from_proxy(b"abc-1").unwrap().as_str(), "abc-1");
        for name in [&b""[..], b"a b", b"a\r\nb", b"\"", &[b'a'; 33]] {
            assert!(RequestId::from_proxy(name).is_none());
        }
    }
}
