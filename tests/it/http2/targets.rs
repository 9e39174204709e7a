//! Targets and authorities that HTTP/1.1 has no place for, or answers otherwise.

use super::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, get,
};
use super::*;
use crate::framing::targets;

/// A header block's first byte for `:status: 200`, which is in HPACK's static table.
const STATUS_200: u8 = 0x88;
/// The same for 400.
const STATUS_400: u8 = 0x8c;
/// The same for 404.
const STATUS_404: u8 = 0x8d;
/// The same for 401, whose value is not in the table and comes in Huffman's code.
const STATUS_401: &[u8] = &[0x48, 0x82, 0x68, 0x01];
/// What a stream is reset with that is malformed (RFC 9113 section 7).
const PROTOCOL_ERROR: [u8; 4] = 1_u32.to_be_bytes();
/// `x-request-id` in Huffman's code, which begins with a byte of its own (RFC 7541 section 5.2).
const REQUEST_ID: &[u8] = b"\xf2\xb5\x85\xed\x69\x50\x95\x8d\x27";

/// `http` cuts a fragment off before anybody sees it, so no 400 as in HTTP/1.1. What holds is that
/// it means nothing to anybody: the guard and the upstream have the same path, without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_means_nothing_to_guard_and_upstream() {
    let stage = stage(|gateway| gateway).await;
    let bearer = format!("Bearer {}", stage.account.token);
    let token = [("authorization", bearer.as_str())];
    let sent = async |path: &str, more: &[(&str, &str)]| {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let whole = END_HEADERS | END_STREAM;
        client
            .send(&frame(HEADERS, whole, 1, &get(path, more)))
            .await;
        let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        let seen = stage.upstream.take_requests();
        let targets: Vec<String> = seen.iter().map(|it| it.target().to_owned()).collect();
        (
            answer.kind == HEADERS && answer.payload[0] == STATUS_200,
            targets,
        )
    };

    for (path, more, arrives) in [
        ("/files/x#y/../z", &[][..], Some("/files/x")),
        ("/files/x?a=1#/../inner/api", &[], Some("/files/x?a=1")),
        ("/files/x#?b", &[], Some("/files/x")),
        ("#/inner/api/x", &[], Some("/")),
        (
            "/openapi/v1/apps#/../_health",
            &token,
            Some("/openapi/v1/apps"),
        ),
        ("/openapi/v1/apps#/../_health", &[], None),
        ("/openapi/v1/apps#", &[], None),
        ("/inner/api/x#/../../../files/x", &[], None),
        ("/v1/info#", &token, None),
        ("/files/..#x", &[], None),
    ] {
        let (ok, targets) = sent(path, more).await;
        assert_eq!(ok, arrives.is_some(), "{path}");
        assert_eq!(targets, Vec::from_iter(arrives), "{path}");
    }
}

