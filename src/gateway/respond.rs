//! Sends the gateway's own answers without giving the connection up.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora::{Result, http::ResponseHeader, proxy::Session};

use super::Ctx;
use crate::http::Reply;

/// Most of an unwanted request body that is read, in bytes, so that the connection can be used
/// again. Dify's ordinary JSON calls fit; an upload does not, and there a new connection is
/// cheaper than the rest of the body.
const DRAIN_BYTES: usize = 64 * 1024;

/// Longest time spent on that.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Returns the head of the answer that has begun. Interim ones are none, but for the 101 that is a
/// final one (RFC 9110 section 15.2): pingora remembers them all.
pub(super) fn begun(session: &Session) -> Option<&ResponseHeader> {
    let is_final = |head: &&ResponseHeader| {
        !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
    };
    session.response_written().filter(is_final)
}

/// Sends `reply`. An unread body never becomes the next request: it is read to its end within
/// bounds, or the connection closes.
pub(super) async fn send(session: &mut Session, ctx: &Ctx, reply: Reply) -> Result<()> {
    let reply = if ctx.local { reply.as_local() } else { reply };
    let reply = reply.or_with("Cache-Control", "no-store");
    let reply = if reply.body().is_empty() {
        reply
    } else {
        reply.or_with("Content-Type", "application/json")
    };
    if !drained(session).await {
        session.set_keepalive(None);
    }
    let mut head = ResponseHeader::build(reply.status(), Some(8))?;
    for (name, value) in reply.headers() {
        head.insert_header(name, value)?;
    }
    head.insert_header("X-Request-Id", ctx.request_id())?;
    // What it would be the length of is not sent (RFC 9110 section 8.6).
    if reply.status() != StatusCode::NOT_MODIFIED {
        head.insert_header("Content-Length", reply.body().len())?;
    }
    let bodiless = reply.body().is_empty() || session.req_header().method == http::Method::HEAD;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    if !bodiless {
        let body = Bytes::from(reply.into_body());
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Reads what is left of the request's body; `false` if that is too much or takes too long, or
/// if the client waits to be asked for it.
async fn drained(session: &mut Session) -> bool {
    if session.is_body_done() {
        return true;
    }
    let head = session.req_header();
    // The client has not sent the body yet and would only do so after a 100 (RFC 9110 section
    // 10.1.1); a final answer spares it the trouble.
    if head.headers.contains_key(http::header::EXPECT) {
        return false;
    }
    let announced = head
        .headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > DRAIN_BYTES) {
        return false;
    }
    let drain = async {
        let mut read = 0;
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
            if read > DRAIN_BYTES {
                return false;
            }
        }
    };
    tokio::time::timeout(DRAIN_TIME, drain)
        .await
        .unwrap_or(false)
}
