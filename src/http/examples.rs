//! One refusal of each kind.

use std::time::Duration;

use super::{FlowError, Malformed, Rejection, SsoError};
use crate::{
    config::RateLimit,
    rate_limit::{Limit, Standing},
    route::{LocalEndpoint, NotCanonical},
    token::Scope,
};

impl Rejection {
    /// One of each kind, for tests and for the metrics to know every reason in advance.
    pub const EXAMPLES: [Self; 54] = [
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
        Self::StoreUnavailable,
        Self::Flow(FlowError::UnsupportedClient),
        Self::Flow(FlowError::UnsupportedGrantType),
        Self::Flow(FlowError::UserCodeExhausted),
        Self::Flow(FlowError::SlowDown),
        Self::Flow(FlowError::AuthorizationPending),
        Self::Flow(FlowError::AccessDenied),
        Self::Flow(FlowError::ExpiredToken),
        Self::Flow(FlowError::InvalidGrant),
        Self::Flow(FlowError::MintPolicyViolation),
        Self::Flow(FlowError::ExpiredOrUnknown),
        Self::Flow(FlowError::AlreadyResolved),
        Self::Flow(FlowError::ApproveInProgress),
        Self::Flow(FlowError::StateLost),
        Self::Sso(SsoError::UserCodeRequired),
        Self::Sso(SsoError::InvalidUserCode),
        Self::Sso(SsoError::ConsoleApiUrlUnset),
        Self::Sso(SsoError::InitiateFailed),
        Self::Sso(SsoError::InitiateMissingUrl),
        Self::Sso(SsoError::InvalidAssertion),
        Self::Sso(SsoError::UserCodeUnknown),
        Self::Sso(SsoError::UserCodeNotPending),
        Self::Sso(SsoError::NoSession),
        Self::Sso(SsoError::InvalidSession),
        Self::Sso(SsoError::CsrfMismatch),
        Self::Sso(SsoError::UserCodeMismatch),
        Self::Sso(SsoError::BelongsToAccount),
        Self::Sso(SsoError::SessionConsumed),
        Self::OAuthRequest(Vec::new()),
        Self::Body(Vec::new()),
        Self::Query(Vec::new()),
        Self::BodyTooLarge,
        Self::SlowBody,
        Self::Limited(Standing {
            limit: Limit::Lookup.as_str(),
            quota: RateLimit {
                count: 60,
                window: Duration::from_secs(300),
            },
            remaining: 0,
            reset: Duration::from_millis(1_200),
        }),
        Self::NoConsoleSession,
        Self::NotSetUp,
        Self::AccountNotInitialized,
        Self::Csrf,
        Self::CrossSite,
        Self::BadGateway,
        Self::GatewayTimeout,
        Self::Internal,
    ];
}
