//! The relay, the upstream and the client, against each other.

use std::time::{Duration, Instant};

use serde_json::json;

use super::SHORT;
use crate::support::{Behaviour, RawClient, Relay, Upstream, assert_eventually, get, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_delays_stalls_cuts_and_restores() {
    let upstream = Upstream::start().await;
    let relay = Relay::to(upstream.addr()).await;
    let ping = request("GET", "/").to_bytes();
    let mut client = RawClient::connect(relay.local_addr()).await;
    client.send(&ping).await;
    assert_eq!(client.read_response().await.status, 200);

    relay.delay(SHORT);
    let begun = Instant::now();
    client.send(&ping).await;
    assert_eq!(client.read_response().await.status, 200);
    assert!(begun.elapsed() >= SHORT * 2);

    relay.stall();
    client.send(&ping).await;
    assert!(!client.is_closed(SHORT).await);
    assert_eq!(upstream.requests().len(), 2);
    relay.restore();
    assert_eq!(client.read_response().await.status, 200);

    relay.drop_new();
    if let Ok(mut late) = RawClient::try_connect(relay.local_addr()).await {
        assert!(late.is_closed(Duration::from_secs(5)).await);
    }
    client.send(&ping).await;
    assert_eq!(client.read_response().await.status, 200);

    relay.cut();
    assert!(client.is_closed(Duration::from_secs(5)).await);
    assert_eventually!(upstream.open_connections() == 0, "the far end is cut too");
    relay.restore();
    assert_eq!(get(relay.local_addr(), "/", None).await.status, 200);
    assert_eq!(relay.connections(), 3);
    upstream.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_records_the_very_bytes() {
    let upstream = Upstream::start().await;
    upstream
        .on("/sum", Behaviour::EchoLength)
        .on("/made", Behaviour::Json(201, json!({"made": 1})))
        .on(
            "/page*",
            Behaviour::Answer(200, vec![("Set-Cookie", "a=1")], b"page".to_vec()),
        );
    let mut client = RawClient::connect(upstream.addr()).await;
    let odd = b"GET /x?y HTTP/1.1\r\nhOST:  a \r\nX_Odd: 1\r\nx-odd: 2\r\n\r\n";

    client.send(odd).await;
    let ok = client.read_response().await;
    assert_eq!((ok.status, ok.json()), (200, json!({"ok": true})));
    assert_eq!(
        (ok.version.as_str(), ok.reason.as_str()),
        ("HTTP/1.1", "Scripted")
    );
    assert!(ok.head.starts_with(b"HTTP/1.1 200 Scripted\r\n"));
    let chunked = request("POST", "/sum").header("Expect", "100-continue");
    let chunked = chunked.chunked(&[b"hello ", b"world"]).to_bytes();
    client.send(&chunked).await;
    let sum = client.read_response().await;
    assert_eq!(
        (sum.json()["length"].as_u64(), sum.interim),
        (Some(11), vec![100])
    );
    client.send(&request("HEAD", "/page/1").to_bytes()).await;
    let page = client.read_response().await;
    assert_eq!(
        (page.header("content-length"), page.text().len()),
        (Some("4"), 0)
    );
    assert_eq!(page.header_values("set-cookie"), ["a=1"]);
    let made = request("POST", "/made").json(&json!({"a": 1}));
    assert_eq!(made.send(upstream.addr()).await.status, 201);
    let form = request("POST", "/made").bearer("t").form("a=1");
    assert_eq!(form.send(upstream.addr()).await.status, 201);

    let requests = upstream.wait_for_requests(5).await;
    assert_eq!(requests[0].head, odd);
    assert_eq!(
        (requests[0].method(), requests[0].target()),
        ("GET", "/x?y")
    );
    assert_eq!(requests[0].header_values("x-odd"), ["2"]);
    assert_eq!(requests[1].body, b"hello world");
    assert_eq!(sum_of(&requests[1].body), requests[1].body_sha256);
    assert!(requests[3].complete && requests[3].connection == 1);
    assert!(
        requests[4]
            .head_text()
            .contains("Authorization: Bearer t\r\n")
    );
    assert_eq!(requests[4].header("host"), Some("gateway.test"));
    assert_eq!(
        (upstream.connections(), upstream.take_requests().len()),
        (3, 5)
    );
    assert!(upstream.requests().is_empty());
    upstream.finish().await;
}

fn sum_of(bytes: &[u8]) -> String {
    let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
    sha2::Digest::update(&mut hasher, bytes);
    crate::support::wire::hex_digest(hasher)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_streams_hangs_breaks_off_and_notices_who_leaves() {
    let upstream = Upstream::start().await;
    let interval = Duration::from_secs(1);
    upstream
        .on(
            "/sse",
            Behaviour::Sse {
                events: 4,
                interval,
            },
        )
        .on("/big", Behaviour::BigBody(3_000_000))
        .on(
            "/raw",
            Behaviour::Raw(b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec()),
        )
        .on("/ws", Behaviour::WebSocketEcho)
        .on("/half", Behaviour::HangMidBody)
        .on_each(
            "/closed",
            [Behaviour::CloseBeforeHeader, Behaviour::HangBeforeHeader],
        );
    let connect = || RawClient::connect(upstream.addr());

    let mut client = connect().await;
    let begun = Instant::now();
    client.send(&request("GET", "/sse").to_bytes()).await;
    assert_eq!(client.read_head().await.status, 200);
    assert_eq!(
        &client.read_chunk().await.unwrap()[..],
        b"data: {\"n\":0}\n\n"
    );
    assert!(
        begun.elapsed() < interval * 3,
        "the first event comes at once"
    );
    while client.read_chunk().await.is_some() {}
    assert!(begun.elapsed() >= interval * 3);
    client.send(&request("GET", "/big").to_bytes()).await;
    client.read_head().await;
    let whole: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(client.drain_body().await, (3_000_000, sum_of(&whole)));
    upstream.close_idle();
    assert!(client.is_closed(Duration::from_secs(5)).await);

    assert_eq!(
        get(upstream.addr(), "/raw", None).await.text(),
        "to the end"
    );
    let mut client = connect().await;
    client.send(&request("GET", "/ws").to_bytes()).await;
    assert_eq!(client.read_response().await.status, 101);
    client.send(b"any bytes").await;
    assert_eq!(client.read_exact(9).await, b"any bytes");
    client.finish_sending().await;
    assert_eq!(
        upstream.wait_for_disconnect().await.request_line,
        "GET /ws HTTP/1.1"
    );

    let mut client = connect().await;
    client.send(&request("GET", "/closed").to_bytes()).await;
    assert!(client.is_closed(Duration::from_secs(5)).await);
    for path in ["/closed", "/half"] {
        let mut client = connect().await;
        client.send(&request("GET", path).to_bytes()).await;
        assert!(!client.is_closed(SHORT).await);
        let left = Instant::now();
        client.reset();
        let noticed = upstream.wait_for_disconnect().await;
        assert!(noticed.at >= left && noticed.request_line.contains(path));
        assert_eq!(noticed.connection + 1, upstream.connections());
    }
    upstream.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "malformed head")]
async fn an_upstream_raises_what_it_saw() {
    let upstream = Upstream::start().await;
    let mut client = RawClient::connect(upstream.addr()).await;

    client.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").await;

    assert!(client.is_closed(Duration::from_secs(5)).await);
    upstream.finish().await;
}
