//! What the gateway itself answers: the one table of statuses, codes and headers
//! (`contract/errors.md`).

use http::{StatusCode, header};

use crate::{
    check::Undecided,
    rate_limit::Standing,
    route::{LocalEndpoint, NotCanonical},
    token::{NoToken, Scope},
};

pub mod body;
pub mod client_ip;
pub mod cookies;
pub mod cors;
mod examples;
pub mod fetch_metadata;
mod flow;
pub mod headers;
mod malformed;
pub mod origin;
mod reply;
mod sso;

use body::Fault;
pub use flow::FlowError;
pub use malformed::Malformed;
pub use reply::Reply;
pub use sso::SsoError;

/// When a client may come back with its token after a 503, in seconds: about as long as a reconnect
/// takes.
const RETRY_AFTER_OUTAGE: &str = "2";

/// When to come back to a local endpoint: as long as polls have to be apart
/// ([`crate::device::POLL_INTERVAL`]), so that no device is told to slow down for having obeyed.
const RETRY_AFTER_LOCAL_OUTAGE: &str = "5";

/// When to come back where too many requests are under way, in seconds: any of them may end at once.
const RETRY_AFTER_CROWD: &str = "1";

/// Why the gateway refuses a request by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A store that a local endpoint needs is away.
    StoreUnavailable,
    /// Too many requests at a time beside others on their connections
    /// (`server.max_extra_streams`).
    TooManyStreams,
    /// The device flow says no.
    Flow(FlowError),
    /// The enterprise branch says no.
    Sso(SsoError),
    /// The body of `code` or `token` is at fault.
    OAuthRequest(Vec<Fault>),
    /// The body of another local endpoint is at fault.
    Body(Vec<Fault>),
    /// The query is at fault.
    Query(Vec<Fault>),
    /// The body of a local endpoint is larger than [`body::MAX_BODY`].
    BodyTooLarge,
    /// A body that comes too slowly (`server.min_body_rate`).
    SlowBody,
    /// A limit's window is full.
    Limited(Standing),
    /// No console session, or a bad one.
    NoConsoleSession,
    /// Dify has not been set up.
    NotSetUp,
    /// The session's account has not been initialised.
    AccountNotInitialized,
    /// The CSRF token is missing or is not the session's, or the origin is a stranger's.
    Csrf,
    /// A page of another site made a browser ask for what only its user may.
    CrossSite,
    /// The upstream cannot be reached, or broke off before its header.
    BadGateway,
    /// The upstream is too slow.
    GatewayTimeout,
    /// A fault of ours.
    Internal,
}

impl Rejection {
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
            Self::StoreUnavailable => "store_unavailable",
            Self::TooManyStreams => "too_many_streams",
            Self::Flow(error) => error.code(),
            Self::Sso(error) => error.code(),
            Self::OAuthRequest(_) => "oauth_request",
            Self::Body(_) => "body",
            Self::Query(_) => "query",
            Self::BodyTooLarge => "body_too_large",
            Self::SlowBody => "slow_body",
            Self::Limited(_) => "limited",
            Self::NoConsoleSession => "no_console_session",
            Self::NotSetUp => "not_set_up",
            Self::AccountNotInitialized => "account_not_initialized",
            Self::Csrf => "csrf",
            Self::CrossSite => "cross_site",
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
                Malformed::Head
                    | Malformed::ContentLength
                    | Malformed::TwoFramings
                    | Malformed::TransferEncoding
                    | Malformed::BareLf
                    | Malformed::Body
            ) | Self::HeaderTooLarge
                | Self::ConnectRefused
                | Self::BodyTooLarge
                | Self::SlowBody
        )
    }

    /// Returns the answer. This is the one table.
    #[expect(
        clippy::too_many_lines,
        reason = "one table, a few lines for each refusal, is easier to check than parts of one"
    )]
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
                    .with(header::WWW_AUTHENTICATE, "Bearer realm=\"api\"")
            }
            Self::InvalidToken => {
                Reply::error(StatusCode::UNAUTHORIZED, "unauthorized", "invalid token").with(
                    header::WWW_AUTHENTICATE,
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
                header::WWW_AUTHENTICATE,
                format!(
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
            .with(header::ALLOW, endpoint.allow()),
            Self::ConnectRefused => Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this is no forward proxy",
            )
            .with(
                header::ALLOW,
                "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            ),
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
            .with(header::RETRY_AFTER, RETRY_AFTER_OUTAGE),
            Self::StoreUnavailable => Reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth_unavailable",
                "this cannot be done at the moment",
            )
            .with(header::RETRY_AFTER, RETRY_AFTER_LOCAL_OUTAGE),
            Self::TooManyStreams => Reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "too many requests at a time, come back later",
            )
            .with(header::RETRY_AFTER, RETRY_AFTER_CROWD),
            Self::Flow(error) => error.reply(flow_status(*error)),
            Self::Sso(error) => sso_reply(*error),
            // An OAuth client understands `error` (RFC 6749 section 5.2), Dify's the rest.
            Self::OAuthRequest(faults) => Reply::faults(
                StatusCode::BAD_REQUEST,
                Some("invalid_request"),
                "bad_request",
                faults,
            ),
            Self::Body(faults) => {
                Reply::faults(StatusCode::BAD_REQUEST, None, "bad_request", faults)
            }
            Self::Query(faults) => Reply::faults(
                StatusCode::UNPROCESSABLE_ENTITY,
                None,
                "invalid_param",
                faults,
            ),
            Self::BodyTooLarge => Reply::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_entity_too_large",
                "the body is too large",
            ),
            Self::SlowBody => Reply::error(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "the body came too slowly",
            ),
            Self::Limited(standing) => Reply::error(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "too many requests, come back later",
            )
            .with(
                header::RETRY_AFTER,
                reply::whole_seconds(standing.reset).to_string(),
            )
            .with_standing(standing),
            Self::NoConsoleSession => Reply::json(
                StatusCode::UNAUTHORIZED,
                &serde_json::json!({"code": "unauthorized", "message": "Unauthorized."}),
            )
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"api\""),
            Self::NotSetUp => Reply::error(
                StatusCode::UNAUTHORIZED,
                "not_setup",
                "Dify has not been initialized and installed yet. Please proceed with the \
                 initialization and installation process first.",
            )
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"api\""),
            Self::AccountNotInitialized => Reply::error(
                StatusCode::BAD_REQUEST,
                "account_not_initialized",
                "The account has not been initialized yet. Please proceed with the \
                 initialization process first.",
            ),
            Self::Csrf => Reply::error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "CSRF token is missing or invalid.",
            )
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"api\""),
            Self::CrossSite => Reply::error(
                StatusCode::FORBIDDEN,
                "forbidden",
                "pages of other sites may not ask for this",
            ),
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

