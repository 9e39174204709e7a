//! Chunked bodies: what is wrong with them is only seen when they are under way.

use super::{CLOSES_WITHIN, NEXT, open, post, send};
use crate::support::{Gateway, RecordedRequest, Upstream, assert_eventually};

/// A head that announces chunks.
fn head() -> String {
    post("Transfer-Encoding: chunked", "")
}

/// Each of these chunked bodies is 400, the connection ends, and no whole request goes on;
/// whether the body comes with its head or after it.
async fn chunks_refused(bodies: &[&str]) {
    let (gateway, upstream) = open().await;
    for body in bodies {
        let bytes = format!("{}{body}{NEXT}", head());
        let (response, mut client) = send(&gateway, &bytes).await;
        assert_eq!(response.status, 400, "{body:?} got {response:?}");
        assert!(client.is_closed(CLOSES_WITHIN).await, "{body:?}");
        refused_in_pieces(&gateway, &upstream, body).await;
        let whole = |seen: &RecordedRequest| seen.complete;
        assert!(!upstream.requests().iter().any(whole), "{body:?}");
    }
}

/// The same with the head's end, a first chunk and the rest each in writes of their own. When the
/// upstream is asked, the head has been judged: the rest is then read as a body under way.
async fn refused_in_pieces(gateway: &Gateway, upstream: &Upstream, body: &str) {
    let mut client = gateway.client().await;
    let (head, connections) = (head(), upstream.connections());
    let (begin, end) = head.split_at(head.len() - 3);
    client.send(begin.as_bytes()).await;
    client.send(end.as_bytes()).await;
    client.send(b"3\r\nabc\r\n").await;
    // Each exchange before this one was broken off, and its connection with it.
    assert_eventually!(upstream.connections() > connections, "{body:?} begins");
    let _ = client.try_send(body.as_bytes()).await;
    let response = client.read_response().await;
    assert_eq!(response.status, 400, "{body:?} got {response:?}");
    assert!(client.is_closed(CLOSES_WITHIN).await, "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_size_that_is_not_plain_hexadecimal_is_refused() {
    let sizes = [
        "0x5",
        "+5",
        "-5",
        "5 5",
        "5 ",
        " 5",
        "5\t",
        "g",
        "",
        "fffffffffffffffff",
        "00000000000000005",
        "1_0",
        "5,5",
    ];
    let bodies = sizes.map(|size| format!("{size}\r\nhello\r\n0\r\n\r\n"));
    chunks_refused(&bodies.each_ref().map(String::as_str)).await;
    // Where no size is the last one, this is a whole body.
    chunks_refused(&["\r\n\r\n", "5\r\nhello\r\n\r\n\r\n"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_extension_is_refused() {
    chunks_refused(&[
        "5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0;c\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_that_would_mean_something_in_a_head_is_refused() {
    let fields = [
        "Authorization: Bearer x",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: b",
        "Cookie: a=b",
        "X-Dify-Scopes: full",
        "x_dify.scopes: full",
        "X-Forwarded-For: 1.1.1.1",
        "X-Request-Id: 1",
        "X-A: b\r\n folded",
        "no colon",
        "X-A : b",
    ];
    let bodies = fields.map(|field| format!("5\r\nhello\r\n0\r\n{field}\r\n\r\n"));
    chunks_refused(&bodies.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_that_means_nothing_is_left_out() {
    let (gateway, upstream) = open().await;
    let body = "5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n";

    let (response, _) = send(&gateway, &format!("{}{body}", head())).await;

    assert_eq!(response.status, 200);
    let seen = upstream.take_requests().remove(0);
    assert_eq!(seen.body, b"hello");
    assert_eq!(seen.header("x-checksum"), None);
}

/// Each field is in order; together they are no end. pingora allows the section 64 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_section_that_never_ends_ends_the_connection() {
    const FLOOD: usize = 64 << 20;
    let (gateway, upstream) = open().await;
    assert_eq!(gateway.get("/first", None).await.status, 200);
    let before = gateway.rss_kib();
    let many = "X-Checksum: abc\r\n".repeat(1_000);
    let long = "x".repeat(many.len());

    for (begin, more) in [("", &many), ("X-Checksum: ", &long)] {
        let mut client = gateway.client().await;
        let begun = format!("{}5\r\nhello\r\n0\r\n{begin}", head());
        client.send(begun.as_bytes()).await;
        let mut sent = 0;
        while sent < FLOOD && client.try_send(more.as_bytes()).await.is_ok() {
            sent += more.len();
        }
        assert!(sent < FLOOD, "{sent} bytes of trailers were taken");
        assert_eq!(gateway.get("/last", None).await.status, 200);
    }

    let seen = upstream.take_requests();
    let whole = seen.iter().filter(|seen| seen.complete);
    let targets: Vec<&str> = whole.map(RecordedRequest::target).collect();
    assert_eq!(targets, ["/first", "/last", "/last"]);
    let grown = gateway.peak_rss_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grown by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_lines_that_do_not_end_in_crlf_are_refused() {
    chunks_refused(&[
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX-A: b\n\r\n",
        "5\r\nhello\r\n0\r\nX-A: b\rX-B: c\r\n\r\n",
    ])
    .await;
}

/// The parser skips empty lines before a request line (RFC 9112 section 2.2), two of which look like
/// the end of a head.
#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_before_a_request_hide_nothing_of_its_body() {
    let (gateway, upstream) = open().await;
    for empty_lines in 0..4 {
        let head = format!("{}{}", "\r\n".repeat(empty_lines), head());
        let in_order = format!("{head}5\r\nhello\r\n0\r\n\r\n");
        let (response, _) = send(&gateway, &in_order).await;
        assert_eq!(response.status, 200, "{empty_lines} empty lines");
        // One of before that was broken off may only be recorded now.
        let mut seen = upstream.take_requests().into_iter();
        assert_eq!(seen.find(|it| it.complete).unwrap().body, b"hello");

        let extended = format!("{head}5;x=1\r\nhello\r\n0\r\n\r\n");
        let forbidden = format!("{head}5\r\nhello\r\n0\r\nHost: b\r\n\r\n");
        for bytes in [extended, forbidden] {
            // Where the head's own end is parted from it, and everywhere else.
            for cut in (1..bytes.len())
                .step_by(5)
                .chain(head.len() - 3..=head.len())
            {
                let mut client = gateway.client().await;
                let (begin, end) = bytes.split_at(cut);
                client.send(begin.as_bytes()).await;
                let _ = client.try_send(end.as_bytes()).await;
                let response = client.read_response().await;
                assert_eq!(response.status, 400, "{bytes:?} cut at {cut}");
                let whole = |seen: &RecordedRequest| seen.complete;
                assert!(!upstream.take_requests().iter().any(whole), "{bytes:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunks_over_one_connection_pass_as_they_are() {
    let (gateway, upstream) = open().await;
    let mut client = gateway.client().await;
    for size in [1, 15, 16, 255, 4096, 70_000] {
        let data = "x".repeat(size);
        let chunk = format!("{size:X}\r\n{data}\r\n");
        client
            .send(format!("{}{chunk}{chunk}", head()).as_bytes())
            .await;
        client.send(b"1\r\n\n\r\n0\r\n\r\n").await;
        assert_eq!(client.read_response().await.status, 200);
        let seen = upstream.take_requests().remove(0);
        assert_eq!(seen.body, format!("{data}{data}\n").into_bytes());
    }
}
