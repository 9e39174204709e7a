//! Requests that two servers might read differently: each is refused, and nothing of it reaches
//! the upstream (`design/security.md`).

mod chunks;
mod smuggling;
pub(crate) mod targets;

use std::time::Duration;

use crate::support::{Gateway, RawClient, Response, Upstream};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// What a smuggled request would look like to the upstream.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// A gateway that needs no stores: nothing here gets as far as a token.
async fn open() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().upstream(upstream.addr());
    (gateway.start().await, upstream)
}

/// Sends these bytes over a connection of their own; the answer and the connection.
async fn send(gateway: &Gateway, bytes: &str) -> (Response, RawClient) {
    let mut client = gateway.client().await;
    let _ = client.try_send(bytes.as_bytes()).await;
    (client.read_response().await, client)
}

/// Sends a last request that is in order: whatever went before it is in order too, by then.
async fn assert_nothing_went_through(gateway: &Gateway, upstream: &Upstream) {
    assert_eq!(gateway.get("/last", None).await.status, 200);
    let lines: Vec<_> = upstream.take_requests().into_iter().collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0].target(), "/last");
}

/// Each of these requests is 400, the connection ends, and the upstream sees none of it.
async fn refused_and_closed(requests: &[String]) {
    let (gateway, upstream) = open().await;
    for bytes in requests {
        let (response, mut client) = send(&gateway, bytes).await;
        assert_eq!(response.status, 400, "{bytes:?} got {response:?}");
        assert!(client.is_closed(CLOSES_WITHIN).await, "{bytes:?}");
        assert_nothing_went_through(&gateway, &upstream).await;
    }
    upstream.finish().await;
}

/// A POST to a path that passes, with these header lines and then this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST /files/upload HTTP/1.1\r\nHost: gateway.test\r\n{headers}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn content_length_beside_transfer_encoding_is_refused() {
    let both = ["Content-Length: 5", "Transfer-Encoding: chunked"];
    let body = format!("0\r\n\r\n{NEXT}");
    refused_and_closed(&[
        post(&both.join("\r\n"), &body),
        post(&[both[1], both[0]].join("\r\n"), &body),
        post("content-length: 0\r\ntransfer-encoding: CHUNKED", &body),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_transfer_encodings_are_refused() {
    let body = format!("0\r\n\r\n{NEXT}");
    refused_and_closed(&[
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            &body,
        ),
        post(
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            &body,
        ),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", &body),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_encoding_that_is_not_exactly_chunked_is_refused() {
    let codings = [
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "xchunked",
        "chunked;x=1",
        "\"chunked\"",
        "\x0bchunked",
        "chunked\x0b",
        "",
    ];
    let body = format!("0\r\n\r\n{NEXT}");
    let requests = codings.map(|coding| post(&format!("Transfer-Encoding: {coding}"), &body));
    refused_and_closed(&requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_only_looks_like_a_framing_one_is_refused_or_dropped() {
    let (gateway, upstream) = open().await;
    let shadow = post(
        "Transfer_Encoding: chunked\r\nContent_Length: 5\r\nContent-Length: 2",
        "hi",
    );

    let (response, _) = send(&gateway, &shadow).await;

    assert_eq!(response.status, 200);
    let seen = upstream.take_requests().remove(0);
    assert_eq!(seen.body, b"hi");
    assert!(!seen.head_text().contains('_'), "{}", seen.head_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_encoding_on_http_1_0_is_refused() {
    let post = post("Transfer-Encoding: chunked", &format!("0\r\n\r\n{NEXT}"));
    refused_and_closed(&[post.replace("HTTP/1.1", "HTTP/1.0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn obsolete_line_folding_is_refused() {
    refused_and_closed(&[
        post("X-A: b\r\n c\r\nContent-Length: 0", ""),
        post(
            "Transfer-Encoding:\r\n chunked",
            &format!("0\r\n\r\n{NEXT}"),
        ),
        post(" X-A: b\r\nContent-Length: 0", ""),
        post("X-A: b\r\n\tc", ""),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_lf_or_cr_is_refused() {
    refused_and_closed(&[
        "GET /x HTTP/1.1\nHost: gateway.test\n\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: gateway.test\nX-A: b\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: gateway.test\r\n\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: gateway.test\r\nX-A: b\rX-B: c\r\n\r\n".to_owned(),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_http_is_refused() {
    refused_and_closed(&[
        "GET /x\r\nHost: a\r\n\r\n".to_owned(),
        "GET /x HTTP/0.9\r\nHost: a\r\n\r\n".to_owned(),
        "GET /x HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(),
        "GET /x http/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whitespace_around_a_header_name_or_in_it_is_refused() {
    refused_and_closed(&[
        post("Content-Length : 5", "hello"),
        post("Transfer-Encoding : chunked", &format!("0\r\n\r\n{NEXT}")),
        post("X A: b", ""),
        post("X-A\0: b", ""),
        post("no colon", ""),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_length_that_is_not_all_digits_is_refused() {
    let lengths = [
        "+5",
        "-5",
        "5 5",
        "5,5",
        "0x5",
        "5a",
        "",
        "5;",
        "1_0",
        "5\x0b",
        "5, 5",
        "99999999999999999999999",
    ];
    let requests = lengths.map(|length| post(&format!("Content-Length: {length}"), "hello"));
    refused_and_closed(&requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_lengths_that_differ_are_refused() {
    refused_and_closed(&[
        post("Content-Length: 5\r\nContent-Length: 6", "hello!"),
        post("Content-Length: 0\r\nContent-Length: 49", NEXT),
        post("Content-Length: 5, 6", "hello!"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_missing_or_several_are_refused() {
    let (gateway, upstream) = open().await;
    for bytes in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ] {
        let (response, _) = send(&gateway, bytes).await;
        assert_eq!(response.status, 400, "{bytes:?} got {response:?}");
        assert_nothing_went_through(&gateway, &upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_names_no_host_is_refused() {
    let (gateway, upstream) = open().await;
    for host in ["a, b", "a/b", "u@a", "a?b", "a#b", "a\\b", "a b", "<a>"] {
        let bytes = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (response, _) = send(&gateway, &bytes).await;
        assert_eq!(response.status, 400, "{host:?} got {response:?}");
        assert_nothing_went_through(&gateway, &upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_authorization_headers_are_refused_where_they_matter() {
    let (gateway, upstream) = open().await;
    for path in [
        "/openapi/v1/apps",
        "/openapi/v1/account",
        "/v1/info",
        "/console/api/x",
    ] {
        let bytes = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer app-1\r\n\
             authorization: Bearer app-2\r\n\r\n"
        );
        let (response, _) = send(&gateway, &bytes).await;
        assert_eq!(response.status, 400, "{path} got {response:?}");
        assert_nothing_went_through(&gateway, &upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_in_small_letters_is_refused() {
    let (gateway, upstream) = open().await;

    for method in ["post", "Post", "get", "options", "connect", "delete"] {
        let sent = format!("{method} /v1/info HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        let (answer, _) = send(&gateway, &sent).await;
        assert_eq!(answer.status, 400, "{method}: {answer:?}");
        assert_eq!(answer.json()["code"], "bad_request", "{method}");
    }
    assert_nothing_went_through(&gateway, &upstream).await;
}
