//! Finds out, on a connection's raw bytes, where a head ends and what comes behind it.
//!
//! Whether a body is chunked is known only when pingora has parsed the head, and by then it may hold
//! the body's first bytes, and all of a short one. So what follows a head is looked at as if it were
//! chunks, and what that says counts only if it turns out to be.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::chunked::{Chunked, Misframed};

/// What ends a head.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// Finds it; built once, since every head is searched.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&HEAD_END));

/// One request's bytes, from its head's first to its body's last.
#[derive(Debug, Default)]
pub(super) struct BodyWatch {
    /// The last bytes of the head so far, as many as its end could have begun with.
    tail: [u8; HEAD_END.len() - 1],
    /// What is behind the head, once that has ended.
    body: Option<Chunked>,
}

impl BodyWatch {
    /// Takes the next bytes of a head, and of whatever came along with its end; the bytes after a
    /// head that has ended begin another one.
    ///
    /// # Errors
    ///
    /// [`Misframed`] if what came along is no beginning of a chunked body.
    pub(super) fn take_head(&mut self, bytes: &[u8]) -> Result<(), Misframed> {
        if self.body.is_some() {
            *self = Self::default();
        }
        let Some(end) = self.end_in(bytes) else {
            return Ok(());
        };
        let body = self.body.insert(Chunked::default());
        body.take(bytes.get(end..).unwrap_or_default())
    }

    /// Tells whether the last head has ended.
    pub(super) const fn is_behind_head(&self) -> bool {
        self.body.is_some()
    }

    /// Takes the next bytes of a chunked body.
    ///
    /// # Errors
    ///
    /// [`Misframed`].
    pub(super) fn take_body(&mut self, bytes: &[u8]) -> Result<(), Misframed> {
        self.body.as_mut().map_or(Ok(()), |body| body.take(bytes))
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

    proptest! {
        #[test]
        fn a_head_ends_at_the_same_place_however_it_arrives(step in 1..40_usize, good: bool) {
            let body: &[u8] = if good { b"3\r\nabc\r\n0\r\n\r\n" } else { b"3\r\nabcd\r\n0\r\n\r\n" };
            let mut watch = BodyWatch::default();
            let mut said = Ok(());
            for piece in [HEAD, body].concat().chunks(step) {
                said = if watch.body.is_some() {
                    let taken = watch.take_body(piece);
                    said.and(taken)
                } else {
                    watch.take_head(piece)
                };
            }
            prop_assert_eq!(said.is_ok(), good);
            prop_assert_eq!(watch.body.is_some_and(|body| body.is_over()), good);
        }
    }
}
