//! An answer of the gateway's own, before any HTTP library has seen it.

use http::StatusCode;
use serde::Serialize;

/// A whole answer: small, and in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// Dify's error body.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    status: u16,
}

impl Reply {
    /// Builds an answer in Dify's error shape.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let body = ErrorBody {
            code,
            message,
            status: status.as_u16(),
        };
        Self {
            status,
            headers: Vec::new(),
            body: crate::dify_json::to_vec(&body),
        }
    }

    /// Builds an answer without a body.
    pub const fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Adds what every answer of a local endpoint carries (`contract/device-flow.md`): it is not
    /// kept by caches and not shown in frames.
    #[must_use]
    pub fn as_local(self) -> Self {
        self.with("X-Frame-Options", "DENY")
            .with("Content-Security-Policy", "frame-ancestors 'none'")
    }

    /// Returns the status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers, but for those that follow from the body.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// Returns the body: JSON, or nothing.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body, consuming the answer.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}
