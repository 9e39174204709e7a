//! Answers that the upstream does not finish: the client learns that they are not whole.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::is_refusal;
use super::manual::Manual;
use crate::support::{Behaviour, Gateway, RawClient, Stage, request};

/// Longer than a peer that means to close takes.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Has the upstream send `answer`, which contains `part` of a body, and break off once the client
/// has got that.
async fn broken_off(
    gateway: &Gateway,
    listener: &TcpListener,
    answer: &str,
    part: &str,
) -> RawClient {
    let mut client = gateway.client().await;
    client.send(&request("GET", "/files/1").to_bytes()).await;
    let mut upstream = Manual::accept(listener).await;
    upstream.read_until(b"\r\n\r\n").await;
    upstream.stream.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.status, 200);
    assert_eq!(client.read_chunk().await.unwrap(), part);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_upstream_breaks_off_has_no_end_for_the_client_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::builder().upstream(address).start().await;
    let framings = [
        "Content-Length: 100\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n64\r\n",
    ];

    for framing in framings {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}");
        let mut client = broken_off(&gateway, &listener, &answer, "part").await;
        let end = client.try_read_chunk().await;
        assert!(end.is_err(), "{framing}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_makes_no_sense_has_no_end_for_the_client_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::builder().upstream(address).start().await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nxyz\r\n";

    let mut client = broken_off(&gateway, &listener, answer, "part").await;

    let end = client.try_read_chunk().await;
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_broken_off_ends_the_connection_and_is_logged_as_aborted() {
    let stage = Stage::set().await;
    let broken = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_vec();
    stage.upstream.on("*", Behaviour::Raw(broken));
    let mut client = stage.gateway.client().await;

    client.send(&request("GET", "/files/1").to_bytes()).await;

    assert!(client.is_closed(CLOSES_WITHIN).await);
    let is_line = |line: &Value| {
        let outcome = Gateway::log_field(line, "outcome");
        line["target"] == "access" && outcome == Some(&"aborted".into())
    };
    stage.gateway.wait_for_log(is_line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_interim_answer_the_client_is_told_what_went_wrong() {
    let stage = Stage::with(|gateway| gateway.set("upstream.read_timeout", "\"500ms\"")).await;
    let early_hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
    stage
        .upstream
        .on("/files/closes", Behaviour::CloseBeforeHeader)
        .on(
            "/files/nonsense",
            Behaviour::Raw(b"NONSENSE\r\n\r\n".to_vec()),
        )
        .on("/files/hangs", Behaviour::HangBeforeHeader)
        .on("/files/hints", Behaviour::Raw(early_hints));

    for (path, status) in [
        ("/files/closes", 502),
        ("/files/nonsense", 502),
        ("/files/hangs", 504),
        ("/files/hints", 502),
    ] {
        let mut client = stage.gateway.client().await;
        let sent = request("POST", path)
            .header("Expect", "100-continue")
            .body("body");
        // The upstream asks for the body, and then does what it does.
        client.send(&sent.to_bytes()).await;
        let response = client.read_response().await;
        assert_eq!(response.interim.first(), Some(&100), "{path}");
        assert_eq!(response.status, status, "{path} got {response:?}");
        assert_eq!(response.json()["status"], status);
        assert!(client.is_closed(CLOSES_WITHIN).await, "{path}");
        let of_this = |line: &Value| {
            is_refusal(status)(line) && Gateway::log_field(line, "path") == Some(&path.into())
        };
        stage.gateway.wait_for_log(of_this).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_out_of_order_is_refused_after_a_100_too() {
    let stage = Stage::set().await;
    let mut client = stage.gateway.client().await;
    let head = "POST /files/1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).await;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(client.read_exact(interim.len()).await, interim);

    client.send(b"5;x\r\nhello\r\n0\r\n\r\n").await;

    let response = client.read_response().await;
    assert_eq!(response.status, 400, "{response:?}");
    stage.gateway.wait_for_log(is_refusal(400)).await;
}
