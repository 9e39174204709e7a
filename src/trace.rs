//! Traces: which requests are recorded, what they are called, and the way of their spans to an
//! OpenTelemetry collector (OTLP 1 over HTTP, binary protobuf).
//!
//! Nothing here waits for a request and no request waits for anything here: spans go into a bounded
//! queue and what does not fit is dropped and counted. A span holds what the access line may hold,
//! and never a query, a token, a cookie or a person's address.

mod collector;
mod context;
mod exporter;
mod ids;
mod otlp;
mod span;
mod tracer;

pub use collector::{Collector, SendError};
pub use context::{Parent, SpanId, TraceId};
pub use exporter::{Exporter, Exporting};
pub use otlp::Resource;
pub use span::{Kind, Span, Value};
pub use tracer::{RequestTrace, Sampling, Tracer};
