//! Spans as OTLP has them; the only place that knows its messages.

use std::borrow::Cow;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1,
    trace::v1::{ResourceSpans, ScopeSpans, SpanFlags, Status, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use uuid::Uuid;

use super::{Kind, Span, Value};

/// Who sends spans.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `tracing.service_name`.
    pub service: String,
    /// This process among all of that name.
    pub instance: Uuid,
}

/// Writes a batch as the body of a request (`ExportTraceServiceRequest`).
pub(super) fn encode(spans: Vec<Span>, resource: &Resource) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = vec![
        pair("service.name", text(resource.service.clone())),
        pair("service.version", text(version)),
        pair("service.instance.id", text(resource.instance.to_string())),
    ];
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(v1::Resource {
                attributes,
                ..v1::Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(message).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

/// Reads how many spans the collector did not take from its answer to a request that it did. What
/// cannot be read, and nothing at all, means none.
pub(super) fn refused(answer: &[u8]) -> usize {
    let refused = ExportTraceServiceResponse::decode(answer)
        .ok()
        .and_then(|answer| Some(answer.partial_success?.rejected_spans));
    usize::try_from(refused.unwrap_or_default()).unwrap_or_default()
}

fn message(span: Span) -> opentelemetry_proto::tonic::trace::v1::Span {
    /// What is recorded has been sampled.
    const SAMPLED: u32 = 1;
    let remote = if span.parent_is_remote && span.parent.is_some() {
        SpanFlags::ContextIsRemoteMask as u32
    } else {
        0
    };
    opentelemetry_proto::tonic::trace::v1::Span {
        trace_id: span.trace.as_bytes().to_vec(),
        span_id: span.id.as_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |parent| parent.as_bytes().to_vec()),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.into_owned(),
        kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        }
        .into(),
        start_time_unix_nano: span.time.0,
        end_time_unix_nano: span.time.1,
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, value)| pair(name, value_of(value)))
            .collect(),
        status: Some(Status {
            code: if span.failed {
                StatusCode::Error
            } else {
                StatusCode::Unset
            }
            .into(),
            message: String::new(),
        }),
        ..opentelemetry_proto::tonic::trace::v1::Span::default()
    }
}

fn value_of(value: Value) -> any_value::Value {
    match value {
        Value::Text(value) => text(value),
        Value::Number(number) => any_value::Value::IntValue(number),
    }
}

fn text(text: impl Into<Cow<'static, str>>) -> any_value::Value {
    any_value::Value::StringValue(text.into().into_owned())
}

fn pair(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
