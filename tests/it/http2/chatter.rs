//! What a client can make the libraries below the gateway say: little, and nothing at length.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame};
use super::*;

const PING: u8 = 6;
const ACK: u8 = 1;

const TOO_MANY: &str = r#"difygate_log_lines_dropped_total{kind="log",reason="too_many"}"#;
const QUEUE_FULL: &str = r#"difygate_log_lines_dropped_total{kind="log",reason="queue_full"}"#;

/// The lines that are not the gateway's own.
fn said_by_libraries(gateway: &Gateway) -> Vec<Value> {
    let own = ["difygate", "audit", "access"];
    let mut lines = gateway.log_lines();
    lines.retain(|line| {
        let target = line["target"].as_str().unwrap();
        !own.iter().any(|own| target.starts_with(own))
    });
    lines
}

/// Bytes behind their own length, in two bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// An extension of a handshake message.
fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted(data)].concat()
}

/// A ClientHello (RFC 8446 section 4.1.2) that asks for a server of this name, in as many records as
/// it takes.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let host_name = [&[0][..], &counted(name)].concat();
    let key_share = [&[0, 29][..], &counted(&[9; 32])].concat();
    let extensions = [
        extension(0, &counted(&host_name)),
        extension(10, &counted(&[0, 29])),
        extension(13, &counted(&[4, 3, 8, 4])),
        extension(43, &[2, 3, 4]),
        extension(51, &counted(&key_share)),
    ];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend(counted(&extensions.concat()));
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &hello].concat();
    let records = message.chunks(16_000);
    records
        .flat_map(|part| [&[22, 3, 1][..], &counted(part)].concat())
        .collect()
}

/// Sends the first bytes of a connection, and waits for whatever comes of it.
async fn greet(gateway: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(gateway).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let read = async { drop(socket.read(&mut [0; 64]).await) };
    within(10.0, "an answer or the end", read).await;
}

/// Acknowledges so many PINGs that nobody has sent, and waits until all of them are read.
async fn acknowledge(client: &mut Http2, times: usize) {
    let acks = frame(PING, ACK, 0, &[0; 8]).repeat(1_000);
    for _ in 0..times / 1_000 {
        client.send(&acks).await;
    }
    client.send(&frame(PING, 0, 0, &[1; 8])).await;
    let answer = client.first(&[PING]).await.unwrap();
    assert_eq!(answer.payload, [1; 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_makes_a_library_speak() {
    let mut stage = stage(|gateway| gateway.set("log.level", "\"info\"")).await;
    let gateway = stage.gateway.addr();

    for name in [&[1; 60_000][..], b"127.0.0.1", b"a b", &[0xff; 10_000]] {
        greet(gateway, &client_hello(name)).await;
    }
    // Application data before there are keys.
    greet(gateway, b"\x17\x03\x03\x00\x01x").await;
    let mut rubbish = Http2::connect(gateway).await;
    rubbish.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(rubbish.is_closed(Duration::from_secs(10)).await);
    drop(Http2::connect(gateway).await);
    let mut malformed = Http2::begin(gateway, &[]).await;
    // For no host at all.
    let bad = block(&[(":method", "GET"), (":scheme", "https"), (":path", "/")]);
    for stream in 0..40 {
        let bad = frame(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &bad);
        let _ = malformed.try_send(&bad).await;
    }
    for _ in 0..40 {
        if malformed.first(&[HEADERS, RST_STREAM]).await.is_none() {
            break;
        }
    }
    for length in ["nonsense", "-1", "+1", "1, 2"] {
        let length = format!("content-length: {length}");
        curl(&stage.gateway, "/v1/info", &["--http1.1", "-H", &length]).await;
    }
    let mut client = Http2::begin(gateway, &[]).await;
    acknowledge(&mut client, 10_000).await;
    drop(client);

    let printed = curl(&stage.gateway, "/v1/info", &[]).await;
    assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
    stage.gateway.terminate();
    stage.gateway.wait_exit(Duration::from_secs(40)).await;
    assert_eq!(said_by_libraries(&stage.gateway), [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_what_libraries_say_takes_no_line_from_anybody() {
    const ACKS: usize = 50_000;
    // Where somebody looks for a fault, libraries are heard.
    let stage = stage(|gateway| {
        gateway
            .set("log.level", "\"debug\"")
            .set("log.access", "\"all\"")
    })
    .await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let apps = url(&stage.gateway, "/openapi/v1/apps");

    let honest = ["-n", "300", "-c", "3", "-m", "10", &apps];
    let (printed, ()) = tokio::join!(run("h2load", &honest), acknowledge(&mut client, ACKS));

    assert!(printed.out.contains("300 4xx"), "{printed:?}");
    let heard = said_by_libraries(&stage.gateway).len();
    assert!((1..ACKS / 10).contains(&heard), "{heard} lines");
    let left_out = stage.gateway.metric(TOO_MANY).await;
    assert!(
        heard + left_out as usize >= ACKS,
        "{heard} and {left_out}: each is written or counted"
    );
    let is_line = |line: &&Value| line["target"] == "access" && line["status"] == 401;
    assert_eventually!(
        stage.gateway.log_lines().iter().filter(is_line).count() == 300,
        "every request has its line"
    );
    assert_eq!(stage.gateway.metric(QUEUE_FULL).await, 0.0);
    // It is said as well, with the next line in another second.
    let is_said = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("lines of libraries were left out") && line["lines"].as_u64() > Some(0)
    };
    assert_eventually!(
        {
            acknowledge(&mut client, 1_000).await;
            stage.gateway.log_lines().iter().any(is_said)
        },
        "what was left out is said"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_chooses_how_long_a_librarys_line_is() {
    let stage = stage(|gateway| gateway.set("log.level", "\"debug\"")).await;
    let hello = client_hello(&[1; 60_000]);
    let quotes = |line: &&str| line.contains("SNI hostname");

    greet(stage.gateway.addr(), &hello).await;
    assert_eventually!(
        stage.gateway.log_text().lines().any(|line| quotes(&line)),
        "rustls complains of the name"
    );

    let log = stage.gateway.log_text();
    for line in log.lines().filter(quotes) {
        assert!(line.len() < 2_048, "{} bytes", line.len());
        let line: Value = serde_json::from_str(line).expect("whole JSON");
        assert_eq!(line["level"], "WARN");
        assert!(line["target"].as_str().unwrap().starts_with("rustls::"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
