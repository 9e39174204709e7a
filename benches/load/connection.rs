//! A client's connection: what it sends, what it has to get.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;

/// A keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What matters of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of its body.
    pub(crate) length: usize,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let (head_length, filled) = self.head(request).await?;
        let head = self.text(head_length)?;
        let status = status(head)?;
        let length = content_length(head)?;
        let end = head_length + length;
        let mut read = filled;
        while read < end {
            // What a body holds is the upstream's affair; how long it is is not.
            read += self.read(0).await?;
        }
        if read > end {
            return Err(broken("a response is longer than it says"));
        }
        Ok(Answer { status, length })
    }

    /// Sends a request and reads the head of the response, which must be a success, and what has
    /// come of a chunked body.
    pub(crate) async fn open_stream(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let (head_length, filled) = self.head(request).await?;
        let head = self.text(head_length)?;
        let chunked = "transfer-encoding: chunked";
        let is_chunked = |line: &str| line.eq_ignore_ascii_case(chunked);
        if status(head)? != 200 || !head.split("\r\n").any(is_chunked) {
            return Err(broken(&format!("no stream: {head}")));
        }
        Ok(self.buffer[head_length..filled].to_vec())
    }

    /// Returns what comes next of a stream's bytes.
    pub(crate) async fn more(&mut self) -> io::Result<&[u8]> {
        let read = self.read(0).await?;
        Ok(&self.buffer[..read])
    }

    /// Sends a request and reads as far as the end of the response's head, at least; returns where
    /// that is, and how far it has read.
    async fn head(&mut self, request: &[u8]) -> io::Result<(usize, usize)> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            filled += self.read(filled).await?;
            let response = &self.buffer[..filled];
            if let Some(end) = memchr::memmem::find(response, b"\r\n\r\n") {
                return Ok((end + 4, filled));
            }
        }
    }

    fn text(&self, length: usize) -> io::Result<&str> {
        str::from_utf8(&self.buffer[..length]).map_err(|_| broken("a head is no text"))
    }

    async fn read(&mut self, from: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[from..]).await? {
            0 => Err(broken("the proxy has closed a connection")),
            read => Ok(read),
        }
    }
}

fn status(head: &str) -> io::Result<u16> {
    let digits = head.get(9..12).and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| broken("a response has no status"))
}

fn content_length(head: &str) -> io::Result<usize> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, digits)| digits.parse().ok())
        .ok_or_else(|| broken(&format!("a response has no Content-Length: {head}")))
}

fn broken(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}
