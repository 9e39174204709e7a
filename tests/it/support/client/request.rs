//! Requests, written out by hand.

use std::net::SocketAddr;

use super::{RawClient, Response};

/// A request to be sent over a connection of its own, or turned into bytes.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct RequestBuilder {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Starts a request. It has a `Host`, unless one is given.
pub(crate) fn request(method: &str, path: &str) -> RequestBuilder {
    RequestBuilder {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// GETs a path, with a bearer token or without.
pub(crate) async fn get(addr: SocketAddr, path: &str, token: Option<&str>) -> Response {
    let builder = request("GET", path);
    match token {
        Some(token) => builder.bearer(token).send(addr).await,
        None => builder.send(addr).await,
    }
}

impl RequestBuilder {
    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets the body, framed by `Content-Length`.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("Content-Length", &body.as_ref().len().to_string())
    }

    /// Sets a JSON body.
    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// Sets a form body, already encoded.
    pub(crate) fn form(self, body: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Sets a body of these chunks.
    pub(crate) fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        self.body.clear();
        for chunk in chunks {
            self.body
                .extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            self.body.extend_from_slice(chunk);
            self.body.extend_from_slice(b"\r\n");
        }
        self.body.extend_from_slice(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// The request's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str("Host: gateway.test\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it over a new connection and reads the whole response.
    pub(crate) async fn send(&self, addr: SocketAddr) -> Response {
        let mut client = RawClient::connect(addr).await;
        // A refusal may come, with a reset, before the body is through.
        let _ = client.try_send(&self.to_bytes()).await;
        client.read_response().await
    }
}
