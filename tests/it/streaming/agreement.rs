//! A 101 is an answer to a WebSocket's handshake, or none at all.

use std::time::Duration;

use super::older::of_1_0;
use super::upgrade::{SOCKET, handshake, handshake_by};
use super::{Stage, is_access_line, request};
use crate::support::{Behaviour, RequestBuilder};

/// What answers the key of [`handshake`] (RFC 6455 section 1.3).
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// The path of [`SOCKET`].
const SOCKET_PATH: &str = "/socket.io/";

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// A 101 with these fields, and then what a server would say to a request in the tunnel.
fn switches(fields: &str) -> Behaviour {
    let more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let head = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n{more}");
    Behaviour::Raw(head.into_bytes())
}

/// Sends a request, and one for an internal path as soon as it has an answer: that is 502, and the
/// end, and the upstream has seen the one request.
async fn opens_nothing(stage: &Stage, opening: &[u8], case: &str) {
    let mut client = stage.gateway.client().await;
    client.send(opening).await;
    let answer = client.read_response().await;
    assert_eq!(answer.status, 502, "{case}: {answer:?}");
    client
        .send(&request("GET", "/inner/api/x").to_bytes())
        .await;
    assert!(client.is_closed(CLOSES_WITHIN).await, "{case}");
    assert_eq!(stage.upstream.take_requests().len(), 1, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_does_not_answer_the_handshake_opens_no_tunnel() {
    let stage = Stage::set().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

    for fields in [
        "",
        upgrade,
        ACCEPT,
        &format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{ACCEPT}"),
        &format!("{upgrade}Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        &format!("{upgrade}{ACCEPT}{ACCEPT}"),
    ] {
        stage.upstream.on(SOCKET_PATH, switches(fields));
        opens_nothing(&stage, &handshake(SOCKET).to_bytes(), fields).await;
        let line = stage.gateway.wait_for_log(|line| is_access_line(line, 502));
        assert_eq!(line.await["error"], "Upstream: SwitchedUnasked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_handshake_was_made_no_101_is_an_answer() {
    let stage = Stage::set().await;
    let answered = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{ACCEPT}");
    let without = |name: &str| {
        let whole = String::from_utf8(handshake(SOCKET).to_bytes()).unwrap();
        let lines = whole.split_inclusive('\n');
        let lines = lines.filter(|line| !line.starts_with(name));
        lines.collect::<String>().into_bytes()
    };

    for (opening, case) in [
        (request("GET", SOCKET).to_bytes(), "a plain request"),
        (of_1_0(&request("GET", SOCKET)), "a plain one of 1.0"),
        (of_1_0(&handshake(SOCKET)), "one of 1.0"),
        (handshake_by("POST", SOCKET).to_bytes(), "another method"),
        (without("Sec-WebSocket-Key"), "no key"),
        (without("Connection"), "no Connection"),
        (without("Upgrade"), "no Upgrade"),
    ] {
        stage.upstream.on(SOCKET_PATH, switches(&answered));
        opens_nothing(&stage, &opening, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_is_forwarded_as_a_plain_request() {
    let stage = Stage::set().await;
    let no_key = |method: &str| -> RequestBuilder {
        request(method, SOCKET)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
    };

    for opening in [handshake_by("POST", SOCKET), no_key("GET"), no_key("PUT")] {
        let answer = opening.send(stage.gateway.addr()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = stage.upstream.take_requests().remove(0);
        assert_eq!(seen.header("upgrade"), None, "{opening:?}");
        assert_eq!(seen.header("connection"), None, "{opening:?}");
    }
}
