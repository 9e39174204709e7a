//! Where a request says it came from, and whom that is believed of.

use super::{RecordedRequest, RequestBuilder, Stage, forwarded, guarded, request};
use crate::support::spellings;

/// What an honest proxy, or a liar, adds.
const CLAIMS: [(&str, &str); 14] = [
    ("X-Forwarded-For", "203.0.113.9, 198.51.100.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "dify.example"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/dify"),
    ("X-Real-IP", "203.0.113.9"),
    ("CF-Connecting-IP", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9;proto=https"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-Preferred-Username", "ada"),
    ("X-Script-Name", "/dify"),
    ("X-Original-URL", "/dify"),
    ("X-Rewrite-URL", "/dify"),
    ("Remote-User", "ada"),
];

fn claiming(request: RequestBuilder) -> RequestBuilder {
    let add = |request: RequestBuilder, (name, value): (&str, &str)| request.header(name, value);
    CLAIMS.into_iter().fold(request, add)
}

async fn behind_a_proxy() -> Stage {
    let trusted = r#"["127.0.0.1/32"]"#;
    Stage::with(|gateway| gateway.set("server.trusted_proxies", trusted)).await
}

/// The four headers that say where a request came from.
fn origin(seen: &RecordedRequest) -> [Vec<&str>; 4] {
    ["for", "proto", "host", "port"].map(|name| seen.header_values(&format!("x-forwarded-{name}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_learns_where_a_request_came_from() {
    let stage = Stage::set().await;

    for (host, port) in [
        ("dify.example", "80"),
        ("dify.example:8443", "8443"),
        ("[::1]", "80"),
    ] {
        for sent in [request("GET", "/x"), guarded(&stage)] {
            let seen = forwarded(&stage, &sent.header("Host", host)).await;
            let expected = [vec!["127.0.0.1"], vec!["http"], vec![host], vec![port]];
            assert_eq!(origin(&seen), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_untrusted_peer_all_claims_are_dropped() {
    let stage = Stage::set().await;

    for sent in [request("GET", "/x"), guarded(&stage)] {
        let seen = forwarded(&stage, &claiming(sent)).await;
        let expected = [
            vec!["127.0.0.1"],
            vec!["http"],
            vec!["gateway.test"],
            vec!["80"],
        ];
        assert_eq!(origin(&seen), expected);
        for (name, _) in &CLAIMS[4..] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_trusted_peer_claims_are_kept_and_appended_to() {
    let stage = behind_a_proxy().await;

    let seen = forwarded(&stage, &claiming(request("GET", "/x"))).await;

    let expected = [
        vec!["203.0.113.9, 198.51.100.7, 127.0.0.1"],
        vec!["https"],
        vec!["dify.example"],
        vec!["443"],
    ];
    assert_eq!(origin(&seen), expected);
    for (name, value) in &CLAIMS[4..] {
        assert_eq!(seen.header_values(name), [*value], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_lines_of_a_trusted_peer_become_one_chain() {
    let stage = behind_a_proxy().await;
    let sent = request("GET", "/x")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("x-forwarded-for", "198.51.100.7");

    let seen = forwarded(&stage, &sent).await;

    let chain = "203.0.113.9, 198.51.100.7, 127.0.0.1";
    assert_eq!(seen.header_values("x-forwarded-for"), [chain]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_peer_leaves_out_is_filled_in() {
    let stage = behind_a_proxy().await;

    let seen = forwarded(&stage, &request("GET", "/x")).await;

    let expected = [
        vec!["127.0.0.1"],
        vec!["http"],
        vec!["gateway.test"],
        vec!["80"],
    ];
    assert_eq!(origin(&seen), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_claim_is_dropped_whoever_makes_it() {
    for stage in [Stage::set().await, behind_a_proxy().await] {
        for (name, _) in CLAIMS.into_iter().chain([("X-Request-Id", "")]) {
            for spelling in spellings(name)
                .into_iter()
                .filter(|spelling| spelling != name)
            {
                let liar = request("GET", "/x").header(&spelling, "203.0.113.66");
                let text = forwarded(&stage, &liar).await.head_text();
                let is_name = spelling.eq_ignore_ascii_case(name);
                assert!(is_name || !text.contains("203.0.113.66"), "{text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_of_an_untrusted_peers_is_replaced() {
    let stage = Stage::set().await;
    let named = request("GET", "/x").header("X-Request-Id", "the-clients");

    let first = forwarded(&stage, &named).await;
    let second = forwarded(&stage, &named).await;

    let (first, second) = (
        first.header_values("x-request-id"),
        second.header_values("x-request-id"),
    );
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, ["the-clients"]);
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_of_a_trusted_proxys_is_kept() {
    let stage = behind_a_proxy().await;
    let named = |path| request("GET", path).header("X-Request-Id", "the-proxys.1");

    let seen = forwarded(&stage, &named("/x")).await;
    let refused = stage.refuses(&named("/openapi/v1/apps"), 401).await;

    assert_eq!(seen.header_values("x-request-id"), ["the-proxys.1"]);
    assert_eq!(refused.header("x-request-id"), Some("the-proxys.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_header_takes_nothing_away_that_is_kept_or_added() {
    let stage = Stage::with(|gateway| gateway.set("forward.identity", "\"signed\"")).await;
    let nominations = [
        "authorization, x-dify-subject-email, x-dify-identity, x-forwarded-for, x-request-id",
        "X-Dify-Subject-Email,X_Dify-Identity , x-forwarded-proto,host,cookie",
        "close, Authorization, X-Forwarded-Host, X-Forwarded-Port, X-Request-Id",
        "keep-alive, content-type, x-csrf-token, forwarded",
    ];
    let kept = [
        "authorization",
        "cookie",
        "host",
        "content-type",
        "x-csrf-token",
        "x-request-id",
        "x-dify-subject-type",
        "x-dify-subject-email",
        "x-dify-token-id",
        "x-dify-identity",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
    ];

    for nominated in nominations {
        let sent = guarded(&stage)
            .header("Cookie", "a=b")
            .header("Content-Type", "text/plain")
            .header("X-CSRF-Token", "csrf")
            .header("Connection", nominated);
        let seen = forwarded(&stage, &sent).await;
        for name in kept {
            assert_eq!(seen.header_values(name).len(), 1, "{nominated} took {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_nominated_twice_over_is_kept_too() {
    let stage = Stage::set().await;
    let sent = guarded(&stage)
        .header("Connection", "authorization")
        .header("connection", "x-forwarded-for, x-mine")
        .header("X-Mine", "taken away");

    let seen = forwarded(&stage, &sent).await;

    assert!(seen.header("authorization").is_some());
    assert!(seen.header("x-forwarded-for").is_some());
    assert_eq!(seen.header("x-mine"), None);
}

/// Where it cannot be told which headers are named, none is taken away: the request is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_header_that_is_no_list_of_names_is_refused() {
    let stage = Stage::set().await;
    for named in [
        "authorization, \u{e9}",
        "\u{e9}, x-forwarded-for",
        "\"authorization\"",
        "authorization;q=1",
        "authorization cookie",
        ":authority",
        "close, a, b, c, d, e, f, g, h, i, j",
    ] {
        for sent in [request("GET", "/x"), guarded(&stage)] {
            let answer = stage.refuses(&sent.header("Connection", named), 400).await;
            let message = "the Connection header is malformed";
            assert_eq!(answer.json()["message"], message, "{named}");
        }
    }
}
