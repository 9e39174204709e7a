//! Finds out, on a connection's raw bytes, where a head ends and what comes behind it.
//!
//! Whether a body is chunked is known only when pingora has parsed the head, and by then it may hold
//! the body's first bytes, and all of a short one. So what follows a head is looked at as if it were
//! chunks, and what that says counts only if it turns out to be.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{
    chunked::{Chunked, Misframed},
    request_line::RequestLine,
};

/// What ends a head.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// Finds it; built once, since every head is searched.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&HEAD_END));

/// One request's bytes, from its head's first to its body's last.
#[derive(Debug, Default)]
pub struct BodyWatch {
    /// Whether the request line has begun. Empty lines before it are none of the head (RFC 9112
    /// section 2.2), and two of them look like its end.
    begun: bool,
    /// The request line as it came.
    line: RequestLine,
    /// The last bytes of the head so far, as many as its end could have begun with.
    tail: [u8; HEAD_END.len() - 1],
    /// What is behind the head, once that has ended.
    body: Option<Chunked>,
    /// How many bytes have come behind it.
    behind: u64,
}

impl BodyWatch {
    /// Takes the next bytes of a head, and of whatever came along with its end; the bytes after a
    /// head that has ended begin another one.
    ///
    /// # Errors
    ///
    /// [`Misframed`] if what came along is no beginning of a chunked body.
    pub fn take_head(&mut self, bytes: &[u8]) -> Result<(), Misframed> {
        if self.body.is_some() {
            *self = Self::default();
        }
        let bytes = self.without_empty_lines(bytes);
        self.line.take(bytes);
        let Some(end) = self.end_in(bytes) else {
            return Ok(());
        };
        let behind = bytes.get(end..).unwrap_or_default();
        self.count(behind.len());
        self.body.insert(Chunked::default()).take(behind)
    }

    /// Says that so many bytes have come behind the head after those that came along with it.
    pub const fn count(&mut self, bytes: usize) {
        self.behind = self.behind.saturating_add(bytes as u64);
    }

    /// Tells whether something has come behind the body, which has `length` bytes or, without one,
    /// is chunked.
    pub fn has_more(&self, length: Option<u64>) -> bool {
        match length {
            Some(length) => self.behind > length,
            None => self.body.as_ref().is_some_and(Chunked::has_more),
        }
    }

    /// Tells whether the request line is one as it came (RFC 9112 section 3).
    pub const fn is_line_sound(&self) -> bool {
        self.line.is_sound()
    }

    /// Tells whether the last head has ended.
    pub const fn is_behind_head(&self) -> bool {
        self.body.is_some()
    }

    /// Takes the next bytes of a chunked body.
    ///
    /// # Errors
    ///
    /// [`Misframed`].
    pub fn take_body(&mut self, bytes: &[u8]) -> Result<(), Misframed> {
        self.body.as_mut().map_or(Ok(()), |body| body.take(bytes))
    }

    /// Returns the bytes from the request line on. Whether CR and LF are in order before it is for
    /// the parser to say, which skips as many.
    fn without_empty_lines<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.begun {
            return bytes;
        }
        let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte));
        self.begun = begin.is_some();
        begin.and_then(|at| bytes.get(at..)).unwrap_or_default()
    }

    /// Returns where the head ends in `bytes`, and remembers their last ones if it does not.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let kept = self.tail.len();
        // The end may be parted between two reads: the first few bytes are looked at with the tail.
        let mut seam = [0; 2 * (HEAD_END.len() - 1)];
        let first = bytes.len().min(kept);
        seam[..kept].copy_from_slice(&self.tail);
        seam[kept..kept + first].copy_from_slice(&bytes[..first]);
        let parted = seam[..kept + first]
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END);
        let end = match parted {
            Some(at) => Some(at + HEAD_END.len() - kept),
            None => FINDER.find(bytes).map(|at| at + HEAD_END.len()),
        };
        self.tail.copy_from_slice(&seam[first..first + kept]);
        if bytes.len() > kept {
            self.tail.copy_from_slice(&bytes[bytes.len() - kept..]);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn what_comes_along_with_a_head_is_looked_at() {
        let take = |body: &[u8]| BodyWatch::default().take_head(&[HEAD, body].concat());
        assert_eq!(take(b""), Ok(()));
        assert_eq!(take(b"5\r\nhel"), Ok(()));
        assert_eq!(take(b"5;a\r\nhel"), Err(Misframed));
    }

    #[test]
    fn each_head_begins_anew() {
        let mut watch = BodyWatch::default();
        assert_eq!(watch.take_head(&[HEAD, b"{}"].concat()), Err(Misframed));
        assert_eq!(watch.take_head(HEAD), Ok(()));
        assert_eq!(watch.take_body(b"1\r\na\r\n"), Ok(()));
        assert_eq!(watch.take_body(b"1\na\r\n"), Err(Misframed));
    }

    #[test]
    fn empty_lines_before_a_head_hide_neither_its_end_nor_its_body() {
        for count in 0..4 {
            let before = "\r\n".repeat(count);
            let mut watch = BodyWatch::default();
            assert_eq!(watch.take_head(before.as_bytes()), Ok(()));
            assert!(!watch.is_behind_head(), "{count} empty lines are no head");
            let (begin, end) = HEAD.split_at(HEAD.len() - 2);
            assert_eq!(watch.take_head(begin), Ok(()));
            assert!(!watch.is_behind_head());
            assert_eq!(watch.take_head(&[end, b"1;a\r\n"].concat()), Err(Misframed));
            assert!(watch.is_behind_head());
        }
    }

    proptest! {
        #[test]
        fn a_head_ends_at_the_same_place_however_it_arrives(
            empty_lines in 0..4_usize,
            cuts in proptest::collection::vec(any::<bool>(), 60),
            good: bool,
        ) {
            let before = "\r\n".repeat(empty_lines);
            let body: &[u8] = if good { b"3\r\nabc\r\n0\r\n\r\n" } else { b"3\r\nabcd\r\n0\r\n\r\n" };
            let all = [before.as_bytes(), HEAD, body].concat();
            let behind_head = before.len() + HEAD.len();
            let mut watch = BodyWatch::default();
            let (mut said, mut from) = (Ok(()), 0);
            for to in 1..=all.len() {
                if to < all.len() && !cuts.get(to).is_some_and(|cut| *cut) {
                    continue;
                }
                let piece = &all[from..to];
                said = if watch.is_behind_head() {
                    let taken = watch.take_body(piece);
                    said.and(taken)
                } else {
                    watch.take_head(piece)
                };
                prop_assert_eq!(watch.is_behind_head(), to >= behind_head);
                from = to;
            }
            prop_assert_eq!(said.is_ok(), good);
            prop_assert_eq!(watch.body.is_some_and(|body| body.is_over()), good);
        }
    }
}
