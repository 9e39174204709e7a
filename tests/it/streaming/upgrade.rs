//! WebSockets: only on pass routes, only after a 101, and nothing else by that name.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::manual::Manual;
use super::{APPS, Stage, is_access_line, request};
use crate::support::{Behaviour, Gateway, RequestBuilder};

pub(super) const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// The opening handshake (RFC 6455 section 4.1).
pub(super) fn handshake(path: &str) -> RequestBuilder {
    handshake_by("GET", path)
}

/// The same by another method.
pub(super) fn handshake_by(method: &str, path: &str) -> RequestBuilder {
    request(method, path)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

async fn with_sockets() -> Stage {
    let stage = Stage::set().await;
    stage.upstream.on("/socket.io/", Behaviour::WebSocketEcho);
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_on_a_pass_route_carries_bytes_both_ways() {
    let stage = with_sockets().await;
    let mut client = stage.gateway.client().await;

    client.send(&handshake(SOCKET).to_bytes()).await;
    let head = client.read_head().await;

    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.header("upgrade"), Some("websocket"));
    let seen = stage.upstream.take_requests().remove(0);
    assert_eq!(seen.target(), SOCKET);
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(
        seen.header("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    for frame in [
        &b"\x81\x05hello"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 70_000],
    ] {
        client.send(frame).await;
        assert_eq!(client.read_exact(frame.len()).await, frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_its_websocket_ends_it_upstream() {
    let stage = with_sockets().await;
    let mut client = stage.gateway.client().await;
    client.send(&handshake(SOCKET).to_bytes()).await;
    assert_eq!(client.read_head().await.status, 101);

    drop(client);

    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_when_the_upstream_is_silent_for_its_read_timeout() {
    let stage = Stage::with(|gateway| gateway.set("upstream.read_timeout", "\"1s\"")).await;
    stage.upstream.on("/socket.io/", Behaviour::WebSocketEcho);
    let mut client = stage.gateway.client().await;
    client.send(&handshake(SOCKET).to_bytes()).await;
    assert_eq!(client.read_head().await.status, 101);

    stage.upstream.wait_for_disconnect().await;

    assert!(client.is_closed(Duration::from_secs(10)).await);
    let line = stage.gateway.wait_for_log(|line| is_access_line(line, 101));
    let line = line.await;
    assert_eq!(line["outcome"], "aborted", "{line}");
    assert_eq!(line["error"], "Upstream: ReadTimedout", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_listens_to_its_websocket_may_do_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::builder()
        .upstream(listener.local_addr().unwrap())
        .set("server.idle_timeout", "\"1s\"")
        .set("server.request_header_timeout", "\"1s\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.send(&handshake(SOCKET).to_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;
    upstream.read_until(b"\r\n\r\n").await;
    let agreed = "HTTP/1.1 101 Switching Protocols\r\n\
                  Connection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    upstream.stream.write_all(agreed.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.status, 101);

    // Three times as long as any limit that is for clients.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        upstream.stream.write_all(b"\x81\x01x").await.unwrap();
        assert_eq!(client.read_exact(3).await, b"\x81\x01x");
    }

    client.send(b"\x81\x05hello").await;
    upstream.read_until(b"\x81\x05hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_upgraded_is_never_used_for_another_request() {
    let stage = with_sockets().await;
    let mut client = stage.gateway.client().await;
    client.send(&handshake(SOCKET).to_bytes()).await;
    assert_eq!(client.read_head().await.status, 101);
    let upgraded = stage.upstream.take_requests().remove(0).connection;

    drop(client);
    stage.upstream.wait_for_disconnect().await;
    stage.forwards(&request("GET", "/x")).await;
    stage.gateway.get("/y", None).await;

    assert_ne!(stage.upstream.requests()[0].connection, upgraded);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bearer_route_an_upgrade_is_forwarded_as_a_plain_request() {
    let stage = Stage::set().await;
    let upgrade = handshake(APPS).bearer(&stage.account.token);

    let response = upgrade.send(stage.gateway.addr()).await;

    assert_eq!(response.status, 200, "{response:?}");
    let seen = stage.upstream.take_requests().remove(0);
    assert_eq!(seen.header("upgrade"), None);
    assert_eq!(seen.header("connection"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bearer_route_a_101_that_nobody_asked_for_opens_no_tunnel() {
    let stage = Stage::set().await;
    stage.upstream.on(APPS, Behaviour::WebSocketEcho);
    let mut client = stage.gateway.client().await;

    let upgrade = handshake(APPS).bearer(&stage.account.token);
    client.send(&upgrade.to_bytes()).await;

    assert_eq!(client.read_head().await.status, 502);
    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_to_an_upgrade_that_went_no_further_opens_no_tunnel() {
    let stage = Stage::set().await;
    stage.upstream.on("/files/1", Behaviour::WebSocketEcho);

    for protocol in ["h2c", "websocket, h2c", "TLS/1.0"] {
        let upgrade = request("GET", "/files/1")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", protocol)
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let mut client = stage.gateway.client().await;
        client.send(&upgrade.to_bytes()).await;
        let head = client.read_head().await;
        assert_eq!(head.status, 502, "{protocol}: {head:?}");
        stage.upstream.wait_for_disconnect().await;
    }
}

/// pingora treats the `Connection` of an upgrade by rules of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_takes_nothing_away_that_is_kept_or_added() {
    let stage = with_sockets().await;
    let nominated =
        "Upgrade, authorization, cookie, host, x-request-id, x-forwarded-for, X-CSRF-Token";
    let asked = request("GET", SOCKET)
        .header("Connection", nominated)
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Authorization", "Bearer app-1")
        .header("Cookie", "a=b")
        .header("X-CSRF-Token", "csrf")
        .header("X-Forwarded-For", "203.0.113.66")
        .header("X-Request-Id", "the-clients");
    let mut client = stage.gateway.client().await;

    client.send(&asked.to_bytes()).await;

    assert_eq!(client.read_head().await.status, 101);
    let seen = stage.upstream.take_requests().remove(0);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("authorization", "Bearer app-1"),
        ("cookie", "a=b"),
        ("x-csrf-token", "csrf"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(seen.header_values(name), [value], "{}", seen.head_text());
    }
    for name in ["host", "x-request-id"] {
        assert_eq!(seen.header_values(name).len(), 1, "{}", seen.head_text());
    }
    assert_ne!(seen.header("x-request-id"), Some("the-clients"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_options_passes_a_guard_no_upgrade_goes_along() {
    let stage = Stage::set().await;

    let response = handshake_by("OPTIONS", APPS)
        .send(stage.gateway.addr())
        .await;

    assert_eq!(response.status, 200, "{response:?}");
    let seen = stage.upstream.take_requests().remove(0);
    assert_eq!(seen.header("upgrade"), None);
    assert_eq!(seen.header("connection"), None);
    stage.upstream.on(APPS, Behaviour::WebSocketEcho);
    let mut client = stage.gateway.client().await;
    client.send(&handshake_by("OPTIONS", APPS).to_bytes()).await;
    assert_eq!(client.read_head().await.status, 502);
    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_an_upgrade_on_a_bearer_route_is_401() {
    let stage = Stage::set().await;

    stage.refuses(&handshake(APPS), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_something_else_is_forwarded_as_a_plain_request() {
    let stage = Stage::set().await;

    for protocol in ["h2c", "TLS/1.0", "websocket, h2c", "websockets", "foo"] {
        let upgrade = request("GET", "/files/1")
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol)
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let response = upgrade.send(stage.gateway.addr()).await;
        assert_eq!(response.status, 200, "{protocol}: {response:?}");
        let seen = stage.upstream.take_requests().remove(0);
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_upgrade_that_was_declined_is_judged_or_dropped() {
    let stage = Stage::set().await;
    let inner = request("GET", "/inner/api/x").to_bytes();
    let mut client = stage.gateway.client().await;

    client
        .send(&[handshake(SOCKET).to_bytes(), inner].concat())
        .await;

    assert_eq!(client.read_response().await.status, 200);
    stage.gateway.get("/last", None).await;
    let seen = stage.upstream.take_requests();
    let targets: Vec<_> = seen.iter().map(|request| request.target()).collect();
    assert_eq!(targets, [SOCKET, "/last"]);
    assert_eq!(seen[0].body_length, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_an_upgrade_was_declined_is_judged_as_before() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;

    client.send(&handshake(SOCKET).to_bytes()).await;
    let declined = client.read_response().await;
    assert_eq!(declined.status, 200, "{declined:?}");
    assert_ne!(declined.header("connection"), Some("close"));
    stage.upstream.take_requests();

    for (asked, status) in [
        (request("GET", "/inner/api/x"), 404),
        (request("GET", APPS), 401),
        (handshake(APPS), 401),
    ] {
        client.send(&asked.to_bytes()).await;
        let refused = client.read_response().await;
        assert_eq!(refused.status, status, "{asked:?} got {refused:?}");
    }
    assert!(stage.upstream.take_requests().is_empty());
    client.send(&request("GET", "/files/1").to_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);
    assert_eq!(stage.upstream.take_requests()[0].target(), "/files/1");
}
