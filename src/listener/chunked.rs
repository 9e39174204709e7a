//! The framing of a chunked body (RFC 9112 section 7.1), watched while it passes.
//!
//! pingora takes the body apart and leaves out what it does not need: extensions of chunks, and the
//! trailer section. Others read those otherwise, which is what request smuggling is made of, and
//! nobody who sends a body to an API needs them: extensions are refused, and trailer fields that
//! would mean something in a head.

use crate::http::headers::may_trail;

/// Most digits of a chunk's size: 64 bits.
const MOST_DIGITS: u8 = 16;

/// Longest name of a trailer field; pingora has a bound for the whole section.
const LONGEST_NAME: usize = 64;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunked body that is not framed as RFC 9112 section 7.1 has it, and no more")]
pub struct Misframed;

/// How far a chunked body has come.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    state: State,
    /// Whether something has come that is none of it.
    has_more: bool,
}

#[derive(Clone, Debug)]
enum State {
    /// In the digits of a chunk's size.
    Size { digits: u8, size: u64 },
    /// A size's line feed is next.
    SizeEnd { size: u64 },
    /// In a chunk, with so many bytes to come.
    Data { left: u64 },
    /// The CRLF behind a chunk is next.
    DataEnd { cr: bool },
    /// At the beginning of a line of the trailer section, or in a field's name.
    Name { name: Name },
    /// In a trailer field's value.
    Value,
    /// A trailer line's line feed is next; the section ends with it or goes on.
    LineEnd { last: bool },
    /// The body is over. What follows is none of it.
    Over,
    /// It was not in order.
    Broken,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

#[derive(Clone, Debug, Default)]
struct Name {
    text: Vec<u8>,
}

impl Chunked {
    /// Takes the body's next bytes, however they are parted.
    ///
    /// # Errors
    ///
    /// [`Misframed`], then and ever after.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Misframed> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if self.is_over() {
                self.has_more = true;
                return Ok(());
            }
            if let State::Data { left } = &mut self.state {
                let there = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(*left);
                *left -= there;
                // Not more than what is there.
                rest = rest.get(there as usize..).unwrap_or_default();
                if *left == 0 {
                    self.state = State::DataEnd { cr: false };
                }
                continue;
            }
            let state = std::mem::replace(&mut self.state, State::Broken);
            self.state = state.after(*byte).ok_or(Misframed)?;
            rest = after;
        }
        match self.state {
            State::Broken => Err(Misframed),
            _ => Ok(()),
        }
    }

    /// Tells whether the body has come to its end.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Tells whether something has come behind it.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }
}

impl State {
    /// Returns what it is after one more byte; `None` if that must not come here.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { digits, size }, digit) if digit.is_ascii_hexdigit() => {
                let value = u64::from((digit as char).to_digit(16)?);
                let digits = digits + 1;
                (digits <= MOST_DIGITS).then_some(Self::Size {
                    digits,
                    size: size << 4 | value,
                })
            }
            (Self::Size { digits: 1.., size }, b'\r') => Some(Self::SizeEnd { size }),
            (Self::SizeEnd { size: 0 }, b'\n') => Some(Self::new_line()),
            (Self::SizeEnd { size: left }, b'\n') => Some(Self::Data { left }),
            (Self::DataEnd { cr: false }, b'\r') => Some(Self::DataEnd { cr: true }),
            (Self::DataEnd { cr: true }, b'\n') => Some(Self::default()),
            (Self::Name { name }, b'\r') if name.text.is_empty() => {
                Some(Self::LineEnd { last: true })
            }
            (Self::Name { name }, b':') => name.may_trail().then_some(Self::Value),
            (Self::Name { name }, byte) => name.with(byte).map(|name| Self::Name { name }),
            (Self::Value, b'\r') => Some(Self::LineEnd { last: false }),
            (Self::Value, b'\t' | b' '..=b'~' | 0x80..) => Some(Self::Value),
            (Self::LineEnd { last: true }, b'\n') => Some(Self::Over),
            (Self::LineEnd { last: false }, b'\n') => Some(Self::new_line()),
            _ => None,
        }
    }

    fn new_line() -> Self {
        let name = Name::default();
        Self::Name { name }
    }
}

