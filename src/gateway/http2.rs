//! What HTTP/2 has of its own: limits, and a head that the rest of the gateway can read like any
//! other.

use std::time::Duration;

use http::header::{self, HeaderValue};
use pingora::{
    protocols::http::v2::server::{H2Options, default_h2_options},
    proxy::Session,
};

/// Most requests at a time on one connection; RFC 9113 section 6.5.2 recommends no fewer.
const STREAMS: u32 = 100;

/// Most bytes of a response that wait for one stream's client to make room.
const SEND_BUFFER: usize = 64 * 1024;

/// Largest header list of any configuration, in bytes as RFC 9113 section 6.5.2 counts them: the
/// map that it goes into has room for 24,576 fields, and each counts 32 bytes at least.
const HEADER_LIST: usize = 512 * 1024;

/// The limits of a connection.
///
/// What is not named here stays as the codec has it: at most 20 streams that were reset before
/// they were looked at (CVE-2023-44487), 1,024 that we had to reset (CVE-2025-8671), CONTINUATION
/// frames in proportion to the header list (CVE-2024-27316), a budget of small DATA frames, and
/// pingora's 32 malformed requests.
pub fn limits(max_header_bytes: usize) -> H2Options {
    let mut options = default_h2_options();
    // At most HEADER_LIST, which fits.
    options.max_header_list_size(max_header_bytes.min(HEADER_LIST) as u32);
    options.max_concurrent_streams(STREAMS);
    options.max_send_buffer_size(SEND_BUFFER);
    options
}

/// Gives a request that came over HTTP/2 the shape of all others: its host in `Host`, its cookies
/// in one line. Its client has to take what it is sent within `patience`.
pub(super) fn settle(session: &mut Session, patience: Duration) {
    if session.as_http2().is_none() {
        return;
    }
    // The connection may well be read from while one stream's window stays shut.
    session.set_write_timeout(Some(patience));
    let head = session.req_header_mut();
    // Where both are there, pingora has seen to it that they agree (RFC 9113 section 8.3.1).
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        let _ = head.insert_header(header::HOST, host);
    }
    let crumbs: Vec<&[u8]> = head
        .headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1 {
        // RFC 9113 section 8.2.3. What is made of header values is one.
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
        head.remove_header(&header::COOKIE);
        if let Ok(cookies) = joined {
            let _ = head.insert_header(header::COOKIE, cookies);
        }
    }
}
