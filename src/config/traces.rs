//! `[tracing]`: which requests are traced, and where their spans go.

mod headers;

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use super::parse::{boolean, choice, duration, filled, http_url, integer, share};
use super::reader::Reader;

/// Where the OTLP specification has traces, below the base of a collector.
const TRACES_PATH: &str = "/v1/traces";

/// Most spans that make sense in the queue: about 2 GiB of the largest there are.
const MAX_QUEUE: usize = 1_000_000;

/// The protocols of OTLP, by the names of the standard and of Dify.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    HttpProtobuf,
    /// What collectors take as well, and the gateway does not speak.
    Other,
}

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("http/protobuf", Protocol::HttpProtobuf),
    ("http", Protocol::HttpProtobuf),
    ("grpc", Protocol::Other),
    ("http/json", Protocol::Other),
];

/// Which requests are traced, and where their spans go.
#[derive(Debug, Clone)]
pub struct TracingConfig {
    /// Who takes the spans; `None`: nothing is traced.
    pub collector: Option<CollectorConfig>,
    /// The share of traces begun here that is recorded, 0 to 1.
    pub sample_ratio: f64,
    /// Whether what `server.trusted_proxies` say of recording comes before the ratio.
    pub trust_proxies: bool,
    /// What the gateway is called in traces; not empty.
    pub service_name: String,
    /// Most spans that wait to be sent, 16 to 1,000,000; further ones are dropped.
    pub queue_size: usize,
    /// Longest wait of a span for others to be sent with, 10 ms to 1 minute.
    pub interval: Duration,
}

/// An OpenTelemetry collector, or a service that speaks as one.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// Where traces are sent by POST.
    pub url: Url,
    /// What goes with every request; the values are marked as sensitive, so that nothing prints
    /// them.
    pub headers: HeaderMap,
    /// Longest wait for an answer, connecting included, 1 ms to 1 minute.
    pub timeout: Duration,
}

impl TracingConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let (ms, minute) = (Duration::from_millis(1), Duration::from_secs(60));
        let enabled = reader.value("tracing.enabled", boolean);
        let base = reader.value("tracing.endpoint", http_url);
        let whole = reader.optional("tracing.traces_endpoint", http_url);
        let protocol = reader.value("tracing.protocol", choice(PROTOCOLS));
        let headers = headers::read(reader);
        let timeout = reader.value("tracing.timeout", duration(ms..=minute));
        // Dify's own setting may say so for Dify, which is no reason not to start.
        let spoken = protocol == Protocol::HttpProtobuf;
        if enabled && !spoken {
            reader.warn(
                "tracing.protocol",
                "only \"http/protobuf\" is spoken, so nothing is traced: say so here, and name the \
                 collector's address for it",
            );
        }
        let collector = CollectorConfig {
            url: whole.unwrap_or_else(|| below(base, TRACES_PATH)),
            headers,
            timeout,
        };
        Self {
            collector: (enabled && spoken).then_some(collector),
            sample_ratio: reader.value("tracing.sample_ratio", share),
            trust_proxies: reader.value("tracing.trust_proxies", boolean),
            service_name: reader.value("tracing.service_name", filled),
            queue_size: reader.value("tracing.queue_size", integer(16..=MAX_QUEUE)),
            interval: reader.value("tracing.interval", duration(ms * 10..=minute)),
        }
    }
}

/// Appends `path` to a URL, whether it ends with a slash or not.
fn below(mut url: Url, path: &str) -> Url {
    let whole = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&whole);
    url
}

#[cfg(test)]
mod tests;
