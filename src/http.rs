//! What the gateway itself answers: the one table of statuses, codes and headers
//! (`contract/errors.md`).

use http::StatusCode;

use crate::{
    check::Undecided,
    route::{LocalEndpoint, NotCanonical},
    token::{NoToken, Scope},
};

pub mod client_ip;
pub mod headers;
mod reply;

pub use reply::Reply;

/// When a client may come back after a 503, in seconds: about as long as a reconnect takes.
const RETRY_AFTER_OUTAGE: &str = "2";

/// Why the gateway refuses a request by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The target has no canonical form.
    Target(NotCanonical),
    /// The header section breaks a rule of HTTP that must not be bent.
    Malformed(Malformed),
    /// The header section is larger than `server.max_header_bytes`.
    HeaderTooLarge,
    /// No bearer credentials.
    BearerRequired,
    /// Credentials that cannot be, or are not, a live token. Nobody is told which.
    InvalidToken,
    /// A live token of a kind that is not accepted here.
    WrongSurface,
    /// A live token that may not do this.
    InsufficientScope(Scope),
    /// Not served here.
    NotFound,
    /// A local endpoint, but not by this method.
    MethodNotAllowed(LocalEndpoint),
    /// `CONNECT`: this is no forward proxy.
    ConnectRefused,
    /// `tokens.enabled` is off.
    BearerDisabled,
    /// Nobody can say whether the token is live.
    AuthUnavailable,
    /// The upstream cannot be reached, or broke off before its header.
    BadGateway,
    /// The upstream is too slow.
    GatewayTimeout,
    /// A fault of ours.
    Internal,
}

/// Which rule a header section breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A request line or header line that cannot be parsed (RFC 9112 sections 3 and 5).
    Head,
    /// More than one `Authorization`.
    SeveralAuthorization,
    /// HTTP/1.1 without `Host` (RFC 9112 section 3.2).
    NoHost,
    /// A `Host` that names no host (RFC 9112 section 3.2).
    Host,
    /// A `Content-Length` other than one number (RFC 9112 section 6.3).
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.1).
    TwoFramings,
    /// A `Transfer-Encoding` other than exactly `chunked`.
    TransferEncoding,
    /// A line that ends in a bare LF (RFC 9112 section 2.2).
    BareLf,
    /// A `Connection` header that cannot be obeyed safely.
    Connection,
    /// A body whose framing breaks off or makes no sense.
    Body,
}

impl Malformed {
    const fn message(self) -> &'static str {
        match self {
            Self::Head => "the request line or a header line is malformed",
            Self::SeveralAuthorization => "there must be one Authorization header at most",
            Self::NoHost => "a Host header is required",
            Self::Host => "the Host header must name one host",
            Self::ContentLength => "the Content-Length header must be one number",
            Self::TwoFramings => "Content-Length and Transfer-Encoding exclude each other",
            Self::TransferEncoding => "the only transfer encoding accepted is chunked",
            Self::BareLf => "header lines must end in CRLF",
            Self::Connection => "the Connection header is malformed",
            Self::Body => "the body is malformed",
        }
    }
}

impl Rejection {
    /// One of each kind, for tests and for the metrics to know every reason in advance.
    pub const EXAMPLES: [Self; 15] = [
        Self::Target(NotCanonical::DotSegment),
        Self::Malformed(Malformed::NoHost),
        Self::HeaderTooLarge,
        Self::BearerRequired,
        Self::InvalidToken,
        Self::WrongSurface,
        Self::InsufficientScope(Scope::AppsRun),
        Self::NotFound,
        Self::MethodNotAllowed(LocalEndpoint::DeviceCode),
        Self::ConnectRefused,
        Self::BearerDisabled,
        Self::AuthUnavailable,
        Self::BadGateway,
        Self::GatewayTimeout,
        Self::Internal,
    ];

