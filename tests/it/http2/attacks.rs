//! Connections that mean no good: each is bounded in time and memory, and others are served.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, get,
};
use super::*;

/// Most that one hostile connection may cost, in KiB; the floods below send many times as much.
const CEILING: u64 = 32 * 1024;

/// What a stream is reset with that is one too many (RFC 9113 section 7).
const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();

/// Asserts that the gateway still serves, and has not grown beyond the ceiling.
pub(super) async fn goes_on(stage: &Stage, before: u64) {
    let printed = curl(&stage.gateway, "/v1/info", &[]).await;
    assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
    let grown = stage.gateway.peak_rss_kib().saturating_sub(before);
    assert!(grown < CEILING, "grown by {grown} KiB");
}

/// Serves a little first, so that what every process needs is there; then the memory in use.
pub(super) async fn warmed_up(stage: &Stage) -> u64 {
    curl(&stage.gateway, "/v1/info", &[]).await;
    stage.gateway.rss_kib()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let stage = stage(|gateway| gateway).await;
    stage.upstream.on("/slow", Behaviour::HangBeforeHeader);
    let before = warmed_up(&stage).await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let head = get("/slow", &[]);

    let mut refused = false;
    for batch in 0..200 {
        let mut bytes = Vec::new();
        for n in 0..100 {
            let stream = 2 * (batch * 100 + n) + 1;
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if client.try_send(&bytes).await.is_err() {
            refused = true;
            break;
        }
    }

    goes_on(&stage, before).await;
    // Whether the flood was cut short or worked off, none of it is left.
    assert!(refused || client.first(&[GOAWAY]).await.is_some());
    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "no request is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_that_never_ends_ends_the_connection() {
    let stage = stage(|gateway| gateway).await;
    let before = warmed_up(&stage).await;
    let value = "x".repeat(16_000);

    // The second adds nothing that could be too large (CVE-2024-27316).
    for more in [block(&[("x-more", &value)]), Vec::new()] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        client.send(&frame(HEADERS, 0, 1, &get("/", &[]))).await;
        let more = frame(CONTINUATION, 0, 1, &more);

        let mut refused = false;
        for _ in 0..10_000 {
            if client.try_send(&more).await.is_err() {
                refused = true;
                break;
            }
        }

        let ended = refused || client.is_closed(Duration::from_secs(10)).await;
        assert!(ended, "10,000 frames of {} bytes were taken", more.len());
        goes_on(&stage, before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_frames_without_data_end_the_connection() {
    let stage = stage(|gateway| gateway).await;
    let before = warmed_up(&stage).await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway.test"),
        (":path", "/files/upload"),
    ]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    let batch = frame(DATA, 0, 1, b"").repeat(1_000);

    let mut refused = false;
    for _ in 0..1_000 {
        if client.try_send(&batch).await.is_err() {
            refused = true;
            break;
        }
    }

    goes_on(&stage, before).await;
    assert!(refused || client.first(&[GOAWAY]).await.is_some());
    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "no request is left"
    );
    assert!(
        !stage
            .upstream
            .requests()
            .iter()
            .any(|seen| seen.complete && seen.method() == "POST")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_bomb_does_not_unfold() {
    let stage = stage(|gateway| gateway).await;
    let before = warmed_up(&stage).await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    // A field of 3,900 bytes goes into the dynamic table, where one byte names it ever after
    // (RFC 7541 section 6.1): 12 KB on the wire stand for 47 MB.
    let field = block(&[("x-bomb", &"x".repeat(3_900))]);
    let known = [&[0x40], &field[1..]].concat();

    for stream in 0..20 {
        let known = if stream == 0 { &known[..] } else { &[] };
        let bomb = [&get("/", &[]), known, &[0xbe; 12_000]].concat();
        let sent = frame(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &bomb);
        if client.try_send(&sent).await.is_err() {
            break;
        }
        // Whatever becomes of it has been by then.
        let answers = [HEADERS, RST_STREAM, GOAWAY];
        if client.first(&answers).await.is_none() {
            break;
        }
    }

    goes_on(&stage, before).await;
    let seen = stage.upstream.take_requests();
    let targets = seen.iter().map(|request| request.target());
    assert_eq!(targets.collect::<Vec<_>>(), ["/v1/info"; 2], "our own");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_agrees_on_http_2_and_says_nothing_is_cut_off() {
    let short = |gateway: GatewayBuilder| gateway.set("server.request_header_timeout", "\"3s\"");
    let stage = stage(short).await;
    let mut silent = Http2::connect(stage.gateway.addr()).await;
    let mut halting = Http2::connect(stage.gateway.addr()).await;
    halting.send(b"PRI * HTTP/2.0\r\n").await;

    assert!(silent.is_closed(Duration::from_secs(10)).await);
    assert!(halting.is_closed(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_and_so_does_a_head_that_drips() {
    let stage = stage(|gateway| gateway.set("server.idle_timeout", "\"3s\"")).await;
    let mut idle = Http2::begin(stage.gateway.addr(), &[]).await;
    let mut dripping = Http2::begin(stage.gateway.addr(), &[]).await;
    dripping.send(&frame(HEADERS, 0, 1, &get("/", &[]))).await;

    assert!(idle.is_closed(Duration::from_secs(10)).await);
    assert!(dripping.is_closed(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_never_read_is_given_up() {
    let stage = stage(|gateway| gateway.set("server.idle_timeout", "\"1s\"")).await;
    stage.upstream.on("/big", Behaviour::BigBody(100 << 20));
    let before = warmed_up(&stage).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: the client makes no room for any body.
    let shut = [0, 4, 0, 0, 0, 0];
    let served = stage.upstream.requests().len();
    let mut client = Http2::begin(stage.gateway.addr(), &shut).await;
    for stream in 0..50 {
        let whole = END_HEADERS | END_STREAM;
        client
            .send(&frame(HEADERS, whole, 2 * stream + 1, &get("/big", &[])))
            .await;
    }

    // They are under way for a second: what stays is that they have been.
    stage.upstream.wait_for_requests(served + 1).await;
    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 0.0,
        "the requests are given up"
    );
    goes_on(&stage, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_as_there_may_be_have_a_ceiling() {
    let stage = stage(|gateway| gateway).await;
    stage.upstream.on("/slow", Behaviour::HangBeforeHeader);
    let before = warmed_up(&stage).await;
    let value = "x".repeat(4_000);
    let head = get("/slow", &[("x-more", &value)]);
    let whole = END_HEADERS | END_STREAM;

    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        for stream in 0..120 {
            let opened = frame(HEADERS, whole, 2 * stream + 1, &head);
            client.send(&opened).await;
        }
        let refused = client.first(&[RST_STREAM]).await.unwrap();
        assert_eq!(refused.payload, REFUSED_STREAM, "one too many");
        clients.push(client);
    }

    assert_eventually!(
        stage.gateway.metric("difygate_requests_in_flight").await == 500.0,
        "every stream is under way"
    );
    let grown = stage.gateway.peak_rss_kib().saturating_sub(before);
    eprintln!("500 streams: {grown} KiB");
    goes_on(&stage, before).await;
}