impl Name {
    /// Adds a byte of a token (RFC 9110 section 5.6.2); so a line that begins with white space is
    /// none.
    fn with(mut self, byte: u8) -> Option<Self> {
        let fits = self.text.len() < LONGEST_NAME
            && (byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        self.text.push(byte.to_ascii_lowercase());
        fits.then_some(self)
    }

    fn may_trail(&self) -> bool {
        !self.text.is_empty() && str::from_utf8(&self.text).is_ok_and(may_trail)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tells whether a body is in order and complete.
    fn is_whole(body: &str) -> bool {
        let mut chunked = Chunked::default();
        chunked.take(body.as_bytes()).is_ok() && chunked.is_over()
    }

    #[test]
    fn what_every_client_sends_is_in_order() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n00000000000000aF\r\n",
            "1\r\n\n\r\n2\r\n\r\n\r\n000\r\n\r\n",
            "0\r\nX-Checksum: abc\r\nServer-Timing:\r\n\r\n",
        ] {
            assert!(Chunked::default().take(body.as_bytes()).is_ok(), "{body:?}");
        }
        assert!(is_whole("5\r\nhello\r\n0\r\n\r\n"));
        assert!(is_whole("0\r\n\r\nGET /next HTTP/1.1\r\n"));
        assert!(!is_whole("5\r\nhello\r\n0\r\n"));
    }

    #[test]
    fn what_comes_behind_a_body_is_noticed_however_it_arrives() {
        for (pieces, more) in [
            (&["0\r\n\r\n"][..], false),
            (&["0\r\n\r", "\n"], false),
            (&["0\r\n\r\n", ""], false),
            (&["0\r\n\r\n\r\n"], true),
            (&["0\r\n\r\n", "G"], true),
            (&["0\r\n\r", "\nG"], true),
        ] {
            let mut chunked = Chunked::default();
            for piece in pieces {
                assert_eq!(chunked.take(piece.as_bytes()), Ok(()));
            }
            assert!(chunked.is_over());
            assert_eq!(chunked.has_more(), more, "{pieces:?}");
        }
    }

    #[test]
    fn what_somebody_else_may_read_otherwise_is_not() {
        for body in [
            "5;a=b\r\nhello\r\n",
            "5;\r\nhello\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "\r\n5\r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\rhello\r\n",
            "5\r\nhello\n",
            "5\r\nhello0\r\n\r\n",
            "10000000000000000\r\n",
            "0;last\r\n\r\n",
            "0\r\n\n",
            "0\r\nX-A: b\n\r\n",
            "0\r\nX-A: b\rX-B: c\r\n\r\n",
            "0\r\nX-A: b\0\r\n\r\n",
            "0\r\n X-A: b\r\n\r\n",
            "0\r\nX-A : b\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\nAuthorization: Bearer x\r\n\r\n",
            "0\r\ncontent-LENGTH: 5\r\n\r\n",
            "0\r\nX_Dify-Scopes: full\r\n\r\n",
            "0\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(
                Chunked::default().take(body.as_bytes()),
                Err(Misframed),
                "{body:?}"
            );
        }
    }

    #[test]
    fn what_is_broken_stays_broken() {
        let mut chunked = Chunked::default();
        assert_eq!(chunked.take(b";"), Err(Misframed));
        assert_eq!(chunked.take(b""), Err(Misframed));
        assert_eq!(chunked.take(b"0\r\n\r\n"), Err(Misframed));
    }

    proptest! {
        #[test]
        fn any_chunks_are_in_order_however_they_arrive(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            step in 1..9_usize,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let mut chunked = Chunked::default();
            for piece in body.chunks(step) {
                prop_assert!(!chunked.is_over());
                prop_assert_eq!(chunked.take(piece), Ok(()));
            }
            prop_assert!(chunked.is_over());
        }
    }
}
