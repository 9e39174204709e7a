//! Many streams on few connections: what they may cost all together (`server.max_extra_streams`), while
//! others are served.

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame, get};
use super::*;
use crate::support::{RedisSpace, Relay};

/// Most that one stream may cost whose answer nobody reads, in KiB (`docs/operations.md`).
const UNREAD_KIB: u64 = 1024;

/// What a process may grow by for reasons of its own, in KiB.
const SLACK: u64 = 16 * 1024;

const REFUSED: &str = r#"difygate_rejections_total{reason="too_many_streams"}"#;
const IN_FLIGHT: &str = "difygate_requests_in_flight";

/// Asserts that somebody else is served, over either protocol, and asks for what `path` is.
async fn is_served(stage: &Stage, path: &str) {
    let bearer = format!("authorization: Bearer {}", stage.account.token);
    for (protocol, begin) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let printed = curl(&stage.gateway, path, &["-H", &bearer, protocol]).await;
        assert!(printed.out.starts_with(begin), "{printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_too_many_is_refused_and_its_place_comes_free() {
    let stage = stage(|gateway| gateway.set("server.max_extra_streams", "10")).await;
    stage.upstream.on("/slow", Behaviour::HangBeforeHeader);
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let whole = END_HEADERS | END_STREAM;
    let open = |streams: std::ops::Range<u32>| -> Vec<u8> {
        streams
            .flat_map(|n| frame(HEADERS, whole, 2 * n + 1, &get("/slow", &[])))
            .collect()
    };

    client.send(&open(0..20)).await;

    // One of its own, and half of those that all share.
    for _ in 0..14 {
        let refusal = client.first(&[DATA]).await.expect("a refusal");
        let body: serde_json::Value = serde_json::from_slice(&refusal.payload).unwrap();
        assert_eq!(body["code"], "service_unavailable");
        assert_eq!(body["status"], 503);
    }
    // A refusal is told before it is over.
    assert_eventually!(
        stage.gateway.metric(IN_FLIGHT).await == 6.0,
        "the others are under way"
    );
    assert_eq!(stage.gateway.metric(REFUSED).await, 14.0);
    is_served(&stage, "/openapi/v1/apps").await;

    let given_up: Vec<u8> = (0..20)
        .flat_map(|n| frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()))
        .collect();
    client.send(&given_up).await;
    assert_eventually!(
        stage.gateway.metric(IN_FLIGHT).await == 0.0,
        "all are given up"
    );
    client.send(&open(20..26)).await;
    assert_eventually!(
        stage.gateway.metric(IN_FLIGHT).await == 6.0,
        "there is room again"
    );
    assert_eq!(stage.gateway.metric(REFUSED).await, 14.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_have_a_ceiling() {
    const CLIENTS: usize = 12;
    const EXTRA: usize = 200;
    let stage = stage(|gateway| gateway.set("server.max_extra_streams", &EXTRA.to_string())).await;
    stage.upstream.on("/files/*", Behaviour::BigBody(64 << 20));
    is_served(&stage, "/openapi/v1/apps").await;
    let before = stage.gateway.rss_kib();
    // SETTINGS_INITIAL_WINDOW_SIZE of a mebibyte: as far as the clients go, all may be sent at once.
    let wide = [0, 4, 0, 16, 0, 0];
    let whole = END_HEADERS | END_STREAM;
    let all: Vec<u8> = (0..100)
        .flat_map(|n| frame(HEADERS, whole, 2 * n + 1, &get("/files/1", &[])))
        .collect();

    // Together 77 GB.
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Http2::begin(stage.gateway.addr(), &wide).await;
        client.send(&all).await;
        clients.push(client);
    }

    // Refusals end by themselves, since nothing stands in their way; the others stand still.
    let mut under_way;
    assert_eventually!(
        {
            under_way = stage.gateway.metric(IN_FLIGHT).await;
            stage.gateway.metric(REFUSED).await + under_way == (100 * CLIENTS) as f64
                && under_way <= (CLIENTS + EXTRA) as f64
        },
        "every stream is under way or refused, and no more than may be are under way"
    );
    // Each connection has its own, whatever the others have.
    assert!(under_way > EXTRA as f64 * 0.9, "{under_way} streams");
    is_served(&stage, "/openapi/v1/apps").await;
    let grown = stage.gateway.peak_rss_kib().saturating_sub(before);
    eprintln!("{under_way} streams: {grown} KiB");
    let most = SLACK + UNREAD_KIB * (CLIENTS + EXTRA) as u64;
    assert!(grown < most, "grown by {grown} KiB");
}

/// More streams than there are files, each with a body that never comes: the gateway goes on to open
/// what it needs itself, and to take and answer others.
#[tokio::test(flavor = "multi_thread")]
async fn streams_leave_files_for_all_else() {
    const FILES: u32 = 512;
    let redis = RedisSpace::create().await;
    let relay = Relay::to(redis.addr()).await;
    let stage = stage(|gateway| {
        gateway
            .redis_addr(relay.local_addr(), redis.prefix())
            .open_files(64, FILES)
    })
    .await;
    let login = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gateway.test"),
        (":path", "/console/api/login"),
    ]);
    let all: Vec<u8> = (0..95)
        .flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &login))
        .collect();

    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        client.send(&all).await;
        clients.push(client);
    }

    assert_eventually!(
        stage.gateway.metric(REFUSED).await > 500.0,
        "there are too many streams"
    );
    is_served(&stage, "/openapi/v1/apps").await;
    let redis_up = r#"difygate_dependency_up{dependency="redis"}"#;
    relay.cut();
    assert_eventually!(stage.gateway.metric(redis_up).await == 0.0, "redis is away");
    relay.restore();
    assert_eventually!(stage.gateway.metric(redis_up).await == 1.0, "redis is back");
    is_served(&stage, "/openapi/v1/apps").await;

    let upstream_up = r#"difygate_dependency_up{dependency="upstream"}"#;
    assert_eq!(stage.gateway.metric(upstream_up).await, 1.0);
    let lacking = stage
        .gateway
        .log_text()
        .matches("open files (os error")
        .count();
    assert_eq!(lacking, 0, "{}", stage.gateway.log_text());
    for reason in ["bad_gateway", "auth_unavailable", "internal"] {
        let refused = format!("difygate_rejections_total{{reason={reason:?}}}");
        assert_eq!(stage.gateway.metric(&refused).await, 0.0, "{reason}");
    }
}
