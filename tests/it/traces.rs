//! Spans for an OpenTelemetry collector, and the W3C Trace Context in and out.

mod collectors;
mod context;

use std::collections::BTreeSet;

use crate::support::{Behaviour, Collector, Recorded, Stage, assert_eventually, request};

const APPS: &str = "/openapi/v1/apps";

/// A stage that traces every request, and where to.
async fn traced() -> (Stage, Collector) {
    let collector = Collector::start().await;
    let stage = Stage::with(|gateway| collector.traces(gateway).set("log.access", "\"all\"")).await;
    (stage, collector)
}

/// The one span of a kind: 1 internal, 2 server, 3 client.
fn of_kind(spans: &[Recorded], kind: i32) -> &Recorded {
    let mut found = spans.iter().filter(|it| it.span.kind == kind);
    let one = found.next().expect("a span of this kind");
    assert!(found.next().is_none(), "one span of this kind: {spans:#?}");
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_its_check_and_its_call_are_one_trace() {
    let (stage, collector) = traced().await;

    let path = format!("{APPS}?page=1");
    let answer = stage.gateway.get(&path, Some(&stage.account.token)).await;

    assert_eq!(answer.status, 200);
    let spans = collector.wait_for_spans(3).await;
    let (check, server, call) = (of_kind(&spans, 1), of_kind(&spans, 2), of_kind(&spans, 3));
    let traces: BTreeSet<_> = spans.iter().map(Recorded::trace).collect();
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert_eq!(server.parent(), "");
    assert_eq!((check.parent(), call.parent()), (server.id(), server.id()));
    let forwarded = &stage.upstream.requests()[0];
    let told = format!("00-{}-{}-01", server.trace(), call.id());
    assert_eq!(forwarded.header_values("traceparent"), [told]);

    assert_eq!(server.span.name, "GET /openapi/v1/apps/*");
    let port = stage.upstream.addr().port().to_string();
    let url = format!("http://127.0.0.1:{port}{APPS}");
    for (span, name, value) in [
        (server, "http.request.method", "GET"),
        (server, "http.route", "/openapi/v1/apps/*"),
        (server, "url.path", APPS),
        (server, "url.scheme", "http"),
        (server, "http.response.status_code", "200"),
        (server, "client.address", "127.0.0.1"),
        (server, "server.address", "gateway.test"),
        (server, "network.protocol.version", "1.1"),
        (server, "difygate.outcome", "forwarded"),
        (server, "difygate.request_id", answer_id(forwarded)),
        (check, "difygate.tier", "postgres"),
        (check, "difygate.result", "live"),
        (call, "http.request.method", "GET"),
        (call, "url.full", &url),
        (call, "server.address", "127.0.0.1"),
        (call, "server.port", &port),
        (call, "http.response.status_code", "200"),
    ] {
        assert_eq!(span.attribute(name), value, "{name}: {span:#?}");
    }
    assert!(spans.iter().all(|it| !it.failed()), "{spans:#?}");
    for span in [check, call] {
        assert!(server.span.start_time_unix_nano <= span.span.start_time_unix_nano);
        assert!(span.span.end_time_unix_nano <= server.span.end_time_unix_nano);
    }
    assert_eq!(server.resource["service.name"], "difygate");
    assert_ne!(server.resource["service.instance.id"], "");

    let line = |line: &serde_json::Value| line["target"] == "access";
    let line = stage.gateway.wait_for_log(line).await;
    assert_eq!(line["trace_id"], server.trace());
    // The gateway counts them once it has read the collector's answer, which comes after the spans.
    assert_eventually!(
        stage.gateway.metric("difygate_spans_exported_total").await == 3.0,
        "they are counted"
    );
}

fn answer_id(forwarded: &crate::support::RecordedRequest) -> &str {
    forwarded.header("x-request-id").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_token_has_no_span_of_a_check() {
    let (stage, collector) = traced().await;
    let local = "difygate_token_checks_total{tier=\"local\"}";
    let mut requests = 0;

    // The report of its own fill may take an entry out of the map again, once or twice.
    assert_eventually!(
        {
            stage.gateway.get(APPS, Some(&stage.account.token)).await;
            requests += 1;
            stage.gateway.metric(local).await > 0.0
        },
        "the token becomes hot"
    );

    let spans = collector.wait_for_spans(3 * requests - 1).await;
    let count = |kind| spans.iter().filter(|it| it.span.kind == kind).count();
    assert_eq!(spans.len(), 3 * requests - 1, "{spans:#?}");
    assert_eq!(count(1), requests - 1);
    assert_eq!((count(2), count(3)), (requests, requests));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_answers_has_a_span_and_a_reason() {
    let (stage, collector) = traced().await;
    let id = "018f2f2e-0000-7000-8000-000000000001";

    let cases = [
        (request("GET", APPS), "GET /openapi/v1/apps/*"),
        (
            request("DELETE", &format!("/openapi/v1/account/sessions/{id}")),
            "DELETE /openapi/v1/account/sessions/{id}",
        ),
        (request("GET", "/inner/api/x"), "GET /inner/api/*"),
        // A method that somebody made up is no name of a span.
        (
            request("SPY", "/openapi/v1/account"),
            "_OTHER /openapi/v1/account",
        ),
        // What has no canonical form has no route.
        (request("GET", "/a/../b"), "GET"),
    ];
    for (index, (request, name)) in cases.iter().enumerate() {
        let answer = request.send(stage.gateway.addr()).await;
        let spans = collector.wait_for_spans(index + 1).await;
        let span = spans.last().unwrap();
        assert_eq!(span.span.name, *name, "{span:#?}");
        let status = answer.status.to_string();
        assert_eq!(span.attribute("http.response.status_code"), status);
        // It is written after the span has ended.
        let id = span.attribute("difygate.request_id");
        let is_its =
            |line: &serde_json::Value| line["target"] == "access" && line["request_id"] == id;
        let line = stage.gateway.wait_for_log(is_its).await;
        assert_eq!(span.attribute("error.type"), line["reason"], "{span:#?}");
        assert_ne!(line["reason"], serde_json::Value::Null);
        // Refusing is not failing.
        assert!(!span.failed(), "{span:#?}");
    }
    assert_eq!(stage.upstream.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_upstream_is_one_of_both_spans() {
    let (stage, collector) = traced().await;
    stage
        .upstream
        .on("/v1/broken", Behaviour::CloseBeforeHeader)
        .on("/v1/sorry", Behaviour::Json(500, serde_json::json!({})));

    for (path, status, kind) in [
        ("/v1/broken", 502, "bad_gateway"),
        ("/v1/sorry", 500, "500"),
    ] {
        let before = collector.spans().len();
        assert_eq!(stage.gateway.get(path, None).await.status, status);

        let spans = collector.wait_for_spans(before + 2).await;
        let (server, call) = (of_kind(&spans[before..], 2), of_kind(&spans[before..], 3));
        for span in [server, call] {
            assert!(span.failed(), "{span:#?}");
            assert_eq!(span.attribute("error.type"), kind, "{span:#?}");
        }
        let from_upstream = if status == 500 { "500" } else { "" };
        assert_eq!(call.attribute("http.response.status_code"), from_upstream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_nobodys_failure() {
    let (stage, collector) = traced().await;
    stage.upstream.on("/v1/long", Behaviour::HangMidBody);
    let mut client = stage.gateway.client().await;
    client.send(&request("GET", "/v1/long").to_bytes()).await;
    assert_eq!(client.read_head().await.status, 200);
    client.reset();

    let spans = collector.wait_for_spans(2).await;
    let (server, call) = (of_kind(&spans, 2), of_kind(&spans, 3));
    assert_eq!(server.attribute("difygate.outcome"), "aborted");
    assert_ne!(server.attribute("error.type"), "");
    assert_eq!(call.attribute("error.type"), "");
    assert!(!server.failed() && !call.failed(), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_a_failure_of_the_upstream() {
    let (stage, collector) = traced().await;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin".to_vec();
    stage.upstream.on("/v1/cut", Behaviour::Raw(cut));
    let mut client = stage.gateway.client().await;
    client.send(&request("GET", "/v1/cut").to_bytes()).await;
    assert_eq!(client.read_head().await.status, 200);

    let spans = collector.wait_for_spans(2).await;
    for span in [of_kind(&spans, 2), of_kind(&spans, 3)] {
        assert!(span.failed(), "{span:#?}");
        assert_ne!(span.attribute("error.type"), "", "{span:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_request_is_in_its_spans() {
    let collector = Collector::start().await;
    let mut stage = Stage::with(|gateway| {
        collector
            .traces(gateway)
            .set("tracing.api_key", "\"hidden-api-key\"")
            .set("tracing.headers", "{ x-tenant = \"hidden-tenant\" }")
            .set("log.level", "\"trace\"")
            .set("log.access", "\"all\"")
    })
    .await;
    let tokens = [stage.account.clone(), stage.external.clone()];
    for token in &tokens {
        for path in [APPS, "/openapi/v1/account", "/v1/info", "/a/../hidden-path"] {
            request("GET", &format!("{path}?code=hidden-query"))
                .bearer(&token.token)
                .header("Cookie", "access_token=hidden-cookie")
                .header("User-Agent", "hidden-agent")
                .header("Tracestate", "hidden=state")
                .send(stage.gateway.addr())
                .await;
        }
    }
    stage.gateway.terminate();
    let limit = crate::support::patience(30.0);
    stage.gateway.wait_exit(limit).await;

    let requests = collector.requests();
    assert!(collector.spans().len() >= 8, "{:#?}", collector.spans());
    let mut secrets = ["query", "cookie", "agent", "path", "state", "tenant"]
        .map(|it| format!("hidden-{it}"))
        .to_vec();
    secrets.push("hidden=state".to_owned());
    secrets.push("@example.com".to_owned());
    for token in tokens {
        secrets.push(token.token[5..].to_owned());
        secrets.push(token.hash.clone());
    }
    for secret in secrets {
        let inside = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|it| it == secret.as_bytes())
        };
        let found = requests.iter().any(|request| inside(&request.body));
        assert!(!found, "{secret} is in a span");
    }
    // The collector's own go in its headers, and nowhere else.
    assert!(requests.iter().all(|request| {
        request.header("authorization") == Some("Bearer hidden-api-key")
            && request.header("x-tenant") == Some("hidden-tenant")
    }));
    let printed = stage.gateway.log_text();
    for secret in ["hidden-api-key", "hidden-tenant"] {
        assert!(!printed.contains(secret), "{secret} is in the log");
    }
}