/// The statuses of the device flow's own codes; all that RFC 8628 names are 400.
const fn flow_status(error: FlowError) -> StatusCode {
    match error {
        FlowError::UnsupportedClient
        | FlowError::UnsupportedGrantType
        | FlowError::SlowDown
        | FlowError::AuthorizationPending
        | FlowError::AccessDenied
        | FlowError::ExpiredToken
        | FlowError::InvalidGrant
        | FlowError::MintPolicyViolation => StatusCode::BAD_REQUEST,
        FlowError::UserCodeExhausted => StatusCode::SERVICE_UNAVAILABLE,
        FlowError::ExpiredOrUnknown => StatusCode::NOT_FOUND,
        FlowError::AlreadyResolved | FlowError::ApproveInProgress | FlowError::StateLost => {
            StatusCode::CONFLICT
        }
    }
}

/// The answers of the enterprise branch; a 401 names the scheme (RFC 9110 section 15.5.2).
fn sso_reply(error: SsoError) -> Reply {
    let status = match error {
        SsoError::UserCodeRequired
        | SsoError::InvalidUserCode
        | SsoError::InvalidAssertion
        | SsoError::UserCodeMismatch => StatusCode::BAD_REQUEST,
        SsoError::ConsoleApiUrlUnset | SsoError::InitiateFailed | SsoError::InitiateMissingUrl => {
            StatusCode::BAD_GATEWAY
        }
        SsoError::UserCodeUnknown => StatusCode::NOT_FOUND,
        SsoError::UserCodeNotPending => StatusCode::CONFLICT,
        SsoError::CsrfMismatch | SsoError::BelongsToAccount => StatusCode::FORBIDDEN,
        SsoError::NoSession | SsoError::InvalidSession | SsoError::SessionConsumed => {
            return error
                .reply(StatusCode::UNAUTHORIZED)
                .with(header::WWW_AUTHENTICATE, "Bearer realm=\"api\"");
        }
    };
    error.reply(status)
}

impl From<NoToken> for Rejection {
    fn from(reason: NoToken) -> Self {
        match reason {
            NoToken::Absent => Self::BearerRequired,
            NoToken::Malformed => Self::InvalidToken,
        }
    }
}

impl From<Standing> for Rejection {
    fn from(standing: Standing) -> Self {
        Self::Limited(standing)
    }
}

impl From<Undecided> for Rejection {
    fn from(reason: Undecided) -> Self {
        match reason {
            Undecided::StoresAway | Undecided::Overloaded | Undecided::Lost(_) => {
                Self::AuthUnavailable
            }
        }
    }
}

impl From<NotCanonical> for Rejection {
    fn from(reason: NotCanonical) -> Self {
        Self::Target(reason)
    }
}

#[cfg(test)]
mod tests;
