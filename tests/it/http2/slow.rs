//! Bodies that come too slowly, a stream at a time.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame, get};
use super::*;

/// How far a client may fall behind here.
const SLACK: Duration = Duration::from_secs(2);

/// A header block's first bytes for `:status: 408`: the name is in HPACK's static table, the value
/// is not, and comes in Huffman's code (RFC 7541 appendix B).
const STATUS_408: &[u8] = &[0x48, 0x83, 0x68, 0x0f, 0x7f];
/// The same for 200, which is in the table.
const STATUS_200: u8 = 0x88;

fn strict(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway
        .set("server.request_header_timeout", "\"2s\"")
        .set("server.min_body_rate", "\"1KiB\"")
}

fn post(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway.test"),
        (":path", path),
        ("content-type", "application/json"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_is_answered_408_and_reset_and_others_go_on() {
    let stage = stage(strict).await;

    for path in ["/openapi/v1/oauth/device/code", "/files/1"] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let begin = frame(HEADERS, END_HEADERS, 1, &post(path));
        client.send(&begin).await;
        client.send(&frame(DATA, 0, 1, b"{\"client_id\"")).await;
        let answer = client.first(&[HEADERS, RST_STREAM]).await.unwrap();
        assert_eq!(answer.kind, HEADERS, "{answer:?}");
        assert_eq!(&answer.payload[..5], STATUS_408, "{answer:?}");
        let body = client.first(&[DATA, RST_STREAM]).await.unwrap();
        let text = String::from_utf8_lossy(&body.payload);
        assert!(text.contains("request_timeout"), "{body:?}");
        let end = client.first(&[HEADERS, RST_STREAM]).await.unwrap();
        assert_eq!(end.kind, RST_STREAM, "{end:?}");

        let whole = END_HEADERS | END_STREAM;
        let next = frame(HEADERS, whole, 3, &get("/files/2", &[]));
        client.send(&next).await;
        let answer = client.first(&[HEADERS, RST_STREAM]).await.unwrap();
        assert_eq!(answer.payload[0], STATUS_200, "{answer:?}");
    }
    stage.upstream.wait_for_disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_drips_is_given_up() {
    let stage = stage(strict).await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let begin = frame(HEADERS, END_HEADERS, 1, &post("/files/1"));
    client.send(&begin).await;

    let dripping = async {
        for _ in 0..400 {
            client.send(&frame(DATA, 0, 1, b"x")).await;
            let answer = client.first(&[HEADERS, RST_STREAM]);
            let pause = Duration::from_millis(20);
            // No frame is half read when it is given up: nothing else is sent to this client.
            if let Ok(answer) = tokio::time::timeout(pause, answer).await {
                return answer;
            }
        }
        None
    };

    let answer = within(30.0, "an answer", dripping).await.unwrap();
    assert_eq!(&answer.payload[..5], STATUS_408, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_body_is_through_may_wait_for_its_answer() {
    let stage = stage(strict).await;
    let interval = 3 * SLACK;
    stage.upstream.on(
        "*",
        Behaviour::Sse {
            events: 2,
            interval,
        },
    );

    let printed = curl(&stage.gateway, "/files/1", &["-d", "body"]).await;

    assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
    assert!(printed.out.contains("{\"n\":1}"), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_of_the_upstreams_is_not_taken_for_one() {
    let stage = stage(|gateway| gateway).await;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    stage.upstream.on("*", Behaviour::Raw(interim));

    let expecting = ["-H", "expect: 100-continue", "-d", "body"];
    let printed = curl(&stage.gateway, "/files/1", &expecting).await;

    assert!(printed.out.starts_with("HTTP/2 502"), "{printed:?}");
    let is_line = |line: &serde_json::Value| {
        let field = |name| Gateway::log_field(line, name);
        field("status") == Some(&502.into()) && field("outcome") == Some(&"rejected".into())
    };
    stage.gateway.wait_for_log(is_line).await;
}

/// Answers one request once its body has come, which is not read before `go`.
async fn answer(mut stream: TcpStream, go: Arc<Notify>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // The gateway also looks whether anybody is there.
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    if head.starts_with("PUT /held ") {
        go.notified().await;
    }
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap();
    let length: u64 = length.split('\r').next().unwrap().parse().unwrap();
    let mut body = (&mut stream).take(length);
    tokio::io::copy(&mut body, &mut tokio::io::sink())
        .await
        .unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone";
    stream.write_all(answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_blamed_for_another_that_fills_the_connections_window() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let stage = stage(|gateway| strict(gateway).upstream(upstream)).await;
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, Arc::clone(&held)));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 64 << 20]).unwrap();
    let body = body.to_str().unwrap();
    let (held, free) = (url(&stage.gateway, "/held"), url(&stage.gateway, "/free"));
    let uploads = [
        "-sS",
        "-Z",
        "-k",
        "--http2",
        "--max-time",
        "60",
        "-w",
        "%{http_code} ",
        "-T",
        body,
        &held,
        "-T",
        body,
        &free,
    ];

    let uploads = run("curl", &uploads);
    let released = async {
        // Neither can go on: one is not taken, and it leaves no room for the other.
        tokio::time::sleep(4 * SLACK).await;
        go.notify_one();
    };
    let (printed, ()) = tokio::join!(uploads, released);

    assert_eq!(printed.out.matches("200 ").count(), 2, "{printed:?}");
}
