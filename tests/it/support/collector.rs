//! An OpenTelemetry collector that keeps what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;

use super::gateway::GatewayBuilder;
use super::patience::patience;
use super::upstream::{Behaviour, RecordedRequest, Upstream};

/// A collector; it takes everything unless it is told otherwise.
#[derive(Debug)]
pub(crate) struct Collector {
    http: Upstream,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) span: Span,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Those of whoever sent it.
    pub(crate) resource: BTreeMap<String, String>,
}

impl Recorded {
    /// An attribute, a number as text; empty when there is none.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// Empty for the first of a trace.
    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// Whether its status is an error.
    pub(crate) fn failed(&self) -> bool {
        self.span
            .status
            .as_ref()
            .is_some_and(|status| status.code == 2)
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let collector = Self {
            http: Upstream::start().await,
        };
        collector.answers([(200, Vec::new())]);
        collector
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// Traces every request of a gateway to here, with next to no delay.
    pub(crate) fn traces(&self, gateway: GatewayBuilder) -> GatewayBuilder {
        gateway
            .set("tracing.enabled", "true")
            .set("tracing.endpoint", &format!("\"http://{}\"", self.addr()))
            .set("tracing.sample_ratio", "1")
            .set("tracing.interval", "\"10ms\"")
    }

    /// What it answers, one after the other, the last for ever.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = (u16, Vec<u8>)>) {
        let answers = answers.into_iter().map(|(status, body)| {
            let headers = vec![
                ("Content-Type", "application/x-protobuf"),
                ("Retry-After", "0"),
            ];
            Behaviour::Answer(status, headers, body)
        });
        self.http.on_each("/v1/traces", answers);
    }

    /// From now on it takes requests and says nothing.
    pub(crate) fn hang(&self) {
        self.http.on("/v1/traces", Behaviour::HangBeforeHeader);
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.http.requests()
    }

    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        self.http.wait_for_requests(count).await
    }

    /// Every span so far, those of a batch that came again again.
    pub(crate) fn spans(&self) -> Vec<Recorded> {
        let requests = self.requests();
        let batches = requests.iter().map(|request| {
            ExportTraceServiceRequest::decode(&*request.body).expect("a batch of spans")
        });
        let resources = batches.flat_map(|batch| batch.resource_spans);
        let spans = resources.flat_map(|it| {
            let resource = texts(&it.resource.expect("a resource").attributes);
            let spans = it.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| Recorded {
                attributes: texts(&span.attributes),
                resource: resource.clone(),
                span,
            })
        });
        spans.collect()
    }

    /// Waits until there are `count` spans, and returns them all, by the time at which they began.
    pub(crate) async fn wait_for_spans(&self, count: usize) -> Vec<Recorded> {
        let begun = Instant::now();
        loop {
            let mut spans = self.spans();
            if spans.len() >= count {
                spans.sort_by_key(|it| (it.span.start_time_unix_nano, it.span.kind != 2));
                return spans;
            }
            assert!(
                begun.elapsed() < patience(10.0),
                "not {count} spans: {spans:#?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair).expect("text or a number")))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
