//! The checks on a raw head, against the parser that pingora uses.

use difygate::fuzzing::{BodyWatch, has_bare_lf, has_content_length, is_host, target_of};
use httparse::{EMPTY_HEADER, Request, Status};

/// What the checks find in the bytes is what the parser has found: the request's target, whether
/// there is a `Content-Length`, and where the body begins, however the head arrives.
pub fn head(bytes: &[u8]) {
    let mut fields = [EMPTY_HEADER; 256];
    let mut request = Request::new(&mut fields);
    let Ok(Status::Complete(length)) = request.parse(bytes) else {
        return;
    };
    let raw = &bytes[..length];
    let lone = raw
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| !line.ends_with(b"\r\n"));
    assert_eq!(has_bare_lf(raw), lone);
    if lone {
        return;
    }
    for step in [1, 2, 3, 5, length] {
        let mut watch = BodyWatch::default();
        for piece in raw.chunks(step) {
            assert!(!watch.is_behind_head(), "an end before the end");
            assert!(watch.take_head(piece).is_ok());
        }
        assert!(watch.is_behind_head(), "no end in pieces of {step}");
        assert!(watch.is_line_sound(), "no line in pieces of {step}");
    }
    assert_eq!(Some(target_of(raw)), request.path.map(str::as_bytes));
    let named = |name: &str| {
        let mut fields = request.headers.iter();
        fields.any(|field| field.name.eq_ignore_ascii_case(name))
    };
    assert_eq!(has_content_length(raw), named("content-length"));
    for field in request.headers.iter().filter(|field| is_host(field.value)) {
        let two_meanings = |byte: &u8| *byte <= b' ' || b",/?#@\\\x7f<>\"".contains(byte);
        assert!(!field.value.iter().any(two_meanings), "{:?}", field.value);
    }
}
