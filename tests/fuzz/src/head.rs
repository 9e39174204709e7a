//! The checks on a raw head, against the parser that pingora uses.

use difygate::fuzzing::{BodyWatch, has_bare_lf, has_content_length, is_host, target_of};
use httparse::{EMPTY_HEADER, Request, Status};

/// What the checks find in the bytes is what the parser has found: the request's target, whether
/// there is a `Content-Length`, and where the body begins, however the head arrives.
pub fn head(bytes: &[u8]) {
    whatever_it_is(bytes);
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

/// What comes before any parser, and may be mended by one: of any bytes the head ends at the same
/// place and its line is judged the same however they arrive, and a line that passes has three words.
fn whatever_it_is(bytes: &[u8]) {
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte));
    let begin = begin.unwrap_or(bytes.len());
    let end = bytes[begin..].windows(4).position(|it| it == b"\r\n\r\n");
    let Some(end) = end.map(|at| begin + at + 4) else {
        for step in [1, 2, 3, 5, bytes.len().max(1)] {
            watched(bytes, step, false);
        }
        return;
    };
    let head = &bytes[begin..end];
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let is_three_words = words.len() == 3 && !line.iter().any(u8::is_ascii_control);
    for step in [1, 2, 3, 5, end] {
        let watch = watched(&bytes[..end], step, true);
        assert_eq!(watch.is_line_sound(), is_three_words, "pieces of {step}");
    }
    if is_three_words && !words[0].is_empty() {
        assert_eq!(target_of(head), words[1]);
    }
}

/// A watch that has got these bytes in pieces of `step`, of which the last may be a head's end.
fn watched(bytes: &[u8], step: usize, is_whole: bool) -> BodyWatch {
    let mut watch = BodyWatch::default();
    for piece in bytes.chunks(step) {
        assert!(!watch.is_behind_head(), "an end before the end");
        assert!(watch.take_head(piece).is_ok());
    }
    assert_eq!(watch.is_behind_head(), is_whole, "pieces of {step}");
    watch
}
