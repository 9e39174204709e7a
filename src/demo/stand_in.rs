//! A stand-in for Dify: a console with one person; else it echoes requests, streams events, echoes
//! WebSocket messages.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::console::Console;

/// How many events a stream has.
const EVENTS: usize = 5;

/// Time between two of them: long enough to be seen arriving one by one.
const EVENT_INTERVAL: Duration = Duration::from_millis(300);

/// Most of a request's body that is echoed, in bytes.
const ECHO_LIMIT: usize = 64 * 1024;

/// What every answer of the stand-in has for a body.
pub(super) type Body = BoxBody<Bytes, Infallible>;

/// Starts the stand-in on a free port; it runs until the process ends.
pub(super) async fn start(console: Console) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let console = Arc::new(console);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let console = Arc::clone(&console);
            let serve = service_fn(move |request| answer(request, Arc::clone(&console)));
            tokio::spawn(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), serve)
                    .with_upgrades(),
            );
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
    console: Arc<Console>,
) -> Result<Response<Body>, Infallible> {
    if let Some(answer) = console.answer(&request) {
        return Ok(answer);
    }
    if request.headers().contains_key(header::UPGRADE) {
        return Ok(web_socket(request));
    }
    if request.uri().path().ends_with("/run") {
        return Ok(events());
    }
    Ok(echo(request).await)
}

/// Tells the request back, headers and all.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, ECHO_LIMIT).collect().await;
    let body = body.map_or_else(|error| error.to_string().into(), |body| body.to_bytes());
    let headers: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", shown(name.as_str(), value)))
        .collect();
    let echo = serde_json::json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let text = serde_json::to_vec_pretty(&echo).unwrap_or_default();
    let mut response = Response::new(whole([text.as_slice(), b"\n"].concat()));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Even a demo shows no token.
fn shown(name: &str, value: &header::HeaderValue) -> String {
    match name {
        "authorization" => "(the token, as it was sent)".to_owned(),
        _ => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    }
}

/// Streams events as a running app does.
fn events() -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for number in 1..=EVENTS {
            let event = format!("event: message\ndata: {{\"number\": {number}}}\n\n");
            if sender.send(event).await.is_err() {
                return;
            }
            tokio::time::sleep(EVENT_INTERVAL).await;
        }
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(event))), receiver))
    });
    let mut response = Response::new(BoxBody::new(StreamBody::new(frames)));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Accepts a WebSocket (RFC 6455 section 4.2.2), says hello, then echoes.
fn web_socket(request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        let mut response = Response::new(whole("a Sec-WebSocket-Key is required\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            echo_messages(upgraded).await;
        }
    });
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("Upgrade"),
    );
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    if let Ok(accept) = accept.parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn echo_messages(upgraded: Upgraded) {
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    if socket
        .send(Message::text("hello from the demo"))
        .await
        .is_err()
    {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let echoed = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            // Pings are answered, and closes completed, by the library.
            _ => Ok(()),
        };
        if echoed.is_err() {
            return;
        }
    }
}

pub(super) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}
