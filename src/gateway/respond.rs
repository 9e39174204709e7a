//! Sends the gateway's own answers without giving the connection up.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pingora::{ErrorType, OrErr as _, Result, http::ResponseHeader, proxy::Session};

use super::{Ctx, forward::REQUEST_ID, http1};
use crate::http::Reply;

/// Most of an unwanted request body that is read, in bytes, so that the connection can be used
/// again. Dify's ordinary JSON calls fit; an upload does not, and there a new connection is
/// cheaper than the rest of the body.
const DRAIN_BYTES: usize = 64 * 1024;

/// Most answers have no more headers, pingora's two included: the map need not grow.
const HEADERS: usize = 8;

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
    if !drained(session).await || http1::has_more(session) {
        session.set_keepalive(None);
    }
    let reply = if ctx.local { reply.as_local() } else { reply };
    let bodiless = reply.body().is_empty() || session.req_header().method == http::Method::HEAD;
    let (head, body) = build(reply, ctx.request_id())?;
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Makes a response of a reply.
///
/// The header map is filled before pingora has it: by way of pingora each name would be parsed
/// again, and kept a second time for its case, which HTTP does not know.
fn build(reply: Reply, request_id: &str) -> Result<(ResponseHeader, Bytes)> {
    let status = reply.status();
    let (said, body) = reply.into_parts();
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    for (name, value) in said {
        let value = match value {
            Cow::Borrowed(value) => Bytes::from_static(value.as_bytes()),
            Cow::Owned(value) => Bytes::from(value),
        };
        let value = HeaderValue::from_maybe_shared(value)
            .or_err(ErrorType::InvalidHTTPHeader, "a header of our own")?;
        headers.insert(name, value);
    }
    let request_id = HeaderValue::from_str(request_id)
        .or_err(ErrorType::InvalidHTTPHeader, "a request id of our own")?;
    headers.insert(REQUEST_ID, request_id);
    // What it would be the length of is not sent (RFC 9110 section 8.6).
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    Ok((parts.into(), body))
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
    if http1::waits_to_be_asked(head) {
        return false;
    }
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
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
