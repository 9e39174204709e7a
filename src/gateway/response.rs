//! What of an upstream's response is between the gateway and it, and what contradicts itself.

use http::{
    StatusCode, Version,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use pingora::{Error, ErrorType, Result, http::ResponseHeader};

/// A body that no 204 can have, as the access line has it.
pub(super) const BODY_BEHIND_204: ErrorType = ErrorType::Custom("BodyBehind204");

/// Fields about one connection (RFC 9110 section 7.6.1), and about who answers for a proxy of the
/// next hop's (section 11.7.1). `Connection` and `Transfer-Encoding` of a final answer are written anew.
const HOP_BY_HOP: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
];

/// Fields that say where the body ends: `Connection` cannot take them away.
const FRAMING: [HeaderName; 3] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// Takes away what was meant for the gateway, before the client's side is written; of a 101, what is not
/// about the agreement.
///
/// # Errors
///
/// When the upstream announces a body where there can be none (RFC 9112 section 6.3), on a connection
/// that goes on: what it sends behind the head would be taken for the next answer.
pub(super) fn receive(response: &mut ResponseHeader) -> Result<()> {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let is_interim = response.status.is_informational() && !switches;
    let is_204 = response.status == StatusCode::NO_CONTENT;
    if is_204 && announces_a_body(&response.headers) && !closes(&response.headers) {
        return Err(Error::new_up(BODY_BEHIND_204));
    }
    for name in &HOP_BY_HOP {
        response.remove_header(name);
    }
    if !switches {
        response.remove_header(&header::UPGRADE);
        for name in nominated(&response.headers) {
            response.remove_header(&name);
        }
    }
    if switches || is_interim || is_204 {
        // There is no body (RFC 9110 sections 8.6 and 15.2).
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    if is_interim {
        response.remove_header(&header::CONNECTION);
    }
    if let Some(length) = the_one_length(&response.headers) {
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    if response.version == Version::HTTP_10 {
        // How the upstream speaks is nothing to the client, whose framing is of 1.1.
        response.set_version(Version::HTTP_11);
    }
    Ok(())
}

fn announces_a_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lengths.flat_map(|length| length.as_bytes().split(|byte| *byte == b','));
    headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|it| it.trim_ascii() != b"0")
}

/// The options of `Connection`.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii)
}

/// Tells whether the upstream's connection ends with this answer (RFC 9112 section 9.6).
fn closes(headers: &HeaderMap) -> bool {
    options(headers).any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// The fields that `Connection` says are for the gateway alone. What nearly every answer says names
/// none, and costs nothing.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let usual = |option: &&[u8]| {
        option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
    };
    options(headers)
        .filter(|option| !usual(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !FRAMING.contains(name))
        .collect()
}

/// The length that is said more than once (RFC 9110 section 8.6), where that is so; those that
/// differ pingora has refused.
fn the_one_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next()?.as_bytes();
    let repeated = lengths.next().is_some() || first.contains(&b',');
    let length = first.split(|byte| *byte == b',').next()?.trim_ascii();
    repeated
        .then(|| HeaderValue::from_bytes(length).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(status: u16, fields: &[(&'static str, &'static str)]) -> Result<Vec<String>> {
        let mut response = ResponseHeader::build(status, None)?;
        for (name, value) in fields {
            response.append_header(*name, *value)?;
        }
        receive(&mut response)?;
        let fields = response.headers.iter();
        let mut fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()))
            .collect();
        fields.sort();
        Ok(fields)
    }

    #[test]
    fn what_is_about_the_upstreams_connection_stays_there() {
        let fields = [
            ("Connection", "keep-alive, X-Hop"),
            ("Connection", "content-length, , two words"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authenticate", "Basic"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("Trailer", "X-Sum"),
            ("X-Hop", "1"),
            ("X-End", "2"),
            ("Content-Length", "3"),
        ];
        let left = received(200, &fields).unwrap();
        let expected = [
            "connection: content-length, , two words",
            "connection: keep-alive, X-Hop",
            "content-length: 3",
            "x-end: 2",
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_length_is_said_once() {
        for lengths in [&["2", "2"][..], &["2, 2"], &["2,2", " 2 "]] {
            let fields: Vec<_> = lengths.iter().map(|it| ("Content-Length", *it)).collect();
            assert_eq!(received(200, &fields).unwrap(), ["content-length: 2"]);
        }
    }

    #[test]
    fn nothing_comes_behind_a_204() {
        assert!(received(204, &[]).is_ok());
        assert!(received(204, &[("Content-Length", "0")]).is_ok());
        assert!(received(204, &[("Content-Length", "42")]).is_err());
        assert!(received(204, &[("Content-Length", "0"), ("Content-Length", "42")]).is_err());
        assert!(received(204, &[("Transfer-Encoding", "chunked")]).is_err());
        let none = received(204, &[("Content-Length", "0, 0")]);
        assert_eq!(none.unwrap(), Vec::<String>::new());
        // What ends its connection leaves nothing behind.
        let closes = [("Connection", "close"), ("Transfer-Encoding", "chunked")];
        assert_eq!(received(204, &closes).unwrap(), ["connection: close"]);
        // These may have the length of what they stand for (RFC 9110 section 8.6).
        assert!(received(304, &[("Content-Length", "42")]).is_ok());
    }

    #[test]
    fn what_comes_before_an_answer_has_no_body_and_ends_nothing() {
        let fields = [
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Content-Length", "44"),
            ("Transfer-Encoding", "chunked"),
            ("Link", "</a>"),
        ];
        assert_eq!(received(103, &fields).unwrap(), ["link: </a>"]);
        let agreed = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Length", "7"),
        ];
        let left = ["connection: Upgrade", "upgrade: websocket"];
        assert_eq!(received(101, &agreed).unwrap(), left);
    }

    #[test]
    fn an_answer_of_1_0_is_one_of_1_1() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.set_version(Version::HTTP_10);
        receive(&mut response).unwrap();
        assert_eq!(response.version, Version::HTTP_11);
    }
}
