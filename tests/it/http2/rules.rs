//! What is not one clean request is refused, and reaches no upstream.

use super::frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, frame, get};
use super::*;

/// A header block's first byte for `:status: 400`, which is in HPACK's static table.
const STATUS_400: u8 = 0x8c;
/// The same for 200.
const STATUS_200: u8 = 0x88;
/// The same for 431, whose value is not in the table and comes in Huffman's code.
const STATUS_431: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];

/// Sends one request without a body; the first frame of the answer to it.
async fn answer(stage: &Stage, block: &[u8]) -> frames::Frame {
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let whole = END_HEADERS | END_STREAM;
    client.send(&frame(HEADERS, whole, 1, block)).await;
    let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await;
    answer.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_could_be_read_in_two_ways_are_400() {
    let stage = stage(|gateway| gateway).await;

    for more in [
        &[("host", "other.test")][..],
        &[("host", "gateway.test"), ("host", "gateway.test")],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        &[("content-length", "+0")],
        &[("content-length", "0"), ("content-length", "0")],
    ] {
        let answer = answer(&stage, &get("/v1/info", more)).await;
        let refused = match answer.kind {
            HEADERS => answer.payload[0] == STATUS_400,
            kind => kind == RST_STREAM,
        };
        assert!(refused, "{more:?}: {answer:?}");
    }
    for path in ["/v1/../inner/api", "/v1/%2e%2e/inner/api", "/v1/a%2fb"] {
        let answer = answer(&stage, &get(path, &[])).await;
        assert_ne!(answer.payload[0], STATUS_200, "{path}: {answer:?}");
    }
    assert!(stage.upstream.take_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_connection_of_http_1_resets_the_stream() {
    let stage = stage(|gateway| gateway).await;

    for field in [
        ("connection", "close"),
        ("connection", "x-dify-identity"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "case"),
        (":path", "/again"),
        (":unknown", "pseudo"),
    ] {
        let answer = answer(&stage, &get("/v1/info", &[field])).await;
        // A name in upper case breaks the whole connection.
        let refused = matches!(answer.kind, RST_STREAM | GOAWAY);
        assert!(refused, "{field:?}: {answer:?}");
    }
    assert!(stage.upstream.take_requests().is_empty());
    let trailers = answer(&stage, &get("/v1/info", &[("te", "trailers")])).await;
    assert_eq!(trailers.payload[0], STATUS_200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_opens_no_tunnel() {
    let stage = stage(|gateway| gateway).await;
    let target = stage.upstream.addr().to_string();
    let plain = frames::block(&[(":method", "CONNECT"), (":authority", &target)]);
    let extended = get("/v1/info", &[(":protocol", "websocket")]);

    for block in [plain, extended] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert!(
            answer.kind != HEADERS || answer.payload[0] != STATUS_200,
            "{answer:?}"
        );
    }
    assert!(stage.upstream.take_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_long_as_announced_resets_the_stream() {
    let stage = stage(|gateway| gateway).await;
    stage.upstream.on("*", Behaviour::EchoLength);

    for (announced, sent) in [("3", &b"0123456789"[..]), ("20", b"0123456789")] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/files/1"),
        ];
        let more = [
            (":authority", "gateway.test"),
            ("content-length", announced),
        ];
        let block = frames::block(&[&head[..], &more].concat());
        client.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        client.send(&frame(DATA, END_STREAM, 1, sent)).await;
        let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        let ok = answer.kind == HEADERS && answer.payload[0] == STATUS_200;
        assert!(!ok, "{announced}: {answer:?}");
    }
    let seen = stage.upstream.take_requests();
    assert!(seen.iter().all(|request| !request.complete), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_never_become_headers() {
    let stage = stage(|gateway| gateway).await;
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/openapi/v1/apps"),
    ];
    let block = frames::block(&[&head[..], &[(":authority", "gateway.test")]].concat());
    let bearer = format!("Bearer {}", stage.account.token);
    let trailer = frames::block(&[("authorization", &bearer), ("x-dify-identity", "forged")]);

    for (path, status) in [("/openapi/v1/apps", None), ("/files/1", Some(STATUS_200))] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let block = if status.is_some() {
            let head = [(":method", "POST"), (":scheme", "https"), (":path", path)];
            frames::block(&[&head[..], &[(":authority", "gateway.test")]].concat())
        } else {
            block.clone()
        };
        client.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        client.send(&frame(DATA, 0, 1, b"body")).await;
        let ends = END_HEADERS | END_STREAM;
        client.send(&frame(HEADERS, ends, 1, &trailer)).await;
        let answer = client.first(&[HEADERS]).await.unwrap();
        assert_eq!(answer.payload[0] == STATUS_200, status.is_some(), "{path}");
    }
    let seen = stage.upstream.take_requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].body, b"body");
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[0].header("x-dify-identity"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_crumbs_are_one_cookie_again() {
    let stage = stage(|gateway| gateway).await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];

    let answer = answer(&stage, &get("/console/api/setup", &crumbs)).await;

    assert_eq!(answer.payload[0], STATUS_200);
    let seen = stage.upstream.take_requests();
    let cookies = seen[0].headers.iter();
    let cookies = cookies.filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let cookies: Vec<_> = cookies.map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_are_dropped_as_ever() {
    let stage = stage(|gateway| gateway).await;
    let printed = run(
        "nghttp",
        &[
            "-v",
            "-H",
            "x-forwarded-for: 203.0.113.7",
            "-H",
            "x-forwarded-proto: http",
            "-H",
            "x_dify_identity: forged",
            "-H",
            "x-dify-subject-email: forged",
            &url(&stage.gateway, "/files/1"),
        ],
    )
    .await;

    assert!(printed.out.contains(":status: 200"), "{printed:?}");
    let seen = stage.upstream.take_requests();
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    assert!(!String::from_utf8_lossy(&seen[0].head).contains("forged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_size() {
    let stage = stage(|gateway| gateway.set("server.max_header_bytes", "\"4KiB\"")).await;
    let long = "x".repeat(5_000);
    let many: Vec<(String, &str)> = (0..300).map(|n| (format!("x{n}"), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, v)| (name.as_str(), *v)).collect();

    for more in [&[("x-long", long.as_str())][..], &many] {
        let answer = answer(&stage, &get("/v1/info", more)).await;
        assert!(
            answer.kind != HEADERS || answer.payload[0] != STATUS_200,
            "{answer:?}"
        );
    }
    assert!(stage.upstream.take_requests().is_empty());
}

/// 64 KiB have room for all of them. Pseudo-header fields are none, but the host becomes one.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_number_of_fields() {
    let stage = stage(|gateway| gateway).await;
    let names: Vec<String> = (0..300).map(|n| format!("x{n}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();

    let enough = answer(&stage, &get("/v1/info", &fields[..255])).await;
    assert_eq!(enough.payload[0], STATUS_200, "{enough:?}");
    assert_eq!(stage.upstream.take_requests().len(), 1);
    for count in [256, 300] {
        let answer = answer(&stage, &get("/v1/info", &fields[..count])).await;
        assert_eq!(answer.kind, HEADERS, "{count}: {answer:?}");
        assert_eq!(&answer.payload[..5], STATUS_431, "{count}: {answer:?}");
    }
    assert!(stage.upstream.take_requests().is_empty());
}
