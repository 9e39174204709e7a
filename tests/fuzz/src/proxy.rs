//! The PROXY header.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use difygate::fuzzing::read_proxy_header;
use tokio::io::{AsyncRead, ReadBuf};

/// A header is read to its last byte and never beyond, however the bytes come; without its last
/// byte it is none.
pub fn proxy_header(bytes: &[u8]) {
    let (said, taken) = read(bytes, usize::MAX);
    assert_eq!(read(bytes, 1), (said, taken), "byte by byte");
    let Ok(said) = said else {
        return;
    };
    let header = &bytes[..taken];
    assert!(taken <= 107 && header.ends_with(b"\r\n") || taken == length_of_binary(header));
    assert_eq!(read(header, usize::MAX), (Ok(said), taken));
    let more = [header, b"\r\n\r\n\0\r\nQUIT\n"].concat();
    assert_eq!(read(&more, usize::MAX), (Ok(said), taken));
    assert!(read(&header[..taken - 1], usize::MAX).0.is_err());
}

/// The fixed part of version 2 and what it says to follow.
fn length_of_binary(header: &[u8]) -> usize {
    16 + usize::from(u16::from_be_bytes([header[14], header[15]]))
}

type Said = Result<Option<SocketAddr>, io::ErrorKind>;

/// Reads a header from bytes that come at most `step` at a time; what it says, and what it took.
fn read(bytes: &[u8], step: usize) -> (Said, usize) {
    let mut reader = Pieces { left: bytes, step };
    let said = {
        let mut reading = pin!(read_proxy_header(&mut reader));
        match reading
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(said) => said.map_err(|error| error.kind()),
            Poll::Pending => panic!("memory is always ready"),
        }
    };
    (said, bytes.len() - reader.left.len())
}

struct Pieces<'a> {
    left: &'a [u8],
    step: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.left.len().min(self.step).min(buffer.remaining());
        let (piece, left) = self.left.split_at(length);
        buffer.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}