    /// Returns the label under which the refusal is logged and counted.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Target(_) => "target",
            Self::Malformed(_) => "malformed",
            Self::HeaderTooLarge => "header_too_large",
            Self::BearerRequired => "bearer_required",
            Self::InvalidToken => "invalid_token",
            Self::WrongSurface => "wrong_surface",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::ConnectRefused => "connect_refused",
            Self::BearerDisabled => "bearer_disabled",
            Self::AuthUnavailable => "auth_unavailable",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
            Self::Internal => "internal",
        }
    }

    /// Returns whether the connection must not be used again: where one side ends and the other
    /// begins is in doubt.
    pub const fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::Malformed(
                Malformed::ContentLength
                    | Malformed::TwoFramings
                    | Malformed::TransferEncoding
                    | Malformed::BareLf
                    | Malformed::Body
            ) | Self::HeaderTooLarge
        )
    }

    /// Returns the answer. This is the one table.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Target(reason) => {
                Reply::error(StatusCode::BAD_REQUEST, "bad_request", &reason.to_string())
            }
            Self::Malformed(rule) => {
                Reply::error(StatusCode::BAD_REQUEST, "bad_request", rule.message())
            }
            Self::HeaderTooLarge => Reply::error(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "request_header_fields_too_large",
                "the header section is too large",
            ),
            // RFC 6750 section 3.1: no error code where no token was given.
            Self::BearerRequired => {
                Reply::error(StatusCode::UNAUTHORIZED, "unauthorized", "bearer required")
                    .with("WWW-Authenticate", "Bearer realm=\"api\"")
            }
            Self::InvalidToken => {
                Reply::error(StatusCode::UNAUTHORIZED, "unauthorized", "invalid token").with(
                    "WWW-Authenticate",
                    "Bearer realm=\"api\", error=\"invalid_token\"",
                )
            }
            Self::WrongSurface => Reply::error(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this token is not accepted here",
            ),
            Self::InsufficientScope(scope) => Reply::error(
                StatusCode::FORBIDDEN,
                "forbidden",
                "the token's scope is too small",
            )
            .with(
                "WWW-Authenticate",
                &format!(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{}\"",
                    scope.as_str()
                ),
            ),
            Self::NotFound => Reply::error(StatusCode::NOT_FOUND, "not_found", "not served here"),
            Self::MethodNotAllowed(endpoint) => Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this method is not allowed here",
            )
            .with("Allow", endpoint.allow()),
            Self::ConnectRefused => Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this is no forward proxy",
            )
            .with("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
            Self::BearerDisabled => Reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "bearer_auth_disabled",
                "bearer authentication is switched off",
            ),
            Self::AuthUnavailable => Reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth_unavailable",
                "the token cannot be checked at the moment",
            )
            .with("Retry-After", RETRY_AFTER_OUTAGE),
            Self::BadGateway => Reply::error(
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                "the upstream cannot be reached",
            ),
            Self::GatewayTimeout => Reply::error(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "the upstream did not answer in time",
            ),
            Self::Internal => Reply::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_server_error",
                "internal error",
            ),
        }
    }
}

impl From<NoToken> for Rejection {
    fn from(reason: NoToken) -> Self {
        match reason {
            NoToken::Absent => Self::BearerRequired,
            NoToken::Malformed => Self::InvalidToken,
        }
    }
}

impl From<Undecided> for Rejection {
    fn from(reason: Undecided) -> Self {
        match reason {
            Undecided::StoresAway | Undecided::Lost(_) => Self::AuthUnavailable,
        }
    }
}

impl From<NotCanonical> for Rejection {
    fn from(reason: NotCanonical) -> Self {
        Self::Target(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status_code_and_headers() {
        let table: Vec<String> = Rejection::EXAMPLES
            .iter()
            .map(|rejection| {
                let reply = rejection.reply();
                let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
                assert_eq!(body["status"], reply.status().as_u16());
                assert!(body["message"].is_string());
                let headers: Vec<String> = reply
                    .headers()
                    .map(|(name, value)| format!(" {name}: {value}"))
                    .collect();
                format!(
                    "{} {} {}{}",
                    rejection.reason(),
                    reply.status().as_u16(),
                    body["code"].as_str().unwrap(),
                    headers.concat()
                )
            })
            .collect();
        assert_eq!(
            table,
            [
                "target 400 bad_request",
                "malformed 400 bad_request",
                "header_too_large 431 request_header_fields_too_large",
                "bearer_required 401 unauthorized WWW-Authenticate: Bearer realm=\"api\"",
                "invalid_token 401 unauthorized WWW-Authenticate: Bearer realm=\"api\", error=\"invalid_token\"",
                "wrong_surface 403 forbidden",
                "insufficient_scope 403 forbidden WWW-Authenticate: Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"apps:run\"",
                "not_found 404 not_found",
                "method_not_allowed 405 method_not_allowed Allow: OPTIONS, POST",
                "connect_refused 405 method_not_allowed Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
                "bearer_disabled 503 bearer_auth_disabled",
                "auth_unavailable 503 auth_unavailable Retry-After: 2",
                "bad_gateway 502 bad_gateway",
                "gateway_timeout 504 gateway_timeout",
                "internal 500 internal_server_error",
            ]
        );
    }
}
