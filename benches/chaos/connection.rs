//! A client's connection to a gateway, on which everything may go wrong.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// When a request counts as hanging: long after any deadline.
const HANGING: Duration = Duration::from_secs(15);

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The head as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Returns a member of the body, if it is an object that has it as a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }

    /// Returns a cookie that is set.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let mut cookies = self.head.split("\r\n").filter_map(|line| {
            let (header, value) = line.split_once(": ")?;
            let (key, value) = value.split_once(';')?.0.split_once('=')?;
            (header.eq_ignore_ascii_case("set-cookie") && key == name).then(|| value.to_owned())
        });
        cookies.next()
    }
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    /// The connection ended before the answer did.
    Broken(String),
    /// There was no answer for a very long time.
    Silence,
}

/// A client's connection, opened when it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) gateway: usize,
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    pub(crate) fn to(gateway: usize, address: SocketAddr) -> Self {
        Self {
            gateway,
            address,
            stream: None,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// A GET that finds the connection closed is sent once more over a new one, as clients do
    /// (RFC 9112 section 9.3.1): either end may close an idle connection at any time.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Answer {
        match timeout(HANGING, self.patiently(request)).await {
            Ok(Ok(reply)) => Answer::Reply(reply),
            Ok(Err(error)) => Answer::Broken(error.to_string()),
            Err(_) => Answer::Silence,
        }
    }

    async fn patiently(&mut self, request: &[u8]) -> io::Result<Reply> {
        if let Some(stream) = self.stream.take() {
            let mut received = Vec::new();
            match self.over(stream, request, &mut received).await {
                Err(_) if received.is_empty() && request.starts_with(b"GET ") => {}
                ended => return ended,
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.over(stream, request, &mut Vec::new()).await
    }

    async fn over(
        &mut self,
        mut stream: TcpStream,
        request: &[u8],
        received: &mut Vec<u8>,
    ) -> io::Result<Reply> {
        stream.write_all(request).await?;
        loop {
            if stream.read_buf(received).await? == 0 {
                return Err(io::Error::other(format!(
                    "ended after {} bytes",
                    received.len()
                )));
            }
            let Some(end) = position(received, b"\r\n\r\n") else {
                continue;
            };
            let whole = String::from_utf8_lossy(&received[..end]);
            let head = whole.to_ascii_lowercase();
            let body = &received[end + 4..];
            let header = |name: &str| {
                let pairs = head.split("\r\n").filter_map(|line| line.split_once(": "));
                let mut named = pairs.filter(|(key, _)| *key == name);
                named.next().map(|(_, value)| value)
            };
            let is_whole = match header("content-length") {
                Some(length) => length
                    .parse()
                    .is_ok_and(|length: usize| body.len() >= length),
                None if header("transfer-encoding") == Some("chunked") => {
                    body.ends_with(b"0\r\n\r\n")
                }
                None => return Err(io::Error::other("an answer without a framing")),
            };
            if !is_whole {
                continue;
            }
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("an answer without a status"))?;
            let reply = Reply {
                status,
                head: whole.into_owned(),
                body: body.to_vec(),
            };
            if header("connection") != Some("close") {
                self.stream = Some(stream);
            }
            return Ok(reply);
        }
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|some| some == wanted)
}

/// Writes a request.
pub(crate) fn request(method: &str, path: &str, token: &str) -> Vec<u8> {
    let request = crate::support::request(method, path);
    request.bearer(token).to_bytes()
}
