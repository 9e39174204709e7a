//! `…/oauth/device/request`: what the page at `/device` shows to the person who is to decide.

use std::net::IpAddr;

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
        body["device_label"] = json!(pending.device_label);
        body["created_ip"] = json!(pending.created_ip);
        body["created_at"] = json!(pending.created_at.map(|at| at.to_rfc3339_zulu()));
        body["created_seconds_ago"] = json!(pending.created_at.map(|at| at.until(now).as_secs()));
        body["same_address"] = json!(
            pending
                .created_ip
                .and_then(|begun| same_address(begun, request.client))
        );
        body["scopes"] = json!(scopes);
        body["token_expires_in"] = json!(self.mint.life.as_secs());
    }
}

/// Tells whether a login was begun at the address of the person who is to decide.
///
/// Two that differ say so. Two that are alike say nothing (`None`) where the address may be everybody's:
/// the one of a proxy that is not trusted, of a Unix socket, of a host that translates addresses.
fn same_address(begun: IpAddr, asking: IpAddr) -> Option<bool> {
    let (begun, asking) = (begun.to_canonical(), asking.to_canonical());
    (begun != asking || is_public(begun)).then_some(begun == asking)
}

/// Tells whether an address is one on the internet, and none of the ranges that everybody has at home,
/// in a cluster or within one machine (RFC 1918, 3927, 4193, 4291, 6598).
const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, 64..=127, _, _]);
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            !(local || shared || v4.is_unspecified())
        }
        IpAddr::V6(v6) => {
            let local = v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local();
            !(local || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(begun: &str, asking: &str) -> Option<bool> {
        same_address(begun.parse().unwrap(), asking.parse().unwrap())
    }

    #[test]
    fn an_address_that_may_be_everybodys_is_nobodys_own() {
        for shared in [
            "127.0.0.1",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "::ffff:10.1.2.3",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(same(shared, shared), None, "{shared}");
            assert_eq!(same(shared, "203.0.113.7"), Some(false), "{shared}");
        }
        for own in ["203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert_eq!(same(own, own), Some(true), "{own}");
        }
        assert_eq!(same("::ffff:203.0.113.7", "203.0.113.7"), Some(true));
        assert_eq!(same("10.1.2.3", "10.1.2.4"), Some(false));
    }
}
