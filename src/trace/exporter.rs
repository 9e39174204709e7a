//! Brings spans to the collector, in the background.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Collector, Resource, SendError, Span, otlp};
use crate::metrics::{Metrics, SpanDrop};

/// Most spans in one request, as in OpenTelemetry's own processors: about 200 KiB.
const MAX_BATCH: usize = 512;

/// How often a batch is sent before it is given up. Meanwhile others wait in the queue.
const ATTEMPTS: u32 = 3;

/// The wait after the first attempt; the next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait that the collector can ask for: it is one's own spans that are lost meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Takes spans from the queue and sends them.
#[derive(Debug)]
pub struct Exporter {
    /// Where they wait.
    pub queue: mpsc::Receiver<Span>,
    /// Where they go.
    pub collector: Collector,
    /// Whose they are.
    pub resource: Resource,
    /// Longest wait of a span for others to be sent with.
    pub interval: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// An exporter at work.
#[derive(Debug)]
pub struct Exporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Sets it to work in a task of its own.
    pub fn start(self) -> Exporting {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.run(stop.clone()));
        Exporting { stop, task }
    }

    /// Sends until it is stopped, and then what is in the queue.
    async fn run(mut self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let batch = self.gather(&stop).await;
            if batch.is_empty() {
                return;
            }
            let count = batch.len();
            match self.deliver(batch, &stop, &mut failing).await {
                Ok(refused) => {
                    let refused = refused.min(count);
                    self.metrics.traces.export(count - refused);
                    self.metrics.traces.drop(SpanDrop::Refused, refused);
                }
                Err(_) => self.metrics.traces.drop(SpanDrop::Unsent, count),
            }
        }
    }

    /// Takes what is sent at a time; nothing when there will be nothing more.
    async fn gather(&mut self, stop: &CancellationToken) -> Vec<Span> {
        let mut batch = Vec::new();
        let full = async {
            let wait = sleep(Duration::MAX);
            tokio::pin!(wait);
            while batch.len() < MAX_BATCH {
                let room = MAX_BATCH - batch.len();
                let first = batch.is_empty();
                tokio::select! {
                    // What is there goes before the end.
                    biased;
                    taken = self.queue.recv_many(&mut batch, room) => {
                        if taken == 0 {
                            return;
                        }
                        if first {
                            wait.set(sleep(self.interval));
                        }
                    }
                    () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                    () = &mut wait => return,
                }
            }
        };
        full.await;
        batch
    }

    /// Sends one batch, again where that may help, and returns how many spans were not taken. A
    /// collector that stays away is complained of once.
    async fn deliver(
        &self,
        batch: Vec<Span>,
        stop: &CancellationToken,
        failing: &mut bool,
    ) -> Result<usize, SendError> {
        let body = Bytes::from(otlp::encode(batch, &self.resource));
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match self.collector.send(body.clone()).await {
                Ok(refused) => {
                    if std::mem::take(failing) {
                        tracing::info!("the collector takes spans again");
                    }
                    return Ok(refused);
                }
                Err(error) => error,
            };
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "the collector takes no spans");
            }
            if attempt == ATTEMPTS || !error.is_passing() || stop.is_cancelled() {
                return Err(error);
            }
            let asked = match &error {
                SendError::Status { retry_after, .. } => *retry_after,
                _ => None,
            };
            let _ = timeout(asked.unwrap_or(pause).min(LONGEST_PAUSE), stop.cancelled()).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

impl Exporting {
    /// Sends what is in the queue, for at most `limit`; the rest is lost.
    pub async fn finish(mut self, limit: Duration) {
        self.stop.cancel();
        if timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("stopped before every span was sent");
        }
    }
}
