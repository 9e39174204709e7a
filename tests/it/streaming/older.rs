//! Clients of HTTP/1.0: no chunks, nothing before the answer, and what has no length ends with the
//! connection.

use std::time::Duration;

use super::{APPS, Stage};
use crate::support::{Behaviour, RawClient, RequestBuilder, Response, request};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Sends a request as a client of version 1.0 does, over a connection of its own.
async fn send(stage: &Stage, request: &RequestBuilder) -> (Response, RawClient) {
    let mut client = stage.gateway.client().await;
    client.send(&of_1_0(request)).await;
    (client.read_response().await, client)
}

/// The request's bytes, in version 1.0.
pub(super) fn of_1_0(request: &RequestBuilder) -> Vec<u8> {
    let bytes = String::from_utf8(request.to_bytes()).unwrap();
    bytes.replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_length_ends_with_a_1_0_clients_connection() {
    let stage = Stage::set().await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6\r\nto the\r\n4\r\n end\r\n0\r\n\r\n";
    let until_close = "HTTP/1.0 200 OK\r\n\r\nto the end";
    let plain = request("GET", "/files/1");
    let kept = plain.clone().header("Connection", "keep-alive");
    let guarded = request("GET", APPS).bearer(&stage.account.token);

    for answer in [chunked, until_close] {
        stage.upstream.on("*", Behaviour::Raw(answer.into()));
        for request in [&plain, &kept, &guarded] {
            let (response, mut client) = send(&stage, request).await;
            assert_eq!(response.text(), "to the end", "{response:?}");
            assert_eq!(response.header("transfer-encoding"), None);
            assert_eq!(response.header("content-length"), None);
            assert_eq!(response.header("connection"), Some("close"));
            assert!(client.is_closed(CLOSES_WITHIN).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_length_leaves_a_1_0_clients_connection_if_it_asks_for_that() {
    let stage = Stage::set().await;
    let kept = request("GET", "/files/1").header("Connection", "keep-alive");
    let refused = request("GET", APPS).header("Connection", "keep-alive");

    let (first, mut client) = send(&stage, &kept).await;
    assert_eq!(first.header("connection"), Some("keep-alive"), "{first:?}");
    client.send(&of_1_0(&refused)).await;
    assert_eq!(client.read_response().await.status, 401);
    client.send(&of_1_0(&request("GET", "/files/2"))).await;
    let last = client.read_response().await;

    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert!(client.is_closed(CLOSES_WITHIN).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_1_0_client_gets_nothing_before_its_answer() {
    let stage = Stage::set().await;
    let hinted = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    stage
        .upstream
        .on("/files/hinted", Behaviour::Raw(hinted.into()));
    let code = request("POST", "/openapi/v1/oauth/device/code").json(&serde_json::json!({}));
    let upload = request("POST", "/files/1").body("hello");

    let (response, _) = send(&stage, &request("GET", "/files/hinted")).await;
    assert_eq!((response.status, response.text().as_str()), (200, "hi"));
    assert!(response.interim.is_empty(), "{response:?}");
    stage.upstream.take_requests();
    for (request, status) in [(code, 400), (upload, 200)] {
        let (response, _) = send(&stage, &request.header("Expect", "100-continue")).await;
        assert_eq!(response.status, status, "{response:?}");
        assert!(response.interim.is_empty(), "{response:?}");
    }

    let seen = stage.upstream.take_requests().remove(0);
    assert_eq!(seen.header("expect"), None);
    assert_eq!(seen.body, b"hello");
}
