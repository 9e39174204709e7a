//! Idle connections that hold a session of TLS, and one of HTTP/2 on top.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{is_bounded, roomy};
use crate::{
    http2::{
        self,
        frames::{END_HEADERS, END_STREAM, HEADERS, Http2, frame, get, handshake},
    },
    support::{Stage, request, within},
};

/// Clients of each kind: so many that what a process grows by for reasons of its own is little of it.
const CLIENTS: usize = 800;

/// Clients that come first, so that what is made once is there.
const FIRST: usize = 20;

/// The ceilings for each, in KiB.
const TLS_KIB: u64 = 64;
const HTTP2_KIB: u64 = 80;

const REFUSED: &str = "/openapi/v1/apps";

/// Connects, and is refused once.
async fn over_tls(gateway: SocketAddr) -> TlsStream<TcpStream> {
    let mut stream = handshake(gateway, b"http/1.1").await;
    is_refused_over_tls(&mut stream).await;
    stream
}

async fn is_refused_over_tls(stream: &mut TlsStream<TcpStream>) {
    let wanted = request("GET", REFUSED).to_bytes();
    stream.write_all(&wanted).await.unwrap();
    let mut answer = Vec::new();
    // To the end of its body, which is an object.
    while !answer.ends_with(b"}") {
        let read = stream.read_buf(&mut answer);
        let read = within(20.0, "an answer", read).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{answer:?}");
}

/// Connects, and is refused once.
async fn over_http2(gateway: SocketAddr) -> Http2 {
    let mut client = Http2::begin(gateway, b"").await;
    is_refused(&mut client, 1).await;
    client
}

async fn is_refused(client: &mut Http2, stream: u32) {
    let head = get(REFUSED, &[]);
    let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
    client.send(&head).await;
    let answered = client.first(&[HEADERS]).await;
    assert!(answered.is_some(), "the connection has ended");
}

/// Opens so many connections, of which each takes so much at most.
async fn open<C>(stage: &Stage, connect: impl AsyncFn(SocketAddr) -> C, each: u64) -> Vec<C> {
    let mut clients = Vec::new();
    let mut before = 0;
    for number in 0..CLIENTS {
        if number == FIRST {
            before = stage.gateway.rss_kib();
        }
        clients.push(connect(stage.gateway.addr()).await);
    }
    let open = stage.gateway.metric("difygate_connections").await;
    assert!(open >= CLIENTS as f64, "{open} of {CLIENTS} are open");
    is_bounded(stage, before, CLIENTS - FIRST, each);
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_tls_have_a_ceiling() {
    let stage = http2::stage(roomy).await;

    let mut clients = open(&stage, over_tls, TLS_KIB).await;

    for client in clients.iter_mut().step_by(100) {
        is_refused_over_tls(client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_http_2_have_a_ceiling() {
    let stage = http2::stage(roomy).await;

    let mut clients = open(&stage, over_http2, HTTP2_KIB).await;

    for client in clients.iter_mut().step_by(100) {
        is_refused(client, 3).await;
    }
}
