//! Answers to header sections that never became a request.
//!
//! pingora refuses those by itself, before any of our phases runs. Here they get the same body, id,
//! count and access line as everything else that is refused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::header;

use super::{AccessLines, RequestIds, forward::REQUEST_ID};
use crate::{
    http::{Malformed, Rejection},
    listener::HeadPolicy,
    metrics::{Metrics, Outcome},
};

/// The gateway's [`HeadPolicy`].
#[derive(Debug)]
pub struct Heads {
    /// `server.request_header_timeout`.
    pub timeout: Duration,
    /// `server.max_header_bytes`.
    pub max_bytes: usize,
    /// What such requests are called.
    pub request_ids: Arc<RequestIds>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which of them are logged.
    pub access: AccessLines,
}

impl Heads {
    /// Writes a refusal as it goes over the wire; the connection closes after it.
    fn refuse(&self, rejection: &Rejection, peer: SocketAddr) -> Vec<u8> {
        let (reply, id) = (rejection.reply(), self.request_ids.next());
        let status = reply.status();
        self.metrics.request(Outcome::Rejected, status.as_u16());
        self.metrics.rejection(rejection.reason());
        if self.access.wants(true) {
            tracing::info!(
                target: "access",
                request_id = id.as_str(),
                status = status.as_u16(),
                outcome = Outcome::Rejected.as_str(),
                reason = rejection.reason(),
                client = %peer.ip().to_canonical(),
                "request"
            );
        }
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        let length = reply.body().len().to_string();
        let own = [
            (&header::CACHE_CONTROL, "no-store"),
            (&REQUEST_ID, id.as_str()),
            (&header::CONTENT_TYPE, "application/json"),
            (&header::CONTENT_LENGTH, &length),
            (&header::CONNECTION, "close"),
        ];
        for (name, value) in reply.headers().chain(own) {
            head.push_str(name.as_str());
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let mut answer = head.into_bytes();
        answer.extend_from_slice(reply.body());
        answer
    }
}

impl HeadPolicy for Heads {
    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn too_large(&self, peer: SocketAddr) -> Vec<u8> {
        self.refuse(&Rejection::HeaderTooLarge, peer)
    }

    fn malformed(&self, peer: SocketAddr) -> Vec<u8> {
        self.refuse(&Rejection::Malformed(Malformed::Head), peer)
    }
}
