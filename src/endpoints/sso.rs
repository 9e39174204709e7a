//! `…/oauth/device/{sso-initiate,sso-complete,approval-context,approve-external}`.

use http::{StatusCode, header};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::{
    Endpoints, LocalRequest,
    device::{MAX_USER_CODE, one, query_value, status},
};
use crate::{
    device::{NotDecided, UserCode},
    http::{
        FlowError, Rejection, Reply, SsoError,
        body::{Accepts, Members},
        cookies::{OwnCookie, cookie},
    },
    jws::{ApprovalGrant, Envelope as _, Verified},
    rate_limit::{Caller, Limit},
    sso::{Completed, NotApproved, NotCompleted, NotInitiated, Sso},
};

/// The cookie that holds a grant.
const GRANT_COOKIE: &str = "device_approval_grant";

/// The page where people decide about logins. Relative: the browser stays where it is.
const PAGE: &str = "/device";

impl Endpoints {
    /// Returns the branch while it exists: with the enterprise service, and a licence that holds.
    pub(super) fn sso(&self) -> Result<&Sso, Rejection> {
        let sso = self.sso.as_ref().filter(|sso| sso.licence.holds());
        sso.ok_or(Rejection::NotFound)
    }

    pub(super) async fn sso_initiate(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<Reply, Rejection> {
        let sso = self.sso()?;
        self.require_flow()?;
        let standing = self.admit_address(Limit::SsoInitiate, request).await?;
        let typed = query_value(request.query, "user_code").unwrap_or_default();
        if typed.trim().is_empty() {
            return Err(Rejection::Sso(SsoError::UserCodeRequired));
        }
        if typed.chars().count() > MAX_USER_CODE {
            return Err(Rejection::Sso(SsoError::InvalidUserCode));
        }
        // Never from the Host header: whoever sends it would receive the assertion.
        let console = self.settings.console_api_url.as_ref();
        let console = console.ok_or(Rejection::Sso(SsoError::ConsoleApiUrlUnset))?;
        let callback = format!("{console}{}", request.generation.sso_complete());
        let url = sso.initiate(&typed, &callback).await;
        let url = url.map_err(|error| not_initiated(&error))?;
        Ok(Reply::redirect(String::from(url))
            .with(header::SET_COOKIE, self.grant_cookie(request).clear())
            .with_standing(&standing))
    }

    pub(super) async fn sso_complete(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<Reply, Rejection> {
        let sso = self.sso()?;
        self.require_flow()?;
        let assertion = query_value(request.query, "sso_assertion").unwrap_or_default();
        let completed = sso.complete(&assertion).await;
        match completed.map_err(|error| not_completed(&error))? {
            Completed::BelongsToAccount => {
                let error = SsoError::BelongsToAccount.code();
                Ok(Reply::redirect(format!("{PAGE}?sso_error={error}")))
            }
            Completed::Granted(grant) => {
                let cookie = self.grant_cookie(request);
                let cookie = cookie.set(grant.expose(), ApprovalGrant::LIFE);
                let reply = Reply::redirect(format!("{PAGE}?sso_verified=1"));
                Ok(reply.with(header::SET_COOKIE, cookie))
            }
        }
    }

    pub(super) fn approval_context(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let sso = self.sso()?;
        self.require_flow()?;
        let Verified { claims, expires_at } =
            read_grant(sso, request).ok_or(Rejection::Sso(SsoError::NoSession))?;
        let body = json!({
            "subject_email": claims.subject_email,
            "subject_issuer": claims.subject_issuer,
            "user_code": claims.user_code,
            "csrf_token": claims.csrf_token,
            "expires_at": expires_at.to_iso8601(),
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    /// In the order of `contract/sso.md`.
    pub(super) async fn approve_external(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<Reply, Rejection> {
        let sso = self.sso()?;
        self.require_flow()?;
        let grant = read_grant(sso, request).ok_or(Rejection::Sso(SsoError::InvalidSession))?;
        let grant = grant.claims;
        let standing = self
            .admit(Limit::ApproveExternal, Caller::Email(&grant.subject_email))
            .await?;
        let sent = one(request, "x-csrf-token").unwrap_or_default();
        let same = bool::from(sent.as_bytes().ct_eq(grant.csrf_token.as_bytes()));
        if !same || self.check_origin(request).is_err() {
            return Err(Rejection::Sso(SsoError::CsrfMismatch));
        }
        let mut faults = Vec::new();
        let members = Members::parse(request.headers, request.body, Accepts::Json)
            .map_err(|fault| Rejection::Body(vec![fault]))?;
        let user_code = members.text("user_code", MAX_USER_CODE, &mut faults);
        if !faults.is_empty() {
            return Err(Rejection::Body(faults));
        }
        let meant = UserCode::parse(&user_code);
        if meant.is_none() || meant != UserCode::parse(&grant.user_code) {
            return Err(Rejection::Sso(SsoError::UserCodeMismatch));
        }
        let approved = sso.approve(&grant).await;
        approved.map_err(|error| not_approved(&error))?;
        Ok(status("approved")
            .with(header::SET_COOKIE, self.grant_cookie(request).clear())
            .with_standing(&standing))
    }

    fn grant_cookie(&self, request: &LocalRequest<'_>) -> OwnCookie {
        OwnCookie {
            name: GRANT_COOKIE,
            path: request.generation.device_base(),
            secure: self.settings.secure_cookies,
        }
    }
}

/// Reads the grant that a browser sends. Why it is none stays here: the kind at most, at `debug`.
pub(super) fn read_grant(sso: &Sso, request: &LocalRequest<'_>) -> Option<Verified<ApprovalGrant>> {
    let cookie = cookie(request.headers, GRANT_COOKIE)?;
    sso.read_grant(cookie)
        .inspect_err(|refused| tracing::debug!(%refused, "a grant is refused"))
        .ok()
}

fn not_initiated(error: &NotInitiated) -> Rejection {
    match error {
        NotInitiated::NotPending => Rejection::Sso(SsoError::InvalidUserCode),
        NotInitiated::Enterprise(error) => {
            let error = crate::health::Chain(error);
            tracing::warn!(%error, "a sign-in by SSO could not be begun");
            Rejection::Sso(SsoError::InitiateFailed)
        }
        NotInitiated::NoUrl => Rejection::Sso(SsoError::InitiateMissingUrl),
        NotInitiated::Unavailable(_) => Rejection::StoreUnavailable,
        NotInitiated::NotSigned(_) => Rejection::Internal,
    }
}

fn not_completed(error: &NotCompleted) -> Rejection {
    match error {
        NotCompleted::Refused(refused) => {
            tracing::debug!(%refused, "an assertion is refused");
            Rejection::Sso(SsoError::InvalidAssertion)
        }
        NotCompleted::Replayed => Rejection::Sso(SsoError::InvalidAssertion),
        NotCompleted::NotPending => Rejection::Sso(SsoError::UserCodeNotPending),
        NotCompleted::Unavailable(_) => Rejection::StoreUnavailable,
        NotCompleted::NotSigned(_) => Rejection::Internal,
    }
}

fn not_approved(error: &NotApproved) -> Rejection {
    match error {
        NotApproved::BelongsToAccount => Rejection::Sso(SsoError::BelongsToAccount),
        NotApproved::Consumed => Rejection::Sso(SsoError::SessionConsumed),
        NotApproved::NotDecided(error) => match error {
            NotDecided::Unknown => Rejection::Sso(SsoError::UserCodeUnknown),
            NotDecided::Resolved => Rejection::Sso(SsoError::UserCodeNotPending),
            // Another browser, with a grant of its own, is at the same login.
            NotDecided::InProgress | NotDecided::Lost => Rejection::Flow(FlowError::StateLost),
            NotDecided::Policy => Rejection::Flow(FlowError::MintPolicyViolation),
            NotDecided::Unavailable(_) => Rejection::StoreUnavailable,
        },
    }
}
