//! Connections on which the gateway has to send what nobody wants: resets and acknowledgements.

use super::attacks::{goes_on, warmed_up};
use super::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, get,
};
use super::*;

/// Most streams of a connection that the gateway resets, which is h2's own limit.
const LOCAL_RESETS: u32 = 1_024;

/// How long a write may take before it counts as never done.
const STANDSTILL: Duration = Duration::from_secs(2);

/// The client resets nothing here, and its requests were all looked at (CVE-2025-8671): each is under
/// way when it does what a stream has to be reset for, or the connection ended.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_have_to_be_reset_end_the_connection() {
    let stage = stage(|gateway| gateway).await;
    stage.upstream.on("/slow", Behaviour::HangBeforeHeader);
    let before = warmed_up(&stage).await;
    let upload = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway.test"),
        (":path", "/slow"),
        ("content-length", "1"),
    ]);
    let (whole, slow) = (END_HEADERS | END_STREAM, get("/slow", &[]));

    for (what, flags, head, kind, payload, resets) in [
        (
            "a window of more than there is",
            whole,
            &slow,
            WINDOW_UPDATE,
            &[0x7f, 0xff, 0xff, 0xff][..],
            LOCAL_RESETS,
        ),
        (
            "more of a body than was announced",
            END_HEADERS,
            &upload,
            DATA,
            b"two",
            LOCAL_RESETS,
        ),
        (
            "a window of nothing",
            whole,
            &slow,
            WINDOW_UPDATE,
            &[0; 4],
            0,
        ),
        ("a body behind its end", whole, &slow, DATA, b"more", 0),
    ] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let mut reset = 0;
        for n in 0..2 * LOCAL_RESETS {
            let stream = 2 * n + 1;
            let opened = frame(HEADERS, flags, stream, head);
            let sent = [opened, frame(kind, 0, stream, payload)].concat();
            if client.try_send(&sent).await.is_err() {
                break;
            }
            let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await;
            match answer.map(|frame| frame.kind) {
                Some(RST_STREAM) => reset += 1,
                Some(HEADERS) => panic!("{what} got an answer"),
                _ => break,
            }
        }
        assert_eq!(reset, resets, "{what}");
        assert!(client.is_closed(Duration::from_secs(10)).await, "{what}");
    }

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "no request is left"
    );
    goes_on(&stage, before).await;
}

/// Each of these has to be answered. As long as answers find no room, nothing more is read.
#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_whose_answers_nobody_reads_are_not_kept() {
    const FLOOD: usize = 256 << 20;
    let stage = stage(|gateway| gateway).await;
    let before = warmed_up(&stage).await;

    let mut clients = Vec::new();
    for flood in [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0, &[]),
        // SETTINGS_HEADER_TABLE_SIZE, which has to be remembered until it is acknowledged.
        frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]),
    ] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let batch = flood.repeat(64 * 1024 / flood.len());
        // Either it is taken in full, or it stands still, or it is cut off.
        for _ in 0..FLOOD / batch.len() {
            let taken = tokio::time::timeout(STANDSTILL, client.try_send(&batch)).await;
            if !matches!(taken, Ok(Ok(()))) {
                break;
            }
        }
        goes_on(&stage, before).await;
        clients.push(client);
    }
}
