//! What HTTP/1 has of its own: clients of version 1.0, bodies that wait to be asked for, and
//! connections that end with an answer.

use http::{StatusCode, Version, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::listener::Connection;

/// Tells the connection that a request is under way on it.
pub(super) fn begin(session: &mut Session) {
    if let Some(stream) = session.stream() {
        Connection::begin_request(stream);
    }
    if is_1_0(session) {
        // It understands no interim answer (RFC 9110 section 15.2), whatever it expects (section
        // 10.1.1); the upstream, for which it is a client of 1.1, has not to be asked for one.
        session.set_ignore_info_resp(true);
        session.req_header_mut().remove_header(&header::EXPECT);
    }
}

/// Tells the connection that the request has ended.
pub(super) fn end(session: &mut Session) {
    let more = has_more(session);
    if more {
        // The answer may have begun before it came, and told the client otherwise.
        session.set_keepalive(None);
    }
    let body_left = !session.is_body_done();
    if let Some(stream) = session.stream() {
        Connection::end_request(stream, more || body_left);
    }
}

/// Tells whether the client sends its body when it is asked to (RFC 9110 section 10.1.1). There is
/// no other expectation.
pub(super) fn waits_to_be_asked(head: &RequestHeader) -> bool {
    head.headers.get_all(header::EXPECT).iter().any(|value| {
        let mut expectations = value.as_bytes().split(|byte| *byte == b',');
        expectations.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
    })
}

/// Tells whether the client has sent something behind the request, which has come whole.
pub(super) fn has_more(session: &mut Session) -> bool {
    let length = session.body_bytes_read();
    session.is_body_done()
        && session
            .stream()
            .is_some_and(|stream| Connection::has_more(stream, length))
}

/// Gives an upstream's answer the end that its client understands.
///
/// # Errors
///
/// When a tunnel would begin in the middle.
pub(super) fn settle(session: &mut Session, response: &mut ResponseHeader) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        let switched = session.stream().map(Connection::switch_protocols);
        return switched.unwrap_or(Ok(())).map_err(|_| {
            let why = "the client did not wait for the 101";
            Error::explain(ErrorType::InvalidHTTPHeader, why).into_down()
        });
    }
    if has_more(session) {
        session.set_keepalive(None);
    }
    if is_1_0(session) && !response.status.is_informational() {
        // RFC 9112 section 6.1. pingora has chunked what had no length.
        if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
            response.remove_header(&header::CONTENT_LENGTH);
        }
        if !response.headers.contains_key(header::CONTENT_LENGTH) {
            session.set_keepalive(None);
        }
    }
    Ok(())
}

fn is_1_0(session: &Session) -> bool {
    session.req_header().version == Version::HTTP_10
}
