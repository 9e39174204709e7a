//! Chunked bodies: what is wrong with them is only seen when they are under way.

use super::{CLOSES_WITHIN, NEXT, open, post, send};
use crate::support::RecordedRequest;

/// Each of these chunked bodies is 400, the connection ends, and no whole request goes on.
async fn chunks_refused(bodies: &[&str]) {
    let (gateway, upstream) = open().await;
    for body in bodies {
        let bytes = post("Transfer-Encoding: chunked", &format!("{body}{NEXT}"));
        let (response, mut client) = send(&gateway, &bytes).await;
        assert_eq!(response.status, 400, "{body:?} got {response:?}");
        assert!(client.is_closed(CLOSES_WITHIN).await, "{body:?}");
        let whole = |seen: &RecordedRequest| seen.complete;
        assert!(!upstream.requests().iter().any(whole), "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_size_that_is_not_plain_hexadecimal_is_refused() {
    let sizes = ["0x5", "+5", "-5", "5 5", "g", "fffffffffffffffff", "5,5"];
    let bodies = sizes.map(|size| format!("{size}\r\nhello\r\n0\r\n\r\n"));
    chunks_refused(&bodies.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_framed_anew_without_extensions_and_trailers() {
    let (gateway, upstream) = open().await;
    let body =
        "5;a=\"b\"\r\nhello\r\n0;c\r\nAuthorization: Bearer x\r\nX-Dify-Scopes: full\r\n\r\n";
    let head = "POST /files/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    let _ = send(&gateway, &format!("{head}{body}{NEXT}")).await;

    assert_eq!(gateway.get("/last", None).await.status, 200);
    let seen = upstream.take_requests();
    let targets: Vec<_> = seen.iter().map(|request| request.target()).collect();
    assert!(!targets.contains(&"/smuggled"), "{targets:?}");
    for request in seen {
        assert_eq!(request.header("authorization"), None);
        assert!(["", "hello"].contains(&&*String::from_utf8_lossy(&request.body)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_lines_that_do_not_end_in_crlf_are_refused() {
    chunks_refused(&[
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
    ])
    .await;
}
