//! An HTTP/1.1 client that sends exactly the bytes it is given.

mod request;
mod response;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(crate) use self::request::{RequestBuilder, get, request};
pub(crate) use self::response::Response;
use super::patience::within;
use super::wire::{Framing, Wire, framing, header, hex_digest, parse_head};

/// One connection. Whatever waits for the peer panics after ten seconds of patience.
#[derive(Debug)]
pub(crate) struct RawClient {
    wire: Wire,
    framing: Framing,
    /// The method of the last request: an answer to HEAD has no body, whatever it announces.
    method: String,
}

const DEADLINE: f64 = 10.0;

impl RawClient {
    /// Connects.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr)
            .await
            .unwrap_or_else(|error| panic!("connecting to {addr}: {error}"))
    }

    /// Like [`RawClient::connect`], for a peer that may refuse or reset at once.
    pub(crate) async fn try_connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = within(DEADLINE, "a connection", TcpStream::connect(addr)).await?;
        Ok(Self {
            wire: Wire::new(stream),
            framing: Framing::Ended,
            method: String::new(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .await
            .expect("the peer takes the bytes");
    }

    /// Like [`RawClient::send`], for a peer that may have closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        if let Some((method, _)) = text.split_once(' ') {
            self.method = method.to_owned();
        }
        within(DEADLINE, "sent bytes", self.wire.stream.write_all(bytes)).await
    }

    /// Closes the sending half.
    pub(crate) async fn finish_sending(&mut self) {
        self.wire.stream.shutdown().await.unwrap();
    }

    /// The next response and its whole body. Interim (1xx) ones are skipped, except 101.
    pub(crate) async fn read_response(&mut self) -> Response {
        let mut response = self.read_head().await;
        while let Some(piece) = self.read_chunk().await {
            response.body.extend_from_slice(&piece);
        }
        response
    }

    /// The next response without its body, which [`RawClient::read_chunk`] reads.
    pub(crate) async fn read_head(&mut self) -> Response {
        let mut interim = Vec::new();
        loop {
            let head = within(DEADLINE, "a response head", self.wire.head())
                .await
                .expect("a response head")
                .expect("a response before the connection ends");
            let (line, headers) = parse_head(&head).expect("a well-formed response head");
            let mut words = line.splitn(3, ' ');
            let version = words.next().unwrap_or_default().to_owned();
            let status = words.next().unwrap_or_default();
            let status: u16 = status
                .parse()
                .unwrap_or_else(|_| panic!("status of {line:?}"));
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            self.framing = if self.method == "HEAD" || matches!(status, 101 | 204 | 304) {
                Framing::Ended
            } else {
                framing(&headers).unwrap_or(Framing::UntilClose)
            };
            return Response {
                version,
                status,
                reason: words.next().unwrap_or_default().to_owned(),
                headers,
                body: Vec::new(),
                interim,
                head,
            };
        }
    }

    /// The next piece of the body (a whole chunk when it is chunked), `None` after the last.
    pub(crate) async fn read_chunk(&mut self) -> Option<Bytes> {
        self.try_read_chunk().await.expect("the whole body")
    }

    /// Like [`RawClient::read_chunk`], for a body that may be broken off.
    pub(crate) async fn try_read_chunk(&mut self) -> std::io::Result<Option<Bytes>> {
        within(
            DEADLINE,
            "a piece of the body",
            self.wire.piece(&mut self.framing),
        )
        .await
    }

    /// Reads the rest of the body and throws it away: its length and SHA-256 in hex.
    pub(crate) async fn drain_body(&mut self) -> (u64, String) {
        let (mut length, mut hasher) = (0, Sha256::new());
        while let Some(piece) = self.read_chunk().await {
            length += piece.len() as u64;
            hasher.update(&piece);
        }
        (length, hex_digest(hasher))
    }

    /// So many bytes as they come, for what is no longer HTTP after a 101.
    pub(crate) async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.wire.buffer.len() < length {
            let read = within(DEADLINE, "more bytes", self.wire.fill()).await;
            assert_ne!(read.unwrap(), 0, "the connection ended");
        }
        self.wire.buffer.split_to(length).to_vec()
    }

    /// Whether the peer closes or resets within `timeout`. What it sends before is kept.
    pub(crate) async fn is_closed(&mut self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.wire.gone())
            .await
            .is_ok()
    }

    /// Closes with a reset instead of in good order.
    pub(crate) fn reset(self) {
        self.wire.stream.set_zero_linger().unwrap();
    }
}
