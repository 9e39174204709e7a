//! The device flow's own refusals: `{"error": code}`, as RFC 8628 section 3.5 has them.

use http::StatusCode;
use serde::Serialize;

use super::Reply;

/// Why the device flow gives a client, or a person, a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowError {
    /// The client is not known here.
    UnsupportedClient,
    /// The grant is not the device grant.
    UnsupportedGrantType,
    /// Every user code that was drawn is taken.
    UserCodeExhausted,
    /// The poll came too soon.
    SlowDown,
    /// Nobody has decided yet.
    AuthorizationPending,
    /// Somebody said no, or revoked the token since.
    AccessDenied,
    /// There is nothing under this code, any more or ever.
    ExpiredToken,
    /// The code belongs to another client.
    InvalidGrant,
    /// The subject may not have such a token.
    MintPolicyViolation,
    /// There is no login under this user code.
    ExpiredOrUnknown,
    /// The login has been decided.
    AlreadyResolved,
    /// The login is being approved at this moment.
    ApproveInProgress,
    /// The login went away while it was being approved.
    StateLost,
}

/// The body of RFC 6749 section 5.2.
#[derive(Serialize)]
pub(super) struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
}

impl ErrorBody {
    pub(super) const fn new(error: &'static str, error_description: &'static str) -> Self {
        Self {
            error,
            error_description,
        }
    }
}

impl FlowError {
    /// Every one, for tables.
    pub const ALL: [Self; 13] = [
        Self::UnsupportedClient,
        Self::UnsupportedGrantType,
        Self::UserCodeExhausted,
        Self::SlowDown,
        Self::AuthorizationPending,
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::InvalidGrant,
        Self::MintPolicyViolation,
        Self::ExpiredOrUnknown,
        Self::AlreadyResolved,
        Self::ApproveInProgress,
        Self::StateLost,
    ];

    /// Returns the code on the wire, which is also the label under which it is counted.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnsupportedClient => "unsupported_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UserCodeExhausted => "user_code_exhausted",
            Self::SlowDown => "slow_down",
            Self::AuthorizationPending => "authorization_pending",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::InvalidGrant => "invalid_grant",
            Self::MintPolicyViolation => "mint_policy_violation",
            Self::ExpiredOrUnknown => "expired_or_unknown",
            Self::AlreadyResolved => "already_resolved",
            Self::ApproveInProgress => "approve_in_progress",
            Self::StateLost => "state_lost",
        }
    }

    /// Returns what a person may be told; plain ASCII without quotes (RFC 6749 section 5.2).
    const fn description(self) -> &'static str {
        match self {
            Self::UnsupportedClient => "this client is not known here",
            Self::UnsupportedGrantType => "only the device grant is served here",
            Self::UserCodeExhausted => "no free user code was found, try again",
            Self::SlowDown => "polls must be at least 5 seconds apart",
            Self::AuthorizationPending => "nobody has decided yet",
            Self::AccessDenied => "the login was denied, or its token has been revoked",
            Self::ExpiredToken => "this device code is unknown, used or expired",
            Self::InvalidGrant => "this device code belongs to another client",
            Self::MintPolicyViolation => "such a token may not be made for this subject",
            Self::ExpiredOrUnknown => "this user code is unknown or expired",
            Self::AlreadyResolved => "this login has been decided already",
            Self::ApproveInProgress => "this login is being approved at this moment",
            Self::StateLost => "this login went away meanwhile, start again",
        }
    }

    pub(super) fn reply(self, status: StatusCode) -> Reply {
        Reply::json(status, &ErrorBody::new(self.code(), self.description()))
    }
}
