//! Who a forwarded request speaks for, signed for the upstream (`contract/surfaces.md`).

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{Envelope, Jws, KeySet, NotSigned};
use crate::clock::Timestamp;

/// Who a request speaks for: the same values as the `X-Dify-…` headers.
#[derive(Debug, Serialize)]
pub struct IdentityClaims<'a> {
    /// `account` or `external_sso`.
    pub subject_type: &'a str,
    /// The subject's e-mail.
    pub subject_email: &'a str,
    /// The issuer.
    pub subject_issuer: &'a str,
    /// The account's id, where there is one.
    pub account_id: Option<String>,
    /// The OAuth client, where known.
    pub client_id: Option<&'a str>,
    /// The token's row.
    pub token_id: String,
    /// What the token may do, parted by spaces.
    pub scopes: &'a str,
}

impl Envelope for IdentityClaims<'_> {
    const AUDIENCE: &'static str = "api.gateway.identity";

    /// As long as the longest-lived cache entry.
    const LIFE: Duration = Duration::from_secs(60);
}

/// A signed identity, kept beside the token that it is about.
#[derive(Debug, Clone)]
pub struct SignedIdentity {
    jws: String,
    expires_at: Timestamp,
    signed_by: Arc<str>,
}

impl SignedIdentity {
    /// Signs who a request speaks for.
    ///
    /// # Errors
    ///
    /// [`NotSigned`].
    pub fn sign(
        claims: &IdentityClaims<'_>,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Self, NotSigned> {
        let jws: Jws<IdentityClaims<'_>> = keys.sign(claims, now)?;
        Ok(Self {
            jws: jws.expose().to_owned(),
            expires_at: now.plus(IdentityClaims::LIFE),
            signed_by: Arc::clone(keys.active_kid()),
        })
    }

    /// Returns the compact JWS.
    pub fn as_str(&self) -> &str {
        &self.jws
    }

    /// Tells whether it has at least `least` left and was signed by this very key set: after a
    /// rotation the upstream may not know the old one any more.
    pub fn is_fresh(&self, keys: &KeySet, now: Timestamp, least: Duration) -> bool {
        now.until(self.expires_at) >= least && Arc::ptr_eq(&self.signed_by, keys.active_kid())
    }
}
