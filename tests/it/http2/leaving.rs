//! Clients that leave before they are answered: nobody's fault but their own.

use serde_json::Value;

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame, get};
use super::*;

/// RST_STREAM's error code of a client that has changed its mind (RFC 9113 section 7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Asserts that so many requests were refused for want of a token, and for nothing else.
async fn were_refused_once(stage: &Stage, requests: usize) {
    let count = |reason: &str| format!("difygate_rejections_total{{reason=\"{reason}\"}}");
    let refused = count("bearer_required");
    assert_eventually!(
        stage.gateway.metric(&refused).await == requests as f64
            && stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "every request is refused"
    );
    let all = stage.gateway.metric("difygate_rejections_total").await;
    assert_eq!(all, requests as f64, "each is counted once");

    let is_line = |line: &Value| line["target"] == "access";
    let mut lines = stage.gateway.log_lines();
    lines.retain(is_line);
    assert_eq!(lines.len(), requests);
    for line in &lines {
        assert_eq!(line["reason"], "bearer_required", "{line}");
    }
    let unanswered = lines.iter().filter(|line| line["status"] == 0);
    let mut unanswered = unanswered.peekable();
    assert!(unanswered.peek().is_some(), "no client was gone in time");
    for line in unanswered {
        assert_eq!(line["outcome"], "aborted", "{line}");
        assert_eq!(line["level"], "INFO", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_at_once_is_no_fault_of_the_gateways() {
    let stage = stage(|gateway| gateway.set("log.level", "\"info\"")).await;

    for _ in 0..5 {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let mut bytes = Vec::new();
        for stream in (1..29).step_by(2) {
            let head = get("/openapi/v1/apps", &[]);
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
            bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
        }
        client.send(&bytes).await;
        // What follows is read after that.
        client.send(&frame(6, 0, 0, &[1; 8])).await;
        assert!(client.first(&[6]).await.is_some());
    }

    were_refused_once(&stage, 70).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_its_upload_is_none_either() {
    let stage = stage(|gateway| gateway.set("log.level", "\"info\"")).await;
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway.test"),
        (":path", "/openapi/v1/apps"),
    ]);

    // The refusal waits a second for a little of the body, so that the connection can go on. One client
    // that is gone by then is enough.
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        client.send(&frame(DATA, 0, 1, b"begin")).await;
        client.send(&frame(RST_STREAM, 0, 1, &CANCEL)).await;
        clients.push(client);
    }

    were_refused_once(&stage, 5).await;
}
