//! HTTP/1.1 framing over a socket, byte for byte; for the client and the upstream alike.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A socket and what has been read from it too early. Every method can be cancelled.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: BytesMut,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
    Ended,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Without this, small writes would wait for each other.
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Reads more; 0 is the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn fill_or_fail(&mut self) -> io::Result<()> {
        match self.fill().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Returns when the peer has closed or reset the connection, whatever it sends before.
    pub(crate) async fn gone(&mut self) {
        while matches!(self.fill().await, Ok(1..)) {}
    }

    /// The bytes of a head, its empty line included; `None` when the connection ends first.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.split_to(end + 4).to_vec()));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next piece of a body (a whole chunk when it is chunked), `None` after the last.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Bytes>> {
        match *framing {
            Framing::Ended | Framing::Length(0) => {
                *framing = Framing::Ended;
                Ok(None)
            }
            Framing::Length(left) => {
                if self.buffer.is_empty() {
                    self.fill_or_fail().await?;
                }
                let length = self.buffer.len().min(usize::try_from(left).unwrap());
                *framing = Framing::Length(left - length as u64);
                Ok(Some(self.buffer.split_to(length).freeze()))
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() && self.fill().await? == 0 {
                    *framing = Framing::Ended;
                    return Ok(None);
                }
                Ok(Some(self.buffer.split().freeze()))
            }
            Framing::Chunked => {
                let chunk = self.chunk().await?;
                if chunk.is_none() {
                    *framing = Framing::Ended;
                }
                Ok(chunk)
            }
        }
    }

    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(line) = find(&self.buffer, b"\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..line]).into_owned();
                let size = text.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| io::Error::other(format!("bad chunk size {text:?}")))?;
                let start = line + 2;
                if size > 0 && self.buffer.len() >= start + size + 2 {
                    self.buffer.advance(start);
                    let data = self.buffer.split_to(size).freeze();
                    let end = self.buffer.split_to(2);
                    assert_eq!(&end[..], b"\r\n", "a chunk of {size} bytes ends there");
                    return Ok(Some(data));
                }
                // The last chunk: trailers, if any, up to an empty line.
                if size == 0
                    && let Some(end) = find(&self.buffer[line..], b"\r\n\r\n")
                {
                    self.buffer.advance(line + end + 4);
                    return Ok(None);
                }
            }
            self.fill_or_fail().await?;
        }
    }
}

/// A first line and its headers, names as they were sent; `None` when it is not a head.
pub(crate) fn parse_head(head: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let first = lines.next()?.to_owned();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        })
        .collect::<Option<_>>()?;
    Some((first, headers))
}

/// The first value of a header.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The framing that the headers announce; `None` when they announce none.
pub(crate) fn framing(headers: &[(String, String)]) -> Option<Framing> {
    let coding = header(headers, "transfer-encoding");
    if coding.is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked")) {
        return Some(Framing::Chunked);
    }
    let length = header(headers, "content-length")?;
    Some(Framing::Length(length.parse().expect("a content length")))
}

/// The SHA-256 of what `hasher` has seen, in hex.
pub(crate) fn hex_digest(hasher: Sha256) -> String {
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
