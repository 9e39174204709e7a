//! An answer of the gateway's own, before any HTTP library has seen it.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde::Serialize;

use super::body::Fault;
use crate::rate_limit::Standing;

/// Where a caller stands with a limit (draft-ietf-httpapi-ratelimit-headers).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What the limit is.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A whole answer: small, and in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, Cow<'static, str>)>,
    body: Bytes,
}

/// Dify's error body.
#[derive(Serialize)]
struct ErrorBody<'a> {
    /// RFC 6749's member, on the endpoints that speak OAuth.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

/// One member at fault, as Dify's validation names it.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    loc: Vec<&'a str>,
    msg: &'a str,
}

impl Reply {
    /// Builds an answer in Dify's error shape.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        if is_plain(code) && is_plain(message) {
            return Self {
                status,
                headers: Vec::new(),
                body: plain_error(status, code, message),
            };
        }
        let body = ErrorBody {
            error: None,
            code,
            message,
            status: status.as_u16(),
            details: Vec::new(),
        };
        Self::json(status, &body)
    }

    /// Builds an answer in Dify's error shape that names everything at fault.
    pub(super) fn faults(
        status: StatusCode,
        error: Option<&str>,
        code: &str,
        faults: &[Fault],
    ) -> Self {
        let details = faults.iter().map(|fault| Detail {
            kind: fault.kind,
            loc: Some(fault.loc)
                .into_iter()
                .filter(|loc| !loc.is_empty())
                .collect(),
            msg: &fault.message,
        });
        let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        let body = ErrorBody {
            error,
            code,
            message: &messages.join("; "),
            status: status.as_u16(),
            details: details.collect(),
        };
        Self::json(status, &body)
    }

    /// Builds an answer with a JSON body.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: crate::dify_json::to_vec(body).into(),
        }
    }

    /// Builds an answer that is no JSON.
    pub fn document(content_type: &'static str, body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE, content_type.into())],
            body,
        }
    }

    /// Builds an answer without a body.
    pub const fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Sends a browser on, by GET.
    pub fn redirect(location: impl Into<Cow<'static, str>>) -> Self {
        Self::empty(StatusCode::FOUND).with(header::LOCATION, location)
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds where the caller stands with a limit (draft-ietf-httpapi-ratelimit-headers).
    #[must_use]
    pub fn with_standing(self, standing: &Standing) -> Self {
        let name = standing.limit;
        let (count, window) = (standing.quota.count, standing.quota.window.as_secs());
        let (remaining, reset) = (standing.remaining, whole_seconds(standing.reset));
        self.with(
            RATE_LIMIT_POLICY,
            format!("\"{name}\";q={count};w={window}"),
        )
        .with(RATE_LIMIT, format!("\"{name}\";r={remaining};t={reset}"))
    }

    /// Adds what every answer of a local endpoint carries (`contract/device-flow.md`): it is not
    /// kept by caches and not shown in frames.
    #[must_use]
    pub fn as_local(self) -> Self {
        self.with(header::X_FRAME_OPTIONS, "DENY")
            .or_with(header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'")
    }

    /// Adds a header, unless the answer says otherwise already.
    #[must_use]
    pub fn or_with(self, name: HeaderName, value: &'static str) -> Self {
        if self.headers.iter().any(|(said, _)| *said == name) {
            self
        } else {
            self.with(name, value)
        }
    }

    /// Returns the status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers, but for those that follow from the body.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name, value.as_ref()))
    }

    /// Returns the body; empty for none.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parts the answer into its headers, but for those that follow from the body, and its body.
    pub fn into_parts(self) -> (Vec<(HeaderName, Cow<'static, str>)>, Bytes) {
        (self.headers, self.body)
    }
}

/// Tells whether JSON has text as it is.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    text.bytes().all(plain)
}

/// Writes an error body of plain texts: what nearly every refusal has, ten times as fast as by way
/// of a serialiser.
fn plain_error(status: StatusCode, code: &str, message: &str) -> Bytes {
    let parts = [
        "{\"code\": \"",
        code,
        "\", \"message\": \"",
        message,
        "\", \"status\": ",
        status.as_str(),
        "}",
    ];
    parts.concat().into()
}

/// Rounds up, and never to zero: nobody is told to come back at once.
pub(super) const fn whole_seconds(time: Duration) -> u64 {
    let seconds = time.as_secs();
    if time.subsec_nanos() > 0 || seconds == 0 {
        seconds + 1
    } else {
        seconds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_serialiser(status: StatusCode, code: &str, message: &str) -> Vec<u8> {
        crate::dify_json::to_vec(&ErrorBody {
            error: None,
            code,
            message,
            status: status.as_u16(),
            details: Vec::new(),
        })
    }

    proptest! {
        #[test]
        fn an_error_is_what_a_serialiser_writes(code in "[a-z_\"\\\\]{0,9}", message in ".{0,20}") {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let error = Reply::error(status, &code, &message);
            prop_assert_eq!(error.body(), by_serialiser(status, &code, &message));
        }

        #[test]
        fn a_plain_error_is_as_well(message in "[ -~]{0,40}") {
            let status = StatusCode::FORBIDDEN;
            let error = Reply::error(status, "forbidden", &message);
            prop_assert_eq!(error.body(), by_serialiser(status, "forbidden", &message));
        }
    }
}
