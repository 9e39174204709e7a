//! Collectors that are away, hang, or take their time.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::support::{Collector, Gateway, GatewayBuilder, Stage, assert_eventually, patience};

const DROPPED: &str = "difygate_spans_dropped_total";
const EXPORTED: &str = "difygate_spans_exported_total";

/// The spans of one request go together, however long the machine stands still between them.
fn in_one_batch(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway.set("tracing.interval", "\"1s\"")
}

/// How often the log says that spans are lost.
fn complaints(gateway: &Gateway) -> usize {
    let lines = gateway.log_lines();
    lines
        .iter()
        .filter(|line| line["message"] == "the collector takes no spans")
        .count()
}

/// Sends more requests than the queue has room for; all of them are answered.
async fn overflow(stage: &Stage) {
    for _ in 0..30 {
        assert_eq!(stage.gateway.get("/v1/info", None).await.status, 200);
    }
    let full = format!("{DROPPED}{{reason=\"queue_full\"}}");
    assert_eventually!(
        stage.gateway.metric(&full).await > 0.0,
        "what does not fit is counted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_collector_is_away_requests_go_on_and_spans_are_dropped() {
    let collector = Collector::start().await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let stage = Stage::with(|gateway| {
        collector
            .traces(gateway)
            .set("tracing.endpoint", &format!("\"http://{nobody}\""))
            .set("tracing.queue_size", "16")
    })
    .await;

    overflow(&stage).await;

    let unsent = format!("{DROPPED}{{reason=\"unsent\"}}");
    assert_eventually!(
        stage.gateway.metric(&unsent).await > 0.0,
        "a batch is given up in the end"
    );
    assert_eq!(stage.gateway.metric(EXPORTED).await, 0.0);
    assert_eq!(complaints(&stage.gateway), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    let collector = Collector::start().await;
    collector.hang();
    let mut stage = Stage::with(|gateway| {
        collector
            .traces(gateway)
            .set("tracing.queue_size", "16")
            .set("tracing.timeout", "\"1m\"")
            .set("server.shutdown_grace", "\"200ms\"")
    })
    .await;

    overflow(&stage).await;
    stage.gateway.terminate();
    let status = stage.gateway.wait_exit(patience(20.0)).await;

    assert!(status.success(), "{status}");
    let lost = "stopped before every span was sent";
    assert!(stage.gateway.log_text().contains(lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_not_taken_is_sent_again() {
    let collector = Collector::start().await;
    collector.answers([(503, Vec::new()), (429, Vec::new()), (200, Vec::new())]);
    let stage = Stage::with(|gateway| collector.traces(gateway)).await;

    stage.gateway.get("/v1/info", None).await;

    let requests = collector.wait_for_requests(3).await;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].body, requests[2].body);
    assert_eventually!(
        stage.gateway.metric(EXPORTED).await == 2.0,
        "it is counted once"
    );
    assert_eq!(stage.gateway.metric(DROPPED).await, 0.0);
    assert_eq!(complaints(&stage.gateway), 1);
    let again = |line: &serde_json::Value| line["message"] == "the collector takes spans again";
    stage.gateway.wait_for_log(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_nobody_will_ever_take_is_sent_once() {
    let collector = Collector::start().await;
    collector.answers([(400, b"hidden-answer".to_vec()), (200, Vec::new())]);
    let stage = Stage::with(|gateway| in_one_batch(collector.traces(gateway))).await;

    stage.gateway.get("/v1/info", None).await;
    let unsent = format!("{DROPPED}{{reason=\"unsent\"}}");
    assert_eventually!(stage.gateway.metric(&unsent).await == 2.0, "it is given up");
    stage.gateway.get("/v1/info", None).await;

    let requests = collector.wait_for_requests(2).await;
    assert_ne!(requests[0].body, requests[1].body);
    assert!(!stage.gateway.log_text().contains("hidden-answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_the_collector_refuses_are_counted() {
    let collector = Collector::start().await;
    let answer = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "hidden-answer".to_owned(),
        }),
    };
    collector.answers([(200, answer.encode_to_vec())]);
    let stage = Stage::with(|gateway| in_one_batch(collector.traces(gateway))).await;

    stage.gateway.get("/v1/info", None).await;

    let refused = format!("{DROPPED}{{reason=\"refused\"}}");
    assert_eventually!(
        stage.gateway.metric(&refused).await == 1.0,
        "one was refused"
    );
    assert_eventually!(
        stage.gateway.metric(EXPORTED).await == 1.0,
        "the other was not"
    );
    assert!(!stage.gateway.log_text().contains("hidden-answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_before_the_end() {
    let collector = Collector::start().await;
    let mut stage =
        Stage::with(|gateway| collector.traces(gateway).set("tracing.interval", "\"1m\"")).await;
    for _ in 0..5 {
        stage.gateway.get("/v1/info", None).await;
    }
    assert_eq!(collector.spans().len(), 0, "they wait for others");

    stage.gateway.terminate();
    stage.gateway.wait_exit(patience(20.0)).await;

    assert_eq!(collector.spans().len(), 10);
    assert_eq!(collector.requests().len(), 1);
}
