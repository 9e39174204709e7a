//! What an upstream can do, and what it remembers.

use std::time::{Duration, Instant};

use crate::support::wire::header;

/// What to do with a request, once its body has been read.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Answer with this status and JSON body.
    Json(u16, serde_json::Value),
    /// Answer with this status, these further headers and this body.
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>),
    /// Send these bytes, then close.
    Raw(Vec<u8>),
    /// Stream `data: {"n":0}` and so on, chunked, one chunk an event, an interval before each
    /// but the first.
    Sse { events: usize, interval: Duration },
    /// Answer 101, then send back whatever comes.
    WebSocketEcho,
    /// Close the connection.
    CloseBeforeHeader,
    /// Say nothing until the peer closes.
    HangBeforeHeader,
    /// Answer with so many bytes, the byte at `i` being `i % 251`.
    BigBody(u64),
    /// Answer with `{"length":…,"sha256":"…"}` of the request's body.
    EchoLength,
    /// Announce 1000 bytes, send five (`begin`), and no more until the peer closes.
    HangMidBody,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    /// The bytes of the head, its empty line included.
    pub(crate) head: Vec<u8>,
    pub(crate) request_line: String,
    /// Names as they were sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The decoded body, empty when it is longer than 1 MiB.
    pub(crate) body: Vec<u8>,
    pub(crate) body_length: u64,
    /// In hex.
    pub(crate) body_sha256: String,
    /// False when the peer broke the body off.
    pub(crate) complete: bool,
    /// The number of the connection it came over, from 0.
    pub(crate) connection: usize,
}

/// An exchange that the peer broke off.
#[derive(Debug, Clone)]
pub(crate) struct Disconnect {
    pub(crate) connection: usize,
    pub(crate) request_line: String,
    pub(crate) at: Instant,
}

impl RecordedRequest {
    /// The request's method.
    pub(crate) fn method(&self) -> &str {
        self.request_line.split(' ').next().unwrap_or_default()
    }

    /// The request's target, path and query.
    pub(crate) fn target(&self) -> &str {
        self.request_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Every value of a header.
    pub(crate) fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The head as text.
    pub(crate) fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}
