//! Whether a request line is one, on the bytes that came.
//!
//! pingora mends what its parser refuses: whatever stands between the method and the last thing that
//! looks like a version becomes the target, percent-encoded. Who reads the line by RFC 9112 section
//! 3, in front of the gateway or behind it, sees another target in `/a HTTP/9.9 HTTP/1.1`, or no
//! request at all.

/// What has come of a request line.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    spaces: usize,
    /// Whether a control character is in it, which a CR is anywhere but at its end.
    controls: bool,
    /// Whether the last byte so far was a CR.
    behind_cr: bool,
    is_over: bool,
}

impl RequestLine {
    /// Takes the next bytes of a head; those behind the line mean nothing here.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.is_over || bytes.is_empty() {
            return;
        }
        let end = memchr::memchr(b'\n', bytes);
        let line = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
        // A CR that something other than the line's end follows.
        self.controls |= self.behind_cr && !line.is_empty();
        let (line, cr) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, self.behind_cr && line.is_empty()),
        };
        self.controls |= line.iter().any(u8::is_ascii_control);
        self.spaces += line.iter().filter(|byte| **byte == b' ').count();
        self.behind_cr = cr;
        self.is_over = end.is_some();
    }

    /// Tells whether the line, which is over, is three words with a space between each two and no
    /// control character. Whatever else no target may have is refused by the parser, and not mended.
    pub(super) const fn is_sound(&self) -> bool {
        self.spaces == 2 && !self.controls
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_sound(pieces: &[&[u8]]) -> bool {
        let mut line = RequestLine::default();
        for piece in pieces {
            line.take(piece);
        }
        line.is_over && line.is_sound()
    }

    #[test]
    fn a_request_line_is_three_words() {
        for (line, sound) in [
            ("GET / HTTP/1.1\r\n", true),
            ("GET /a?b=\"<c>\" HTTP/1.1\r\nX-A: \x01  b\r\n", true),
            ("GET /\u{e9} HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\n", true),
            ("GET /a b HTTP/1.1\r\n", false),
            ("GET /a  HTTP/1.1\r\n", false),
            ("GET  /a HTTP/1.1\r\n", false),
            ("GET /a HTTP/1.1 \r\n", false),
            ("GET /a HTTP/1.1 HTTP/1.1\r\n", false),
            ("GET /a\tHTTP/1.1 HTTP/1.1\r\n", false),
            ("GET /a?b=\0 HTTP/1.1\r\n", false),
            ("GET /a?b=\r HTTP/1.1\r\n", false),
            ("GET /a HTTP/1.1\r\r\n", false),
            ("GET /a?b=\x7f HTTP/1.1\r\n", false),
            ("GET /\r\n", false),
        ] {
            assert_eq!(is_sound(&[line.as_bytes()]), sound, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_arrives(
            line in "[G/ \t\r\u{e9}]{0,12}",
            behind in "[a \r\n]{0,4}",
            step in 1_usize..8,
        ) {
            let all = format!("{line}\r\n{behind}").into_bytes();
            let pieces: Vec<&[u8]> = all.chunks(step).collect();
            prop_assert_eq!(is_sound(&pieces), is_sound(&[&all]));
        }
    }
}
