//! The admin listener: `/livez`, `/readyz` and `/metrics`, away from the public port.

use std::{convert::Infallible, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{health::Health, metrics::Metrics};

/// Longest time that a client may take for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the listener tells about.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The state of the dependencies.
    pub health: Arc<Health>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// `/readyz`'s body.
#[derive(Serialize)]
struct Readyz {
    status: &'static str,
    dependencies: serde_json::Map<String, serde_json::Value>,
}

impl Admin {
    /// Serves for ever. The listener outlives the drain, so that `/readyz` can tell of it.
    pub async fn serve(self, listener: Arc<TcpListener>) {
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "no admin connection could be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = self.clone();
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
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let allow = header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.readyz(),
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.render(&self.health));
                let format =
                    header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, format);
                response
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; there are /livez, /readyz and /metrics\n",
            ),
        }
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
        let body = serde_json::to_vec(&Readyz {
            status: readiness.as_str(),
            dependencies: dependencies.into_iter().collect(),
        });
        let status = if readiness.accepts_traffic() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let mut response = text(status, body.unwrap_or_default());
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
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

/// Takes over what another process has bound.
///
/// # Errors
///
/// When it is not a TCP socket.
pub fn inherit(socket: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    // Tells the family apart, too.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
