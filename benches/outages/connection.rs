//! A keep-alive connection to a gateway, on which everything may go wrong.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// When a request counts as hanging: long after any deadline.
const HANGING: Duration = Duration::from_secs(10);

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// The connection ended before the answer did.
    Broken(String),
    /// There was no answer for a very long time.
    None,
}

/// A client's connection, opened when it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            buffer: vec![0; 16 * 1024],
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Answer {
        match timeout(HANGING, self.try_exchange(request)).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(error)) => {
                self.stream = None;
                Answer::Broken(error.to_string())
            }
            Err(_) => {
                self.stream = None;
                Answer::None
            }
        }
    }

    async fn try_exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            match stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
            let answer = &self.buffer[..filled];
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let header = |name: &str| {
                let lines = head.split("\r\n");
                let mut pairs = lines.filter_map(|line| line.split_once(": "));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
            };
            let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
            if filled < end + 4 + length {
                continue;
            }
            if header("connection") != Some("close") {
                self.stream = Some(stream);
            }
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| io::Error::other("an answer without a status"));
        }
    }
}

/// Writes a request.
pub(crate) fn request(method: &str, path: &str, token: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\n\
         Host: dify.example\r\n\
         User-Agent: outages/1\r\n\
         Accept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}
