//! `…/oauth/device/request`: what the page at `/device` shows to the person who is to decide.

use http::StatusCode;
use serde_json::json;

use super::{
    Endpoints, LocalRequest,
    device::{query_value, typed_code},
    sso::read_grant,
};
use crate::{
    device::{Inspection, PendingLogin, UserCode},
    http::{Rejection, Reply, SsoError},
    rate_limit::Limit,
    token::TokenKind,
};

/// Which code is meant.
enum Meant {
    /// What a person at the console has typed, where that can be one.
    Typed(Option<String>),
    /// The one that a grant was signed for.
    Granted(UserCode),
}

impl Endpoints {
    /// Answers as `lookup` does, member for member, and adds what only somebody who can decide is
    /// told: device, address, time, and what the token will be able to do.
    ///
    /// It takes the same session as `approve`, CSRF token included, since it shows what a code is
    /// about; and it counts in the bucket of `lookup`, so that it is no second way to guess codes.
    /// Without a code it is about the one of the grant that the browser holds.
    pub(super) async fn request(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let meant = self.meant(request).await?;
        let standing = self.admit_address(Limit::Lookup, request).await?;
        let (seen, kind) = match meant {
            Meant::Typed(Some(typed)) => (self.device.inspect(&typed).await, TokenKind::Account),
            Meant::Typed(None) => (Ok(Inspection::default()), TokenKind::Account),
            Meant::Granted(code) => (
                self.device.inspect_signed(&code).await,
                TokenKind::ExternalSso,
            ),
        };
        let Inspection { lookup, pending } = seen.map_err(|_| Rejection::StoreUnavailable)?;
        let mut body = json!({
            "valid": lookup.valid,
            "expires_in_remaining": lookup.remaining.as_secs(),
            "client_id": lookup.client_id,
            "device_label": null,
            "created_ip": null,
            "created_at": null,
            "created_seconds_ago": null,
            "same_address": null,
            "scopes": null,
            "token_expires_in": null,
        });
        if let Some(pending) = pending {
            self.describe(&mut body, &pending, kind, request);
        }
        Ok(Reply::json(StatusCode::OK, &body).with_standing(&standing))
    }

    /// Finds out who is to decide, and about which code: the person at the console about the one
    /// that is named; or, where none is named, the holder of a grant about the grant's own.
    async fn meant(&self, request: &LocalRequest<'_>) -> Result<Meant, Rejection> {
        if query_value(request.query, "user_code").is_none()
            && let Ok(sso) = self.sso()
        {
            self.require_flow()?;
            let code = read_grant(sso, request)
                .and_then(|grant| UserCode::parse(&grant.claims.user_code))
                .ok_or(Rejection::Sso(SsoError::NoSession))?;
            return Ok(Meant::Granted(code));
        }
        self.person(request).await?;
        self.require_flow()?;
        Ok(Meant::Typed(typed_code(request)))
    }

    /// Fills in what a decision is about. Ages are counted here: a person's clock may be wrong.
    fn describe(
        &self,
        body: &mut serde_json::Value,
        pending: &PendingLogin,
        kind: TokenKind,
        request: &LocalRequest<'_>,
    ) {
        let now = self.device.clock.now();
        let scopes: Vec<&str> = kind.scopes().iter().map(|scope| scope.as_str()).collect();
        let client = request.client.to_canonical();
        body["device_label"] = json!(pending.device_label);
        body["created_ip"] = json!(pending.created_ip);
        body["created_at"] = json!(pending.created_at.map(|at| at.to_rfc3339_zulu()));
        body["created_seconds_ago"] = json!(pending.created_at.map(|at| at.until(now).as_secs()));
        body["same_address"] = json!(pending.created_ip.map(|ip| ip.to_canonical() == client));
        body["scopes"] = json!(scopes);
        body["token_expires_in"] = json!(self.mint.life.as_secs());
    }
}
