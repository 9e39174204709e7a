//! Header sections that never become a request.

use std::time::Duration;

use crate::support::{Gateway, RawClient, Upstream, request};

async fn answer_to(gateway: &Gateway, head: &[u8]) -> (u16, String, Option<String>) {
    let mut client = gateway.client().await;
    client.send(head).await;
    let response = client.read_response().await;
    assert!(client.is_closed(Duration::from_secs(5)).await);
    (
        response.status,
        response.text(),
        response.header("x-request-id").map(str::to_owned),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_head_is_answered_like_any_other_refusal() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;

    for head in [
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (status, body, id) = answer_to(&gateway, head.as_bytes()).await;
        assert_eq!(status, 400, "{head:?}");
        assert_eq!(
            body,
            r#"{"code": "bad_request", "message": "the request line or a header line is malformed", "status": 400}"#
        );
        let id = id.expect("a request id");
        gateway
            .wait_for_log(|line| Gateway::log_field(line, "request_id").is_some_and(|i| *i == id))
            .await;
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(
        gateway
            .metric(r#"difygate_rejections_total{reason="malformed"}"#)
            .await,
        5.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_count_against_the_limit_of_a_head() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;
    let get = "GET /v1/info HTTP/1.1\r\nHost: a\r\n\r\n";

    let mut client = gateway.client().await;
    let within = "\r\n".repeat(16 << 10);
    client.send(format!("{within}{get}").as_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);

    // 70 KB; the limit is 64 KiB.
    let beyond = "\r\n".repeat(35_000);
    let (status, body, _) = answer_to(&gateway, format!("{beyond}{get}").as_bytes()).await;
    assert_eq!(status, 431, "{body}");
    assert_eq!(upstream.requests().len(), 1);
}

/// 64 KiB have room for all of them. The parser gives up at one too many, so it is no 431 as over HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_number_of_fields() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;
    let of = |count: usize| {
        let fields: String = (1..count).map(|n| format!("x{n}:\r\n")).collect();
        format!("GET /v1/info HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };

    let mut client = gateway.client().await;
    client.send(of(256).as_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);
    for count in [257, 300] {
        let (status, body, _) = answer_to(&gateway, of(count).as_bytes()).await;
        assert_eq!(status, 400, "{count}: {body}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_what_is_allowed() {
    let gateway = Gateway::builder().start().await;
    let mut client = gateway.client().await;
    client
        .send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        .await;

    let response = client.read_response().await;

    assert_eq!(response.status, 405);
    assert!(response.header("allow").unwrap().contains("GET"));
    assert_eq!(response.json()["code"], "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_second_request_is_answered_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;
    let mut client = gateway.client().await;
    client.send(&request("GET", "/v1/info").to_bytes()).await;
    assert_eq!(client.read_response().await.status, 200);

    client.send(b"NONSENSE\r\n\r\n").await;

    let response = client.read_response().await;
    assert_eq!(response.status, 400);
    assert_eq!(response.json()["code"], "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_own_400_is_left_alone() {
    let upstream = Upstream::start().await;
    let own = b"HTTP/1.1 400 Bad Request\r\nServer: Pingora\r\nContent-Length: 3\r\n\r\nown";
    upstream.on("/v1/own", crate::support::Behaviour::Raw(own.to_vec()));
    let gateway = Gateway::builder().upstream(upstream.addr()).start().await;

    let response = gateway.get("/v1/own", None).await;

    assert_eq!((response.status, response.text().as_str()), (400, "own"));
    assert_eq!(response.header("server"), Some("Pingora"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_has_a_deadline_for_all_of_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.request_header_timeout", "\"500ms\"")
        .start()
        .await;
    let mut fresh = gateway.client().await;
    let mut reused = gateway.client().await;
    reused.send(&request("GET", "/v1/info").to_bytes()).await;
    assert_eq!(reused.read_response().await.status, 200);

    assert!(drip(&mut fresh).await, "a first request");
    assert!(drip(&mut reused).await, "a later one");

    assert_eq!(gateway.get("/v1/info", None).await.status, 200);
}

/// Sends a byte of header now and then; `true` when the gateway has had enough.
async fn drip(client: &mut RawClient) -> bool {
    if client.try_send(b"GET / HTTP/1.1\r\nX: ").await.is_err() {
        return true;
    }
    for _ in 0..100 {
        if client.is_closed(Duration::from_millis(100)).await
            || client.try_send(b"x").await.is_err()
        {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_not_a_slow_head() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .upstream(upstream.addr())
        .set("server.request_header_timeout", "\"300ms\"")
        .set("server.min_body_rate", "\"0\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client
        .send(b"POST /v1/info HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;

    for _ in 0..10 {
        assert!(!client.is_closed(Duration::from_millis(100)).await);
        client.send(b"x").await;
    }

    assert_eq!(client.read_response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_request_leaves_no_deadline_behind() {
    let gateway = Gateway::builder()
        .set("server.request_header_timeout", "\"200ms\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    let unauthorized = request("GET", "/openapi/v1/apps").to_bytes();
    client.send(&unauthorized).await;
    assert_eq!(client.read_response().await.status, 401);

    assert!(!client.is_closed(Duration::from_secs(1)).await);

    client.send(&unauthorized).await;
    assert_eq!(client.read_response().await.status, 401);
}
