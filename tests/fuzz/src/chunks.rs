//! The watch over chunked bodies, against the parser that pingora uses.

use difygate::{fuzzing::Chunked, http::headers::may_trail};
use httparse::{EMPTY_HEADER, Status, parse_chunk_size, parse_headers};

use super::choice;

/// A body is in order however it is parted, and only if another parser reads it to the same end
/// without having to leave anything out. The first byte says how it is parted.
pub fn chunks(bytes: &[u8]) {
    let (choice, body) = choice(bytes);
    let mut whole = Chunked::default();
    let said = whole.take(body);
    let mut parted = Chunked::default();
    let step = usize::from(choice % 16) + 1;
    let piecewise = body.chunks(step).try_for_each(|piece| parted.take(piece));
    assert_eq!((piecewise, parted.is_over()), (said, whole.is_over()));

    let end = end_of(body);
    assert_eq!(end.is_some(), whole.is_over());
    if let Some(end) = end {
        let mut early = Chunked::default();
        assert_eq!(early.take(&body[..end - 1]), Ok(()));
        assert!(!early.is_over());
        assert_eq!(early.take(&body[end - 1..end]), Ok(()));
        assert!(early.is_over());
    }
    if said.is_err() {
        assert!(whole.take(b"0\r\n\r\n").is_err());
    }
}

/// Returns where a body ends that is complete and has nothing which a parser would leave out.
fn end_of(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &body[at..];
        let Ok(Status::Complete((start, size))) = parse_chunk_size(rest) else {
            return None;
        };
        let digits = rest[..start].strip_suffix(b"\r\n")?;
        if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        at += start;
        if size == 0 {
            return Some(at + trailers(&body[at..])?);
        }
        let data = usize::try_from(size).ok()?;
        let after = at.checked_add(data)?;
        if body.get(after..)?.get(..2)? != b"\r\n" {
            return None;
        }
        at = after + 2;
    }
}

/// Returns where a trailer section ends that holds nothing forbidden.
fn trailers(section: &[u8]) -> Option<usize> {
    // Line by line, as the parser itself takes more than the grammar has: bare line feeds, for one.
    let mut fields = vec![EMPTY_HEADER; 1 + section.len() / 4];
    let Ok(Status::Complete((end, parsed))) = parse_headers(section, &mut fields) else {
        return None;
    };
    let allowed = parsed.iter().all(|field| {
        let name = field.name.to_ascii_lowercase();
        !name.is_empty() && name.len() <= 64 && may_trail(&name)
    });
    let mut lines = section[..end].split_inclusive(|byte| *byte == b'\n');
    (allowed && lines.all(|line| line.ends_with(b"\r\n"))).then_some(end)
}
