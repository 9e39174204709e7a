//! One connection of the upstream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Behaviour, Disconnect, RecordedRequest, Shared};
use crate::support::wire::{Framing, Wire, framing, hex_digest, parse_head};

/// A longer request body is counted and hashed, not kept.
const KEPT_BODY: usize = 1024 * 1024;

#[derive(Debug, PartialEq, Eq)]
enum After {
    NextRequest,
    Close,
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves requests until either end closes.
pub(super) async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::SeqCst);
    let open = Open(shared);
    let shared = &open.0;
    let mut wire = Wire::new(stream);
    let mut close_idle = shared.close_idle.subscribe();
    loop {
        let head = tokio::select! {
            head = wire.head() => head,
            _ = close_idle.changed(), if wire.buffer.is_empty() => return,
        };
        // A connection that ends between two requests is nothing to tell of.
        let Ok(Some(head)) = head else { return };
        let Some((request_line, headers)) = parse_head(&head) else {
            panic!("malformed head: {:?}", String::from_utf8_lossy(&head));
        };
        let mut request = RecordedRequest {
            head,
            request_line,
            headers,
            body: Vec::new(),
            body_length: 0,
            body_sha256: String::new(),
            complete: false,
            connection,
        };
        let read = read_body(&mut wire, &mut request).await;
        request.complete = read.is_ok();
        shared.requests.lock().unwrap().push(request.clone());
        let behaviour = shared.behaviour(&request);
        let after = match read {
            Ok(()) => respond(&mut wire, &request, behaviour).await,
            Err(error) => Err(error),
        };
        match after {
            Ok(After::NextRequest) => {}
            Ok(After::Close) => return,
            Err(_) => {
                let at = Instant::now();
                shared.disconnects.lock().unwrap().push_back(Disconnect {
                    connection,
                    request_line: request.request_line,
                    at,
                });
                return;
            }
        }
    }
}

impl Shared {
    fn behaviour(&self, request: &RecordedRequest) -> Behaviour {
        let path = request.target().split('?').next().unwrap_or_default();
        let matches = |rule: &str| match rule.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == rule,
        };
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().rev().find(|(rule, _)| matches(rule));
        let next = rule.and_then(|(_, behaviours)| match behaviours.len() {
            0 | 1 => behaviours.front().cloned(),
            _ => behaviours.pop_front(),
        });
        next.unwrap_or_else(|| Behaviour::Json(200, json!({"ok": true})))
    }
}

async fn read_body(wire: &mut Wire, request: &mut RecordedRequest) -> io::Result<()> {
    let mut framing = framing(&request.headers).unwrap_or(Framing::Ended);
    let expects = request.header("expect");
    if expects.is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        wire.stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await?;
    }
    let mut hasher = Sha256::new();
    let read = loop {
        match wire.piece(&mut framing).await {
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
            Ok(Some(piece)) => {
                hasher.update(&piece);
                request.body_length += piece.len() as u64;
                request.body.extend_from_slice(&piece);
                if request.body_length > KEPT_BODY as u64 {
                    request.body = Vec::new();
                }
            }
        }
    };
    request.body_sha256 = hex_digest(hasher);
    read
}

async fn respond(
    wire: &mut Wire,
    request: &RecordedRequest,
    behaviour: Behaviour,
) -> io::Result<After> {
    match behaviour {
        Behaviour::Json(status, body) => {
            let json = [("Content-Type", "application/json")];
            answer(wire, request, status, &json, body.to_string().as_bytes()).await
        }
        Behaviour::Answer(status, headers, body) => {
            answer(wire, request, status, &headers, &body).await
        }
        Behaviour::EchoLength => {
            let body = json!({"length": request.body_length, "sha256": request.body_sha256});
            let json = [("Content-Type", "application/json")];
            answer(wire, request, 200, &json, body.to_string().as_bytes()).await
        }
        Behaviour::Raw(bytes) => {
            wire.stream.write_all(&bytes).await?;
            wire.stream.shutdown().await?;
            Ok(After::Close)
        }
        Behaviour::CloseBeforeHeader => Ok(After::Close),
        Behaviour::HangBeforeHeader => gone(wire).await,
        Behaviour::HangMidBody => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin";
            wire.stream.write_all(head.as_bytes()).await?;
            gone(wire).await
        }
        Behaviour::Sse { events, interval } => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire.stream.write_all(head.as_bytes()).await?;
            for event in 0..events {
                if event > 0 {
                    tokio::select! {
                        () = tokio::time::sleep(interval) => {}
                        broken = gone(wire) => return broken,
                    }
                }
                let data = format!("data: {{\"n\":{event}}}\n\n");
                let chunk = format!("{:x}\r\n{data}\r\n", data.len());
                wire.stream.write_all(chunk.as_bytes()).await?;
            }
            wire.stream.write_all(b"0\r\n\r\n").await?;
            Ok(After::NextRequest)
        }
        Behaviour::WebSocketEcho => {
            let key = request.header("sec-websocket-key").unwrap_or_default();
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            wire.stream.write_all(head.as_bytes()).await?;
            loop {
                let bytes = wire.buffer.split();
                wire.stream.write_all(&bytes).await?;
                if wire.fill().await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Behaviour::BigBody(length) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
                 Content-Length: {length}\r\n\r\n"
            );
            wire.stream.write_all(head.as_bytes()).await?;
            // A whole number of periods, so that every block is the same.
            let block: Vec<u8> = (0..251 * 256_u32).map(|i| (i % 251) as u8).collect();
            let mut left = length;
            while left > 0 {
                let part = block.len().min(usize::try_from(left).unwrap());
                wire.stream.write_all(&block[..part]).await?;
                left -= part as u64;
            }
            Ok(After::NextRequest)
        }
    }
}

/// Waits for the peer to close, which is then an error.
async fn gone(wire: &mut Wire) -> io::Result<After> {
    wire.gone().await;
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn answer(
    wire: &mut Wire,
    request: &RecordedRequest,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<After> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_body = !matches!(status, 204 | 304);
    if has_body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if has_body && request.method() != "HEAD" {
        bytes.extend_from_slice(body);
    }
    wire.stream.write_all(&bytes).await?;
    Ok(After::NextRequest)
}
