//! The enterprise branch's own refusals: `{"error": code}`, as Dify's page reads them.

use http::StatusCode;

use super::{Reply, flow::ErrorBody};

/// Why the enterprise branch says no (`contract/sso.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SsoError {
    /// No user code was given.
    UserCodeRequired,
    /// The user code leads to no pending login.
    InvalidUserCode,
    /// `dify.console_api_url` is not set: nobody could come back.
    ConsoleApiUrlUnset,
    /// The enterprise service failed, or was too slow.
    InitiateFailed,
    /// The enterprise service names no page to go to.
    InitiateMissingUrl,
    /// The assertion is none, or has been used.
    InvalidAssertion,
    /// There is no login any more.
    UserCodeUnknown,
    /// The login has been decided.
    UserCodeNotPending,
    /// No grant, where it would have been read.
    NoSession,
    /// No grant, where it would have been used.
    InvalidSession,
    /// The CSRF token is not the grant's, or the origin is a stranger's.
    CsrfMismatch,
    /// The grant is for another login.
    UserCodeMismatch,
    /// The person has a Dify account.
    BelongsToAccount,
    /// The grant has been used.
    SessionConsumed,
}

impl SsoError {
    /// Every one, for tables.
    pub const ALL: [Self; 14] = [
        Self::UserCodeRequired,
        Self::InvalidUserCode,
        Self::ConsoleApiUrlUnset,
        Self::InitiateFailed,
        Self::InitiateMissingUrl,
        Self::InvalidAssertion,
        Self::UserCodeUnknown,
        Self::UserCodeNotPending,
        Self::NoSession,
        Self::InvalidSession,
        Self::CsrfMismatch,
        Self::UserCodeMismatch,
        Self::BelongsToAccount,
        Self::SessionConsumed,
    ];

    /// Returns the code on the wire, which is also the label under which it is counted.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UserCodeRequired => "user_code required",
            Self::InvalidUserCode => "invalid_user_code",
            Self::ConsoleApiUrlUnset => "console_api_url_unset",
            Self::InitiateFailed => "sso_initiate_failed",
            Self::InitiateMissingUrl => "sso_initiate_missing_url",
            Self::InvalidAssertion => "invalid_sso_assertion",
            Self::UserCodeUnknown | Self::UserCodeNotPending => "user_code_not_pending",
            Self::NoSession => "no_session",
            Self::InvalidSession => "invalid_session",
            Self::CsrfMismatch => "csrf_mismatch",
            Self::UserCodeMismatch => "user_code_mismatch",
            Self::BelongsToAccount => "email_belongs_to_dify_account",
            Self::SessionConsumed => "session_already_consumed",
        }
    }

    /// Returns what a person may be told; plain ASCII without quotes.
    const fn description(self) -> &'static str {
        match self {
            Self::UserCodeRequired => "the user code of a login is required",
            Self::InvalidUserCode => "this user code leads to no pending login",
            Self::ConsoleApiUrlUnset => "sign-in by SSO needs dify.console_api_url",
            Self::InitiateFailed => "the sign-in could not be begun, try again",
            Self::InitiateMissingUrl => "the sign-in has no page to go to",
            Self::InvalidAssertion => "this sign-in is invalid, expired or used, start again",
            Self::UserCodeUnknown => "this login is unknown or expired",
            Self::UserCodeNotPending => "this login is not pending any more",
            Self::NoSession | Self::InvalidSession => "sign in by SSO first",
            Self::CsrfMismatch => "the CSRF token is not that of this sign-in",
            Self::UserCodeMismatch => "this sign-in is for another user code",
            Self::BelongsToAccount => "this e-mail has a Dify account, sign in with that",
            Self::SessionConsumed => "this sign-in has been used already, start again",
        }
    }

    pub(super) fn reply(self, status: StatusCode) -> Reply {
        Reply::json(status, &ErrorBody::new(self.code(), self.description()))
    }
}
