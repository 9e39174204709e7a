//! Long bodies, and bodies in pieces.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::manual::Manual;
use super::{APPS, Stage, on_both, request};
use crate::support::{Behaviour, Gateway};

const GIB: u64 = 1 << 30;

/// SHA-256 of a MiB whose byte at `i` is `i % 251`, 1024 times over.
const SHA256_UP: &str = "e18e3f358b46eae9266ac36a5ff6347f6bf09711dff389597f237d5fe83111d8";

/// Most memory that a body may cost, whatever its length.
const PEAK_KIB: u64 = 100 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_of_an_upload_arrives_before_the_client_sends_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::builder().upstream(address).start().await;
    let framings = [
        (
            "Transfer-Encoding: chunked",
            ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"],
        ),
        ("Content-Length: 15", ["first", "second", "last"]),
    ];

    for (framing, pieces) in framings {
        let mut client = gateway.client().await;
        let head = format!(
            "POST /files/1 HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{}",
            pieces[0]
        );
        client.send(head.as_bytes()).await;
        let mut upstream = Manual::accept(&listener).await;
        upstream.read_until(pieces[0].as_bytes()).await;
        for piece in &pieces[1..] {
            client.send(piece.as_bytes()).await;
            upstream.read_until(piece.as_bytes()).await;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        upstream.stream.write_all(answer).await.unwrap();
        assert_eq!(client.read_response().await.status, 200, "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_arrives_while_the_upload_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::builder().upstream(address).start().await;
    let mut client = gateway.client().await;

    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client
        .send(format!("{head}5\r\nfirst\r\n").as_bytes())
        .await;
    let mut upstream = Manual::accept(&listener).await;
    upstream.read_until(b"first\r\n").await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    upstream.stream.write_all(answer).await.unwrap();

    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "early"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_upload_arrives_whole() {
    let stage = Stage::set().await;
    let large = vec![b'x'; 200_000];

    for sent in on_both(&stage, "POST") {
        let chunked = sent.chunked(&[b"a", &large, b"\r\n0\r\n\r\n", b"z"]);
        stage.forwards(&chunked.header("X-Kept", "1")).await;
    }
    let sent = request("PUT", "/files/1").chunked(&[b"a", b"\r\n0\r\n\r\n", b"z"]);
    sent.send(stage.gateway.addr()).await;
    assert_eq!(stage.upstream.take_requests()[0].body, b"a\r\n0\r\n\r\nz");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_upload_of_nothing_is_forwarded() {
    let stage = Stage::set().await;

    let sent = request("POST", "/files/1").chunked(&[]);

    stage.forwards(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_gets_it_and_its_body_arrives() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;

    let head = format!(
        "POST {APPS} HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\n",
        stage.account.bearer()
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.read_exact(12).await, b"HTTP/1.1 100");
    client.send(b"hello").await;

    assert_eq!(stage.upstream.wait_for_requests(1).await[0].body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_with_the_connection_arrives_whole() {
    let stage = Stage::set().await;
    let raw = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end".to_vec();
    stage.upstream.on("*", Behaviour::Raw(raw));

    for sent in on_both(&stage, "GET") {
        let response = sent.send(stage.gateway.addr()).await;
        assert_eq!(response.text(), "to the end", "{response:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_down_is_intact_and_costs_no_memory() {
    let stage = Stage::set().await;
    stage.upstream.on("*", Behaviour::BigBody(GIB));
    let period: Vec<u8> = (0..251 * 1024_u32).map(|i| (i % 251) as u8).collect();

    let sent = request("GET", APPS).bearer(&stage.account.token);
    let mut client = super::begin(&stage, &sent).await;
    let mut length = 0;
    while let Some(piece) = client.read_chunk().await {
        for part in piece.chunks(200 * 1024) {
            let phase = length % 251;
            assert!(
                part == &period[phase..phase + part.len()],
                "after {length} bytes"
            );
            length += part.len();
        }
    }

    assert_eq!(length as u64, GIB);
    let peak = stage.gateway.peak_rss_kib();
    assert!(peak < PEAK_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_up_is_intact_and_costs_no_memory() {
    let stage = Stage::set().await;
    stage.upstream.on("*", Behaviour::EchoLength);
    let block: Vec<u8> = (0..1 << 20_u32).map(|i| (i % 251) as u8).collect();
    let mut client = stage.gateway.client().await;

    let head = format!(
        "POST {APPS} HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\nContent-Length: {GIB}\r\n\r\n",
        stage.account.bearer()
    );
    client.send(head.as_bytes()).await;
    for _ in 0..GIB / block.len() as u64 {
        client.send(&block).await;
    }
    let answer = client.read_response().await.json();

    let expected = serde_json::json!({"length": GIB, "sha256": SHA256_UP});
    assert_eq!(answer, expected);
    let peak = stage.gateway.peak_rss_kib();
    assert!(peak < PEAK_KIB, "{peak} KiB");
}
