//! What is known about one request.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus::IntGauge;

use super::{Backend, Traced, streams::Place, websocket::Handshake};
use crate::{
    check::LiveEntry,
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
    /// The process's digits, written once.
    process: [u8; ID_LENGTH / 2],
    next: AtomicU64,
}

impl RequestIds {
    /// Draws the process's part.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Self {
            process: digits_of(u64::from_be_bytes(process)),
            next: AtomicU64::new(1),
        }
    }

    /// Returns a name that no request has had.
    pub fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; ID_LENGTH];
        let (process, request) = text.split_at_mut(ID_LENGTH / 2);
        process.copy_from_slice(&self.process);
        request.copy_from_slice(&digits_of(number));
        RequestId {
            text,
            length: ID_LENGTH as u8,
        }
    }
}

/// Returns a number's 16 hexadecimal digits.
///
/// All at once rather than one by one: every request needs them. The nibbles are spread over the
/// bytes of a wide integer, and those above 9 get the distance from `9` to `a` on top.
fn digits_of(number: u64) -> [u8; ID_LENGTH / 2] {
    let mut spread = u128::from(number);
    spread = (spread | spread << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & NIBBLES;
    // Six more than a nibble reaches its fifth bit exactly where it is above 9.
    let letters = (spread + 6 * ONES) >> 4 & ONES;
    let digits = spread + u128::from(b'0') * ONES + u128::from(b'a' - b'9' - 1) * letters;
    digits.to_be_bytes()
}

/// A one in every byte.
const ONES: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0101;

/// The lower half of every byte.
const NIBBLES: u128 = 0x0f * ONES;

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
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Returns the name's bytes, all of them visible ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
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
    pub principal: Option<LiveEntry>,
    /// Whether a bearer rule let the request through, checked or, with OPTIONS, not.
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
    /// What the client has opened, where that may become a WebSocket.
    pub(super) handshake: Option<Handshake>,
    /// Whether it goes to the upstream for the second time.
    pub(super) tried_again: bool,
    /// How it ended, where that is known before its end.
    pub outcome: Option<Outcome>,
    /// The status that was sent; 0 for none.
    pub status: u16,
    /// Why it was refused.
    pub reason: Option<&'static str>,
    /// The trace that it is part of, where requests are traced.
    pub trace: Option<Traced>,
    /// Its place among those that share a connection.
    pub(super) place: Option<Place>,
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
            handshake: None,
            tried_again: false,
            outcome: None,
            status: 0,
            reason: None,
            trace: None,
            place: None,
            _in_flight: InFlight::begin(&metrics.requests_in_flight),
        }
    }

    /// Returns the request's name.
    pub fn request_id(&self) -> &str {
        self.id.as_str()
    }

    /// Returns the same as bytes, for headers.
    pub fn request_id_bytes(&self) -> &[u8] {
        self.id.as_bytes()
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
            process: digits_of(0x0123_4567_89ab_cdef),
            next: AtomicU64::new(0x1f),
        };
        assert_eq!(ids.next().as_str(), "0123456789abcdef000000000000001f");
        assert_eq!(ids.next().as_str(), "0123456789abcdef0000000000000020");
    }

    #[test]
    fn digits_are_what_the_standard_library_writes() {
        let odd = 0x9e37_79b9_7f4a_7c15_u64;
        for number in (0..1_000_u64)
            .map(|step| step.wrapping_mul(odd))
            .chain([u64::MAX])
        {
            assert_eq!(digits_of(number), format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_proxys_name_is_taken_only_if_it_is_harmless() {
        assert_eq!(RequestId::from_proxy(b"abc-1").unwrap().as_str(), "abc-1");
        for name in [&b""[..], b"a b", b"a\r\nb", b"\"", &[b'a'; 33]] {
            assert!(RequestId::from_proxy(name).is_none());
        }
    }
}
