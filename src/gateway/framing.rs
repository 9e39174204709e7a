//! Rules of HTTP that must not be bent in front of a guarded API.
//!
//! pingora is lenient in a few places where RFC 9112 allows it. A gateway whose upstream may read
//! the same bytes differently refuses them instead: one request in, one request out.

use http::{
    Method, Version,
    header::{self, HeaderValue},
};
use pingora::{Error, http::RequestHeader, proxy::Session};

use crate::{
    http::{Malformed, Rejection},
    listener::{Connection, Misframed},
    route::NotCanonical,
};

/// Most header fields; in HTTP/1.1 it is pingora's own limit.
const MAX_HEADERS: usize = 256;

/// Checks the header section's framing and size; and there is no tunnel.
///
/// Over HTTP/2 the codec has refused what it must not let through already: connection-specific
/// fields, a `te` other than `trailers`, misplaced or doubled pseudo-header fields, and a body that
/// is not as long as announced (RFC 9113 section 8); and pingora, what names two hosts.
pub(super) fn check(session: &Session, max_header_bytes: usize) -> Result<(), Rejection> {
    let head = session.req_header();
    // Its target is no path and what follows it no body, in either protocol.
    if head.method == Method::CONNECT {
        return Err(Rejection::ConnectRefused);
    }
    // Methods are told apart by case (RFC 9110 section 9.1), and a rule that names POST is about no
    // `post`; whoever stands behind and folds them would run the one as the other.
    if head
        .method
        .as_str()
        .bytes()
        .any(|it| it.is_ascii_lowercase())
    {
        return Err(Rejection::Malformed(Malformed::Method));
    }
    if session.as_http1().is_some() {
        let raw = session.to_h1_raw();
        if raw.len() > max_header_bytes {
            return Err(Rejection::HeaderTooLarge);
        }
        let sound = session.stream().map(Connection::is_request_line_sound);
        if sound == Some(false) {
            return Err(Rejection::Malformed(Malformed::Head));
        }
        if has_bare_lf(&raw) {
            return Err(Rejection::Malformed(Malformed::BareLf));
        }
        // The parsed target has lost it by now.
        if memchr::memchr(b'#', &raw).is_some() && target_of(&raw).contains(&b'#') {
            return Err(Rejection::Target(NotCanonical::Fragment));
        }
        let codings = head.headers.get_all(header::TRANSFER_ENCODING);
        let mut codings = codings.iter();
        if let Some(coding) = codings.next() {
            let chunked = coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked");
            if !chunked || codings.next().is_some() {
                return Err(Rejection::Malformed(Malformed::TransferEncoding));
            }
            // pingora has removed it from the parsed head by now.
            if has_content_length(&raw) {
                return Err(Rejection::Malformed(Malformed::TwoFramings));
            }
            let misframed = session.stream().map(Connection::expect_chunks);
            if misframed.is_some_and(|checked| checked.is_err()) {
                return Err(Rejection::Malformed(Malformed::Body));
            }
        }
    }
    if head.headers.len() > MAX_HEADERS {
        return Err(Rejection::HeaderTooLarge);
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !digits || lengths.next().is_some() {
            return Err(Rejection::Malformed(Malformed::ContentLength));
        }
    }
    match head.headers.get(header::HOST) {
        None if head.version == Version::HTTP_11 => {
            return Err(Rejection::Malformed(Malformed::NoHost));
        }
        Some(host) if !is_host(host.as_bytes()) => {
            return Err(Rejection::Malformed(Malformed::Host));
        }
        _ => {}
    }
    Ok(())
}

/// Returns the one `Authorization` value there may be.
pub(super) fn one_authorization(head: &RequestHeader) -> Result<Option<&[u8]>, Rejection> {
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Rejection::Malformed(Malformed::SeveralAuthorization));
    }
    Ok(first.map(HeaderValue::as_bytes))
}

/// Tells whether reading a body has failed because of its framing.
pub(super) fn is_misframed(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    let cause = cause.and_then(std::io::Error::get_ref);
    cause.is_some_and(|cause| cause.is::<Misframed>())
}

/// Tells whether a line ends in an LF without its CR.
pub fn has_bare_lf(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r')
}

/// The request line's second word.
pub fn target_of(raw: &[u8]) -> &[u8] {
    let raw = raw.trim_ascii_start();
    let line = raw.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Tells whether a `Host` is a host and at most a port (RFC 9112 section 3.2), or empty.
pub fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| OF_A_HOST[usize::from(*byte)])
}

/// The bytes that may stand in a host and its port.
const OF_A_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+;=%:[]";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Tells whether a head has the header, which its parsed form may have lost.
pub fn has_content_length(raw: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.split(|byte| *byte == b':')
            .next()
            .is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"content-length"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_lf_is_seen_anywhere() {
        assert!(!has_bare_lf(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(has_bare_lf(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
        assert!(has_bare_lf(b"GET / HTTP/1.1\r\nHost: a\r\n\n"));
        assert!(has_bare_lf(b"\nGET / HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn a_content_length_is_seen_in_any_case_and_not_in_values() {
        assert!(has_content_length(
            b"POST / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\n"
        ));
        assert!(!has_content_length(
            b"POST / HTTP/1.1\r\nX: content-length: 3\r\n\r\n"
        ));
    }
}
