//! What a client sends behind a request that is being worked on: it harms nothing, and is never
//! taken for a part of that request.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::manual::Manual;
use crate::support::{Behaviour, Gateway, RawClient, Stage, request};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

const NEXT: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Requests that are whole, what the upstream gets last of each, and what may follow it.
const FOLLOWED: [(&str, &str, &[u8]); 5] = [
    ("GET /files/1 HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n", NEXT),
    (
        "GET /files/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
        b"\r\n",
    ),
    (
        "POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "\r\n\r\nhi",
        b"\r\n",
    ),
    (
        "POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "\r\n\r\nhi",
        NEXT,
    ),
    (
        "POST /files/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n\r\n",
        "0\r\n\r\n",
        NEXT,
    ),
];

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

/// A gateway that serves everybody with one thread, and its upstream.
async fn one_thread() -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::builder().upstream(address);
    (gateway.set("server.threads", "1").start().await, listener)
}

/// Returns when the gateway has seen what was sent before: its one thread looks at connections in the
/// order in which something comes over them.
async fn has_been_seen(gateway: &Gateway) {
    assert_eq!(gateway.get("/inner/api/x", None).await.status, 404);
}

/// Asserts that the client gets its answer, to be its last one, and that the upstream has got nothing
/// but the request.
async fn is_answered_last(client: &mut RawClient, mut upstream: Manual) {
    upstream.stream.write_all(ANSWER).await.unwrap();
    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "hi"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed(CLOSES_WITHIN).await);
    let mut more = Vec::new();
    upstream.stream.read_to_end(&mut more).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&more), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_under_way_breaks_nothing_off() {
    let (gateway, listener) = one_thread().await;
    for (request, end, next) in FOLLOWED {
        let mut client = gateway.client().await;
        client.send(request.as_bytes()).await;
        let mut upstream = Manual::accept(&listener).await;
        upstream.read_until(end.as_bytes()).await;

        client.send(next).await;
        has_been_seen(&gateway).await;

        is_answered_last(&mut client, upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_along_with_a_request_breaks_nothing_off() {
    let (gateway, listener) = one_thread().await;
    for (request, end, next) in FOLLOWED {
        let mut client = gateway.client().await;
        client.send(&[request.as_bytes(), next].concat()).await;
        let mut upstream = Manual::accept(&listener).await;
        upstream.read_until(end.as_bytes()).await;

        is_answered_last(&mut client, upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_while_the_answer_comes_ends_the_connection_with_it() {
    let (gateway, listener) = one_thread().await;
    let mut client = gateway.client().await;
    client.send(FOLLOWED[0].0.as_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;
    upstream.read_until(b"\r\n\r\n").await;
    let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    upstream.stream.write_all(begin).await.unwrap();
    assert_eq!(client.read_head().await.status, 200);
    assert_eq!(client.read_chunk().await.unwrap(), "first");

    client.send(NEXT).await;
    has_been_seen(&gateway).await;
    let end = b"4\r\nlast\r\n0\r\n\r\n";
    upstream.stream.write_all(end).await.unwrap();

    assert_eq!(client.read_chunk().await.unwrap(), "last");
    assert_eq!(client.read_chunk().await, None);
    assert!(client.is_closed(CLOSES_WITHIN).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_after_sending_more_ends_the_request_upstream_all_the_same() {
    let stage = Stage::set().await;
    stage.upstream.on("*", Behaviour::HangBeforeHeader);
    let mut client = stage.gateway.client().await;
    client.send(&request("GET", "/files/1").to_bytes()).await;
    stage.upstream.wait_for_requests(1).await;
    client.send(NEXT).await;

    drop(client);

    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_never_begins_in_the_middle() {
    let (gateway, listener) = one_thread().await;
    let mut client = gateway.client().await;
    let handshake = "GET /socket.io/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(handshake.as_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;
    upstream.read_until(b"\r\n\r\n").await;

    client.send(b"too early").await;
    has_been_seen(&gateway).await;
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    upstream.stream.write_all(answer).await.unwrap();

    assert_eq!(client.read_response().await.status, 400);
    let mut more = Vec::new();
    let _ = upstream.stream.read_to_end(&mut more).await;
    assert_eq!(String::from_utf8_lossy(&more), "");
}
