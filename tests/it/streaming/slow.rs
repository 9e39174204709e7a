//! Bodies that come too slowly, and waits that no client is to blame for. HTTP/2's are in
//! `http2/slow.rs`.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::manual::Manual;
use super::{APPS, Stage, is_refusal, request, upgrade};
use crate::support::{Behaviour, Gateway, GatewayBuilder, RawClient, assert_eventually, within};

/// How far a client may fall behind here.
const SLACK: Duration = Duration::from_secs(1);

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

const CHUNKED: &str = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn at(gateway: GatewayBuilder, rate: &str) -> GatewayBuilder {
    gateway
        .set("server.request_header_timeout", "\"1s\"")
        .set("server.min_body_rate", &format!("\"{rate}\""))
}

async fn stage(rate: &str) -> Stage {
    Stage::with(|gateway| at(gateway, rate)).await
}

/// A gateway whose upstream is driven by hand.
async fn by_hand(rate: &str) -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = at(Gateway::builder().upstream(address), rate);
    (gateway.start().await, listener)
}

/// Asserts that the request is given up: 408, as all refusals look, and the connection's end.
async fn is_given_up(stage: &Stage, client: &mut RawClient) {
    let response = client.read_response().await;
    assert_eq!(response.status, 408, "{response:?}");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(response.header("x-request-id").is_some());
    let expected = json!({
        "code": "request_timeout", "message": "the body came too slowly", "status": 408
    });
    assert_eq!(response.json(), expected);
    assert!(client.is_closed(CLOSES_WITHIN).await);
    let counted = "difygate_rejections_total{reason=\"slow_body\"}";
    assert!(stage.gateway.metric(counted).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stands_still_is_given_up_here_and_upstream() {
    let stage = stage("240B").await;
    let bearer = stage.account.bearer();

    for (path, framing) in [
        (APPS, "Content-Length: 100\r\n\r\nbegin"),
        (APPS, "Content-Length: 100\r\n\r\n"),
        (
            "/files/1",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        ),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n");
        let mut client = stage.gateway.client().await;
        client.send(format!("{head}{framing}").as_bytes()).await;
        is_given_up(&stage, &mut client).await;
        stage.upstream.wait_for_disconnect().await;
    }
    assert_eventually!(stage.upstream.open_connections() == 0, "none is pooled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_given_up() {
    let stage = stage("1KiB").await;
    let mut client = stage.gateway.client().await;
    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    client.send(head.as_bytes()).await;

    let dripping = async {
        // Not read while it lasts: the gateway may close at any time.
        while client.try_send(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };

    within(20.0, "the end of it", dripping).await;
    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_keeps_the_rate_may_take_long() {
    // More of it than elsewhere: this client means well, and may be held up.
    let slack = 2 * SLACK;
    let stage =
        Stage::with(|gateway| at(gateway, "200B").set("server.request_header_timeout", "\"2s\""));
    let stage = stage.await;
    let mut client = stage.gateway.client().await;
    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n";
    client.send(head.as_bytes()).await;

    // Four times the slack, at five times the rate.
    for _ in 0..20 {
        tokio::time::sleep(slack / 5).await;
        client.send(&[b'x'; 450]).await;
    }

    assert_eq!(client.read_response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_nothing_is_not_blamed_on_the_client() {
    let (gateway, listener) = by_hand("1MiB").await;
    let mut client = gateway.client().await;
    // More than all the buffers on the way.
    let length = 64 << 20;
    let head = format!("POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send(head.as_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;
    let uploading = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..length >> 20 {
            client.try_send(&piece).await.unwrap();
        }
        client
    });

    tokio::time::sleep(3 * SLACK).await;
    let mut nowhere = tokio::io::sink();
    let draining = tokio::io::copy(&mut upstream.stream, &mut nowhere);
    let answering = async {
        let mut client = uploading.await.unwrap();
        // Nobody waits for a body any more.
        assert!(!client.is_closed(3 * SLACK).await);
        client
    };
    tokio::select! {
        _ = draining => panic!("the upload was cut off"),
        mut client = answering => client.finish_sending().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_take_long_once_the_body_is_through() {
    let (gateway, listener) = by_hand("240B").await;

    for body in ["Content-Length: 4\r\n\r\nbody", "Content-Length: 0\r\n\r\n"] {
        let mut client = gateway.client().await;
        let head = format!("POST /files/1 HTTP/1.1\r\nHost: a\r\n{body}");
        client.send(head.as_bytes()).await;
        let mut upstream = Manual::accept(&listener).await;
        assert!(!client.is_closed(3 * SLACK).await);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        upstream.stream.write_all(answer).await.unwrap();
        assert_eq!(client.read_response().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_beginning_of_an_answer_the_connection_is_cut() {
    let (gateway, listener) = by_hand("240B").await;
    let mut client = gateway.client().await;
    let head = format!("POST /files/1 HTTP/1.1\r\n{CHUNKED}5\r\nfirst\r\n");
    client.send(head.as_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;
    upstream.read_until(b"first\r\n").await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nearly";
    upstream.stream.write_all(answer).await.unwrap();

    assert_eq!(client.read_head().await.status, 200);
    assert_eq!(client.read_chunk().await.unwrap(), "early");
    let end = client.try_read_chunk().await;

    assert!(end.is_err(), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_100_is_not_late() {
    let (gateway, listener) = by_hand("240B").await;
    let mut client = gateway.client().await;
    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                Content-Length: 9\r\n\r\n";
    client.send(head.as_bytes()).await;
    let mut upstream = Manual::accept(&listener).await;

    assert!(!client.is_closed(3 * SLACK).await);

    upstream
        .stream
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(client.read_exact(interim.len()).await, interim);
    // From its first byte on it is like any other, and a 100 is no answer.
    client.send(b"begin").await;
    let response = client.read_response().await;
    assert_eq!(response.status, 408, "{response:?}");
    assert!(client.is_closed(CLOSES_WITHIN).await);
    gateway.wait_for_log(is_refusal(408)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_may_be_silent() {
    let stage = stage("1MiB").await;
    stage.upstream.on("/socket.io/", Behaviour::WebSocketEcho);
    let mut client = stage.gateway.client().await;
    client
        .send(&upgrade::handshake(upgrade::SOCKET).to_bytes())
        .await;
    assert_eq!(client.read_head().await.status, 101);

    for _ in 0..2 {
        assert!(!client.is_closed(2 * SLACK).await);
        client.send(b"ping").await;
        assert_eq!(client.read_exact(4).await, b"ping");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_endpoints_give_up_as_well() {
    let stage = stage("240B").await;
    let mut client = stage.gateway.client().await;

    client
        .send(
            b"POST /openapi/v1/oauth/device/code HTTP/1.1\r\nHost: a\r\n\
              Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"client_id\"",
        )
        .await;

    is_given_up(&stage, &mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_rate_a_body_may_stand_still() {
    let stage = stage("0").await;
    let mut client = stage.gateway.client().await;
    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    client.send(head.as_bytes()).await;

    assert!(!client.is_closed(3 * SLACK).await);
    client.send(b"whole").await;

    assert_eq!(client.read_response().await.status, 200);
    // A wait between two requests is none for a body.
    assert!(!client.is_closed(2 * SLACK).await);
    client.send(&request("GET", "/files/1").to_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);
}
