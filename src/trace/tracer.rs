//! Which requests are recorded, and what the next in line is told.

use std::{borrow::Cow, sync::Arc};

use http::{
    HeaderMap, HeaderValue,
    header::{HeaderName, InvalidHeaderValue},
};
use tokio::sync::mpsc;

use super::{Kind, Parent, Span, SpanId, TraceId, ids::Ids};
use crate::{
    entropy::Entropy,
    metrics::{Metrics, SpanDrop},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Decides about requests and takes the spans of those that are recorded.
#[derive(Debug)]
pub struct Tracer {
    ids: Ids,
    sampling: Sampling,
    queue: mpsc::Sender<Span>,
    metrics: Arc<Metrics>,
}

/// By whose word requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share that is recorded of the requests that nobody else decides about, 0 to 1.
    pub ratio: f64,
    /// Whether trusted proxies decide about theirs.
    pub trust_proxies: bool,
}

/// A request's place in its trace.
#[derive(Clone, Copy, Debug)]
pub struct RequestTrace {
    /// The trace.
    pub trace: TraceId,
    /// Whether its spans are recorded, here and by whoever follows us.
    pub sampled: bool,
    /// The caller's span; `None`: the trace begins here.
    parent: Option<SpanId>,
    request: SpanId,
    upstream: SpanId,
    check: SpanId,
}

impl Tracer {
    /// Builds a tracer that puts spans into `queue`.
    pub fn new(
        sampling: Sampling,
        queue: mpsc::Sender<Span>,
        entropy: &dyn Entropy,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            ids: Ids::new(entropy),
            sampling,
            queue,
            metrics,
        }
    }

    /// Finds a request's place. Allocates nothing.
    ///
    /// Anybody's `traceparent` says which trace the request belongs to. Whether it is recorded, only
    /// a trusted proxy may say, and only where proxies are known not to pass on what clients say:
    /// otherwise the ratio decides, by a number of our own, or strangers could have every request
    /// of theirs recorded. What is no `traceparent`, and what comes twice, begins a new trace (W3C
    /// Trace Context, section 4.3).
    pub fn begin(&self, headers: &HeaderMap, peer_trusted: bool) -> RequestTrace {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let parent = match (values.next(), values.next()) {
            (Some(value), None) => Parent::parse(value.as_bytes()),
            _ => None,
        };
        let drawn = self.ids.draw();
        RequestTrace {
            trace: parent.map_or(drawn.trace, |parent| parent.trace),
            sampled: match parent {
                Some(parent) if peer_trusted && self.sampling.trust_proxies => parent.sampled,
                _ => drawn.chance < self.sampling.ratio,
            },
            parent: parent.map(|parent| parent.span),
            request: drawn.request,
            upstream: drawn.upstream,
            check: drawn.check,
        }
    }

    /// Hands a request's spans over, all or none. Never waits.
    pub fn record(&self, spans: Vec<Span>) {
        match self.queue.try_reserve_many(spans.len()) {
            Ok(places) => {
                for (place, span) in places.zip(spans) {
                    place.send(span);
                }
            }
            Err(_) => self.metrics.traces.drop(SpanDrop::QueueFull, spans.len()),
        }
    }
}

impl RequestTrace {
    /// Tells the upstream which span its own is part of. What the client's vendors keep in
    /// `tracestate` goes along, unless the trace began here.
    ///
    /// # Errors
    ///
    /// None that can happen: digits and dashes are what a header may hold.
    pub fn pass_on(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        let parent = Parent {
            trace: self.trace,
            span: self.upstream,
            sampled: self.sampled,
        };
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
        headers.insert(TRACEPARENT, HeaderValue::from_bytes(&parent.to_header())?);
        Ok(())
    }

    /// Builds the span of the request itself; `time` is when it began and ended, in nanoseconds
    /// since 1970.
    pub fn request(&self, name: impl Into<Cow<'static, str>>, time: (u64, u64)) -> Span {
        Span {
            trace: self.trace,
            id: self.request,
            parent: self.parent,
            parent_is_remote: true,
            kind: Kind::Server,
            name: name.into(),
            time,
            attributes: Vec::new(),
            failed: false,
        }
    }

    /// Builds the span of the call to the upstream, below the request's.
    pub fn upstream(&self, name: impl Into<Cow<'static, str>>, time: (u64, u64)) -> Span {
        self.below(self.upstream, Kind::Client, name.into(), time)
    }

    /// Builds the span of the token check, below the request's.
    pub fn check(&self, time: (u64, u64)) -> Span {
        let name = Cow::Borrowed("token check");
        self.below(self.check, Kind::Internal, name, time)
    }

    fn below(&self, id: SpanId, kind: Kind, name: Cow<'static, str>, time: (u64, u64)) -> Span {
        Span {
            id,
            parent: Some(self.request),
            parent_is_remote: false,
            kind,
            ..self.request(name, time)
        }
    }
}
