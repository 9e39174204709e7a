//! Wires what traces requests.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::StartError;
use crate::{
    config::{Problem, TracingConfig},
    entropy::Entropy,
    metrics::Metrics,
    trace::{Collector, Exporter, Resource, Sampling, Tracer},
};

/// Builds both ends of the queue of spans; `None` where nothing is traced.
pub(super) fn wired(
    config: &TracingConfig,
    entropy: &dyn Entropy,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Arc<Tracer>, Exporter)>, StartError> {
    let Some(collector) = &config.collector else {
        return Ok(None);
    };
    let collector = Collector::new(collector).map_err(|error| {
        StartError::Invalid(vec![Problem {
            key: "tracing.endpoint".to_owned(),
            origin: None,
            got: Some(error.to_string()),
            need: "authorities that can vouch for the collector".to_owned(),
            remedy: Some("install ca-certificates (SSL_CERT_FILE names others)".to_owned()),
        }])
    })?;
    let (sender, queue) = mpsc::channel(config.queue_size);
    let metrics = Arc::clone(metrics);
    let sampling = Sampling {
        ratio: config.sample_ratio,
        trust_proxies: config.trust_proxies,
    };
    let tracer = Tracer::new(sampling, sender, entropy, Arc::clone(&metrics));
    let mut instance = [0; 16];
    entropy.fill(&mut instance);
    let exporter = Exporter {
        queue,
        collector,
        resource: Resource {
            service: config.service_name.clone(),
            instance: Uuid::from_bytes(instance),
        },
        interval: config.interval,
        metrics,
    };
    Ok(Some((Arc::new(tracer), exporter)))
}
