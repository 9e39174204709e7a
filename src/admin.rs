//! The admin listener, away from the public port: `/livez`, `/readyz` and `/metrics` for programs,
//! and the status page at `/` for people, with `/status.json` behind it.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    clock::{Clock, Timestamp},
    health::Health,
    metrics::Metrics,
};

mod history;
pub(crate) mod host;
mod page;
mod status;
mod texts;

use history::History;
use page::{Page, Shown};
pub use status::Listening;
use status::Status;

/// Longest time that a client may take for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// For every answer: what it says is of this moment, and only what it says it is.
const ALWAYS: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// For the page and its document: no other origin gets hold of them. There is no CORS header, and
/// a browser that embeds them all the same gets nothing.
const APART: [(HeaderName, &str); 3] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

const TEXT: &str = "text/plain; charset=utf-8";

/// What the listener tells about.
#[derive(Debug)]
pub struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    about: About,
    started: Timestamp,
    history: History,
    page: Page,
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Every address that was bound.
    pub listening: Vec<Listening>,
    /// `admin.names`.
    pub names: Vec<String>,
}

/// `/readyz`'s body.
#[derive(Serialize)]
struct Readyz {
    status: &'static str,
    dependencies: serde_json::Map<String, serde_json::Value>,
}

/// `/status.json`'s body.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    status: Status,
    page: Shown,
}

impl Admin {
    /// Begins to tell; what is counted from here on makes the first rates.
    pub fn new(
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        about: About,
    ) -> Self {
        Self {
            history: History::begin(Arc::clone(&metrics), Arc::clone(&clock)),
            started: clock.now(),
            page: Page::from_binary(),
            health,
            metrics,
            clock,
            about,
        }
    }

    /// Serves for ever. The listener outlives the drain, so that `/readyz` can tell of it.
    pub async fn serve(self, listener: Arc<TcpListener>) {
        let admin = Arc::new(self);
        tokio::select! {
            () = admin.history.keep_reading() => {}
            () = Arc::clone(&admin).accept(listener) => {}
        }
    }

    async fn accept(self: Arc<Self>, listener: Arc<TcpListener>) {
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "no admin connection could be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(socket), answer)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "an admin connection broke off");
                }
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
            return with(refused, [(header::ALLOW, "GET, HEAD")]);
        }
        match request.uri().path() {
            "/livez" => reply(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" => self.readyz(),
            "/metrics" => reply(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics.render(&self.health),
            ),
            "/" | "/status.json" if !host::is_ours(request.headers(), &self.about.names) => reply(
                StatusCode::MISDIRECTED_REQUEST,
                TEXT,
                "not under this name; use an address, or add it to admin.names\n",
            ),
            "/" => self.page(),
            "/status.json" => self.status(),
            _ => reply(
                StatusCode::NOT_FOUND,
                TEXT,
                "not found; there are /, /status.json, /livez, /readyz and /metrics\n",
            ),
        }
    }

    fn page(&self) -> Response<Full<Bytes>> {
        let shown = Shown::of(&Status::of(self));
        let html = "text/html; charset=utf-8";
        let mut page = reply(StatusCode::OK, html, self.page.render(&shown));
        if let Ok(policy) = HeaderValue::from_str(self.page.policy()) {
            page.headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        with(page, APART)
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let status = Status::of(self);
        let page = Shown::of(&status);
        with(json(StatusCode::OK, &Told { status, page }), APART)
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        let readiness = self.health.readiness();
        let dependencies = self.health.dependencies().map(|dependency| {
            let (state, since) = dependency.state();
            let value = serde_json::json!({
                "state": state.as_str(),
                "since": since.to_iso8601(),
            });
            (dependency.name().as_str().to_owned(), value)
        });
        let body = Readyz {
            status: readiness.as_str(),
            dependencies: dependencies.collect(),
        };
        let status = if readiness.accepts_traffic() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json(status, &body)
    }
}

/// Binds the admin address; port 0 takes any free one.
///
/// # Errors
///
/// The operating system's.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    reply(status, "application/json", body)
}

fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let response = with(response, [(header::CONTENT_TYPE, content_type)]);
    with(response, ALWAYS)
}

fn with<const N: usize>(
    mut response: Response<Full<Bytes>>,
    headers: [(HeaderName, &'static str); N],
) -> Response<Full<Bytes>> {
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