/// What h2 makes no path of, it resets the stream for; all else gets what HTTP/1.1 gets. Fragments are
/// another matter, see above.
#[tokio::test(flavor = "multi_thread")]
async fn what_http_1_refuses_for_its_target_is_refused_here() {
    let stage = stage(|gateway| gateway).await;
    let bearer = format!("Bearer {}", stage.account.token);
    let token = [("authorization", bearer.as_str())];
    let sent = async |target: &str, more: &[(&str, &str)]| {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let whole = END_HEADERS | END_STREAM;
        let request = frame(HEADERS, whole, 1, &get(target, more));
        client.send(&request).await;
        let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        let seen = stage.upstream.take_requests();
        assert!(seen.is_empty(), "{target:?}: {seen:?}");
        answer
    };

    for target in targets::REFUSED.into_iter().flatten() {
        let is_path = target.starts_with(['/', '?', '*']);
        let is_path = is_path && !target.contains(|it: char| it == ' ' || it.is_control());
        for more in [&[][..], &token] {
            let answer = sent(target, more).await;
            let refused = match answer.kind {
                HEADERS => is_path && answer.payload[0] == STATUS_400,
                RST_STREAM => !is_path && answer.payload == PROTOCOL_ERROR,
                _ => false,
            };
            assert!(refused, "{target:?}: {answer:?}");
        }
    }
    for target in targets::OF_OPENAPI {
        let answer = sent(target, &[]).await;
        assert_eq!(answer.kind, HEADERS, "{target}: {answer:?}");
        assert_eq!(&answer.payload[..4], STATUS_401, "{target}: {answer:?}");
    }
    for target in targets::OF_INNER {
        let answer = sent(target, &token).await;
        assert_eq!(answer.kind, HEADERS, "{target}: {answer:?}");
        assert_eq!(answer.payload[0], STATUS_404, "{target}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_a_body_an_id_and_a_line_in_the_log() {
    let stage = stage(|gateway| gateway).await;
    let target = stage.upstream.addr().to_string();
    let connect = block(&[(":method", "CONNECT"), (":authority", &target)]);

    // With an end that is said, and without one, as who wants a tunnel leaves it.
    for flags in [END_HEADERS, END_HEADERS | END_STREAM] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        client.send(&frame(HEADERS, flags, 1, &connect)).await;
        let head = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!(head.kind, HEADERS, "{head:?}");
        let named = head.payload.windows(REQUEST_ID.len());
        assert!(named.into_iter().any(|part| part == REQUEST_ID), "{head:?}");
        let body = client.first(&[DATA, RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!(body.kind, DATA, "{body:?}");
        let body: serde_json::Value = serde_json::from_slice(&body.payload).unwrap();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&"method_not_allowed".into(), &405.into())
        );

        // The connection goes on.
        let whole = END_HEADERS | END_STREAM;
        client
            .send(&frame(HEADERS, whole, 3, &get("/v1/info", &[])))
            .await;
        let next = client.first(&[HEADERS, GOAWAY]).await.unwrap();
        assert_eq!(
            (next.kind, next.payload[0]),
            (HEADERS, STATUS_200),
            "{next:?}"
        );
    }
    let line = |line: &serde_json::Value| {
        line["target"] == "access"
            && Gateway::log_field(line, "reason") == Some(&"connect_refused".into())
    };
    let line = stage.gateway.wait_for_log(line).await;
    assert_eq!(Gateway::log_field(&line, "status"), Some(&405.into()));
    assert_eq!(Gateway::log_field(&line, "method"), Some(&"CONNECT".into()));
    let refused = "difygate_rejections_total{reason=\"connect_refused\"}";
    assert_eq!(stage.gateway.metric(refused).await, 2.0);
    let targets = stage.upstream.take_requests();
    assert!(
        targets.iter().all(|request| request.target() == "/v1/info"),
        "{targets:?}"
    );
}

/// pingora answers those itself, with a bare 400; see "What is refused below" in
/// `docs/hardening.md`.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_two_hosts_or_none_is_400_and_the_next_one_is_served() {
    let stage = stage(|gateway| gateway).await;
    let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
    let whole = END_HEADERS | END_STREAM;
    let request = |more: &[(&str, &str)]| {
        let head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/v1/info"),
        ];
        block(&[&head[..], more].concat())
    };
    let mut stream = 1;

    for more in [
        &[][..],
        &[("host", "a.test"), ("host", "a.test")],
        &[(":authority", "a.test"), ("host", "b.test")],
        &[(":authority", "user@a.test")],
        &[("host", "user@a.test")],
    ] {
        client
            .send(&frame(HEADERS, whole, stream, &request(more)))
            .await;
        let refused = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!(
            (refused.kind, refused.payload[0]),
            (HEADERS, STATUS_400),
            "{more:?}"
        );
        stream += 2;
    }
    assert!(stage.upstream.take_requests().is_empty());
    let good = request(&[(":authority", "a.test")]);
    client.send(&frame(HEADERS, whole, stream, &good)).await;
    let served = client.first(&[HEADERS, GOAWAY]).await.unwrap();
    assert_eq!((served.kind, served.payload[0]), (HEADERS, STATUS_200));

    // The five before were of this connection too.
    let bad = request(&[(":authority", "a.test"), ("host", "b.test")]);
    let mut refused = 5;
    for _ in 0..40 {
        stream += 2;
        if client
            .try_send(&frame(HEADERS, whole, stream, &bad))
            .await
            .is_err()
        {
            break;
        }
        match client.first(&[HEADERS, RST_STREAM, GOAWAY]).await {
            Some(frame) if (frame.kind, frame.payload[0]) == (HEADERS, STATUS_400) => refused += 1,
            _ => break,
        }
    }
    // Of the last, nobody waits until its answer is out.
    assert!([31, 32].contains(&refused), "{refused} were refused");
    assert!(client.is_closed(Duration::from_secs(10)).await);
    let printed = curl(&stage.gateway, "/v1/info", &[]).await;
    assert!(printed.out.starts_with("HTTP/2 200"), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_before_a_users_token_hides_nothing() {
    let stage = stage(|gateway| gateway).await;
    for before in [" ", "\t", "  "] {
        let mut client = Http2::begin(stage.gateway.addr(), &[]).await;
        let value = format!("{before}Bearer {}", stage.account.token);
        let request = get("/v1/info", &[("authorization", &value)]);
        let whole = END_HEADERS | END_STREAM;
        client.send(&frame(HEADERS, whole, 1, &request)).await;
        let answer = client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert_ne!(answer.payload[0], STATUS_200, "{value:?}");
    }
    assert!(stage.upstream.take_requests().is_empty());
}
