//! Values of single header fields that something is decided by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use difygate::{fuzzing::without_port, http::body::is_form, trace::Parent};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

/// Any bytes as a `traceparent`, a `Content-Type` and a `Host` of the admin listener.
pub fn values(bytes: &[u8]) {
    traceparent(bytes);
    content_type(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        host(text);
    }
}

/// Against a reading by its parts, which knows nothing of places.
fn traceparent(bytes: &[u8]) {
    let read = Parent::parse(bytes);
    let parts = by_parts(bytes);
    let told = read.map(|parent| {
        (
            u128::from_be_bytes(*parent.trace.as_bytes()),
            u64::from_be_bytes(*parent.span.as_bytes()),
            parent.sampled,
        )
    });
    assert_eq!(told, parts);
    if let Some(parent) = read {
        assert_eq!(Parent::parse(&parent.to_header()), Some(parent));
    }
}

fn by_parts(bytes: &[u8]) -> Option<(u128, u64, bool)> {
    let mut parts = bytes.split(|byte| *byte == b'-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let text = str::from_utf8(part).ok()?;
        let number = u128::from_str_radix(text, 16).ok()?;
        part.iter().all(lower).then_some(number)
    };
    let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
    let more = parts.next().is_some();
    let sound = version != 0xff && trace != 0 && span != 0 && !(version == 0 && more);
    sound.then_some((trace, u64::try_from(span).ok()?, flags & 1 == 1))
}

/// A type is what stands before the first semicolon, however it is spelled.
fn content_type(bytes: &[u8]) {
    let is = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).ok();
        value.is_some_and(|value| is_form(&HeaderMap::from_iter([(CONTENT_TYPE, value)])))
    };
    let form = is(bytes);
    assert_eq!(is(&bytes.to_ascii_uppercase()), form);
    assert!(!is(&[b"x", bytes].concat()), "another type");
    if HeaderValue::from_bytes(bytes).is_ok_and(|value| value.to_str().is_ok()) {
        assert_eq!(is(&[bytes, b"; charset=utf-8"].concat()), form);
        assert!(is(&[b"application/x-www-form-urlencoded;", bytes].concat()));
    }
    if form {
        let begin = bytes.trim_ascii().get(..FORM.len());
        assert!(begin.is_some_and(|begin| begin.eq_ignore_ascii_case(FORM)));
    }
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// A name is a part of the value, and an address the one that is meant.
fn host(text: &str) {
    let name = without_port(text);
    assert!(text.contains(name));
    assert!(!name.contains(':') || name.parse::<Ipv6Addr>().is_ok());
    if let Ok(address) = text.parse::<SocketAddr>() {
        // A zone means nothing to anybody else.
        let plain = !text.contains('%');
        assert!(!plain || name.parse() == Ok(address.ip()), "{text:?}");
    }
    if let Ok(address @ IpAddr::V4(_)) = text.parse() {
        assert_eq!(name.parse(), Ok(address));
    }
    if !name.is_empty() && name == text {
        assert_eq!(without_port(&format!("{text}:8080")), text);
        for other in ["", "x", "80x", "+80"] {
            assert_eq!(without_port(&format!("{text}:{other}")), "");
        }
    }
}
