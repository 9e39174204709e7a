//! Rules of HTTP/1.1 that must not be bent in front of a guarded API.
//!
//! pingora is lenient in a few places where RFC 9112 allows it. A gateway whose upstream may read
//! the same bytes differently refuses them instead: one request in, one request out.

use http::{Version, header};
use pingora::proxy::Session;

use crate::http::{Malformed, Rejection};

/// Checks the header section's framing and size.
pub(super) fn check(session: &Session, max_header_bytes: usize) -> Result<(), Rejection> {
    let head = session.req_header();
    if session.as_http1().is_some() {
        let raw = session.to_h1_raw();
        if raw.len() > max_header_bytes {
            return Err(Rejection::HeaderTooLarge);
        }
        if has_bare_lf(&raw) {
            return Err(Rejection::Malformed(Malformed::BareLf));
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
        }
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(header::HOST) {
        return Err(Rejection::Malformed(Malformed::NoHost));
    }
    Ok(())
}

fn has_bare_lf(raw: &[u8]) -> bool {
    let mut previous = 0;
    raw.iter().any(|&byte| {
        let bare = byte == b'\n' && previous != b'\r';
        previous = byte;
        bare
    })
}

fn has_content_length(raw: &[u8]) -> bool {
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
