//! Whose trace a request is part of, and who decides whether it is recorded.

use super::{APPS, of_kind};
use crate::support::{
    Collector, GatewayBuilder, RecordedRequest, RequestBuilder, Stage, patience, request,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn with_parent(flags: &str) -> RequestBuilder {
    request("GET", "/v1/info").header("Traceparent", &format!("00-{TRACE}-{CALLER}-{flags}"))
}

/// What becomes of one request: what the upstream was told, and how many spans there were.
async fn told(
    request: &RequestBuilder,
    configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
) -> (RecordedRequest, usize) {
    let collector = Collector::start().await;
    let mut stage = Stage::with(|gateway| configure(collector.traces(gateway))).await;
    assert_eq!(request.send(stage.gateway.addr()).await.status, 200);
    // What is in the queue goes out before the process ends.
    stage.gateway.terminate();
    stage.gateway.wait_exit(patience(30.0)).await;
    (
        stage.upstream.requests()[0].clone(),
        collector.spans().len(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_continued() {
    let collector = Collector::start().await;
    let stage = Stage::with(|gateway| collector.traces(gateway)).await;
    let request = with_parent("00")
        .header("Tracestate", "vendor=opaque")
        .header("Tracestate", "other=1");

    request.send(stage.gateway.addr()).await;

    let spans = collector.wait_for_spans(2).await;
    let (server, call) = (of_kind(&spans, 2), of_kind(&spans, 3));
    assert_eq!(
        (server.trace(), server.parent()),
        (TRACE.into(), CALLER.into())
    );
    // Sampled, the parent's place is known, and it is elsewhere.
    assert_eq!(server.span.flags, 0x301);
    assert_eq!(call.span.flags, 0x101);
    let forwarded = &stage.upstream.requests()[0];
    let parent = format!("00-{TRACE}-{}-01", call.id());
    assert_eq!(forwarded.header_values("traceparent"), [parent]);
    let state = forwarded.header_values("tracestate");
    assert_eq!(state, ["vendor=opaque", "other=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_have_a_request_recorded() {
    let none = |gateway: GatewayBuilder| gateway.set("tracing.sample_ratio", "0.0");
    let trusted = r#"["127.0.0.1"]"#;
    let proxied = |gateway| none(gateway).set("server.trusted_proxies", trusted);
    let believed = |gateway: GatewayBuilder| {
        gateway
            .set("server.trusted_proxies", trusted)
            .set("tracing.trust_proxies", "true")
    };

    for (name, (forwarded, spans), recorded) in [
        ("a stranger", told(&with_parent("01"), none).await, false),
        ("a proxy", told(&with_parent("01"), proxied).await, false),
        (
            "a proxy whose word counts",
            told(&with_parent("01"), |it| none(believed(it))).await,
            true,
        ),
        (
            "a proxy that has not recorded it",
            told(&with_parent("00"), believed).await,
            false,
        ),
        (
            "a stranger, the key notwithstanding",
            told(&with_parent("01"), |it| {
                none(it).set("tracing.trust_proxies", "true")
            })
            .await,
            false,
        ),
    ] {
        let parent = forwarded.header("traceparent").unwrap();
        assert!(parent.starts_with(&format!("00-{TRACE}-")), "{name}");
        assert!(!parent.contains(CALLER), "{name}: {parent}");
        let flags = if recorded { "-01" } else { "-00" };
        assert!(parent.ends_with(flags), "{name}: {parent}");
        assert_eq!(spans, if recorded { 2 } else { 0 }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_traceparent_begins_a_new_trace() {
    let collector = Collector::start().await;
    let stage = Stage::with(|gateway| collector.traces(gateway)).await;
    let good = format!("00-{TRACE}-{CALLER}-01");
    let bad = [
        vec![good.to_uppercase()],
        vec![format!("{good}-extra")],
        vec![format!("00-{}-{CALLER}-01", "0".repeat(32))],
        vec!["garbage".to_owned()],
        vec![good.clone(), good.clone()],
    ];

    for (index, values) in bad.iter().enumerate() {
        let mut request = request("GET", "/v1/info").header("Tracestate", "vendor=opaque");
        for value in values {
            request = request.header("Traceparent", value);
        }
        request.send(stage.gateway.addr()).await;

        let forwarded = stage.upstream.wait_for_requests(index + 1).await;
        let forwarded = &forwarded[index];
        let [parent] = forwarded.header_values("traceparent")[..] else {
            panic!("one parent for {values:?}: {forwarded:?}");
        };
        assert_eq!(parent.len(), good.len(), "{values:?}");
        assert!(!parent.contains(TRACE), "{values:?}: {parent}");
        assert_eq!(forwarded.header("tracestate"), None, "{values:?}");
    }
    let spans = collector.wait_for_spans(2 * bad.len()).await;
    assert!(spans.iter().all(|it| it.trace() != TRACE));
    assert_eq!(spans.iter().filter(|it| it.parent().is_empty()).count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_take_the_traceparent_away() {
    for header in [
        with_parent("01").header("Connection", "traceparent"),
        with_parent("01")
            .header("Connection", "Upgrade, traceparent")
            .header("Upgrade", "websocket"),
    ] {
        let (forwarded, _) = told(&header, |gateway| gateway).await;

        let parent = forwarded.header("traceparent").unwrap();
        assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
        assert!(!parent.contains(CALLER), "{parent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_traced_the_context_passes_as_it_came() {
    let stage = Stage::with(|gateway| gateway.set("log.access", "\"all\"")).await;
    let request = with_parent("03")
        .header("Traceparent", "garbage")
        .header("Tracestate", "vendor=opaque");

    request.send(stage.gateway.addr()).await;
    stage.gateway.get(APPS, Some(&stage.account.token)).await;

    let forwarded = stage.upstream.requests();
    let came = format!("00-{TRACE}-{CALLER}-03");
    let values = forwarded[0].header_values("traceparent");
    assert_eq!(values, [came.as_str(), "garbage"]);
    let state = forwarded[0].header("tracestate");
    assert_eq!(state, Some("vendor=opaque"));
    assert_eq!(forwarded[1].header("traceparent"), None);
    assert!(!stage.gateway.log_text().contains("trace_id"));
}
