//! The collector, over HTTP (the OTLP specification, "OTLP/HTTP").

use std::{error::Error as _, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::otlp;
use crate::{
    config::CollectorConfig,
    tls::{ClientTls, Unusable},
};

/// How long an idle connection is kept: longer than the longest `tracing.interval`.
const IDLE: Duration = Duration::from_secs(90);

/// Most bytes of an answer that are read; it says how many spans were refused.
const MAX_ANSWER: usize = 64 * 1024;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("difygate/", env!("CARGO_PKG_VERSION")));

/// Why a batch was not taken. None quotes what was sent or answered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing came in time.
    #[error("no answer within tracing.timeout")]
    TimedOut,
    /// There is no connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// Another answer than success.
    #[error("the answer is {status}")]
    Status {
        /// It.
        status: StatusCode,
        /// How long to wait before the next attempt, if the collector says so.
        retry_after: Option<Duration>,
    },
    /// The address is none.
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
}

impl SendError {
    /// Tells whether the same batch may be taken later; the specification names the statuses.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut | Self::Connection(_) => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Request(_) => false,
        }
    }
}

/// The client of the collector.
pub struct Collector {
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// Prepares a client; nothing is connected yet. For `https` the system's authorities are
    /// believed.
    ///
    /// # Errors
    ///
    /// When the address is `https` and the system has no authorities.
    pub fn new(config: &CollectorConfig) -> Result<Self, Unusable> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientTls::default().config_for(config.url.scheme())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            url: config.url.as_str().to_owned(),
            headers: config.headers.clone(),
            timeout: config.timeout,
            client,
        })
    }

    /// Sends a batch, and returns how many of its spans were not taken.
    ///
    /// # Errors
    ///
    /// [`SendError`]; none was taken, as far as is known.
    pub(super) async fn send(&self, batch: Bytes) -> Result<usize, SendError> {
        let mut request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::from(batch))?;
        request.headers_mut().extend(self.headers.clone());
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or(Err(SendError::TimedOut))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<usize, SendError> {
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| SendError::Connection(cause(&error)))?;
        let status = answer.status();
        if !status.is_success() {
            let retry_after = answer.headers().get(header::RETRY_AFTER);
            let seconds = retry_after.and_then(|after| after.to_str().ok()?.parse().ok());
            return Err(SendError::Status {
                status,
                retry_after: seconds.map(Duration::from_secs),
            });
        }
        // It has taken the batch, whatever becomes of the rest of its answer.
        let answer = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok(answer.map_or(0, |answer| otlp::refused(&answer.to_bytes())))
    }
}

/// Says what lies at the bottom of a failure: the operating system's word, or TLS's.
fn cause(error: &legacy::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

impl fmt::Debug for Collector {
    /// Leaves the headers out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
