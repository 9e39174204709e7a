//! Signed envelopes: compact JWS (RFC 7515) under HS256, with one key set (`contract/jws.md`).

use std::{collections::BTreeMap, sync::Once, time::Duration};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::{clock::Timestamp, secret::Secret};

mod console;
mod hs256;

pub use console::ConsoleKey;

/// The audience of the identity that goes to an upstream.
const IDENTITY_AUDIENCE: &str = "api.gateway.identity";

/// Life of a signed identity: as long as the longest-lived cache entry.
const IDENTITY_LIFE: Duration = Duration::from_secs(60);

/// The keys that sign, by their ids.
pub struct KeySet {
    active_kid: String,
    active: EncodingKey,
}

impl KeySet {
    /// Builds the set; `None` when `active_kid` is not one of `keys`.
    pub fn new(keys: &BTreeMap<String, Secret>, active_kid: &str) -> Option<Self> {
        install_provider();
        Some(Self {
            active_kid: active_kid.to_owned(),
            active: EncodingKey::from_secret(keys.get(active_kid)?.expose().as_bytes()),
        })
    }

    /// Signs who a request speaks for, for 60 seconds from `now`.
    ///
    /// # Errors
    ///
    /// When the claims cannot be written as JSON.
    pub fn sign_identity(
        &self,
        claims: &IdentityClaims<'_>,
        now: Timestamp,
    ) -> Result<SignedIdentity, jsonwebtoken::errors::Error> {
        let expires_at = now.plus(IDENTITY_LIFE);
        let envelope = Envelope {
            claims,
            aud: IDENTITY_AUDIENCE,
            iat: now.unix_seconds(),
            exp: expires_at.unix_seconds(),
        };
        let header = Header {
            kid: Some(self.active_kid.clone()),
            ..Header::default()
        };
        let jws = jsonwebtoken::encode(&header, &envelope, &self.active)?;
        Ok(SignedIdentity { jws, expires_at })
    }
}

impl std::fmt::Debug for KeySet {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet")
            .field("active_kid", &self.active_kid)
            .finish_non_exhaustive()
    }
}

fn install_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(hs256::install);
}

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

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(flatten)]
    claims: &'a IdentityClaims<'a>,
    aud: &'static str,
    iat: i64,
    exp: i64,
}

/// A signed identity and its end.
#[derive(Debug, Clone)]
pub struct SignedIdentity {
    /// The compact JWS.
    pub jws: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use hmac::{Hmac, KeyInit as _, Mac as _};

    use super::*;

    const SECRET: &str = "sk-test";

    fn claims() -> IdentityClaims<'static> {
        IdentityClaims {
            subject_type: "account",
            subject_email: "ada@example.com",
            subject_issuer: "dify:account",
            account_id: Some("0196c3a0-1111-7000-8000-000000000001".into()),
            client_id: Some("difyctl"),
            token_id: "0196c3a0-3333-7000-8000-000000000003".into(),
            scopes: "full",
        }
    }

    fn keys() -> BTreeMap<String, Secret> {
        BTreeMap::from([("k1".to_owned(), Secret::new(SECRET.to_owned()))])
    }

    #[test]
    fn an_identity_is_a_compact_jws_under_the_active_key() {
        let now = Timestamp::from_unix_seconds(1_780_000_000);
        let keys = KeySet::new(&keys(), "k1").unwrap();

        let signed = keys.sign_identity(&claims(), now).unwrap();

        let (message, signature) = signed.jws.rsplit_once('.').unwrap();
        let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.chain_update(message)
            .verify_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let part = |part: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (header, body) = message.split_once('.').unwrap();
        assert_eq!(
            part(header),
            serde_json::json!({"typ": "JWT", "alg": "HS256", "kid": "k1"})
        );
        let body = part(body);
        assert_eq!(body["aud"], "api.gateway.identity");
        assert_eq!(
            (body["iat"].as_i64(), body["exp"].as_i64()),
            (Some(1_780_000_000), Some(1_780_000_060))
        );
        assert_eq!(body["subject_email"], "ada@example.com");
    }

    #[test]
    fn the_active_key_must_be_in_the_set_and_is_never_printed() {
        assert!(KeySet::new(&keys(), "k2").is_none());
        let printed = format!("{:?}", KeySet::new(&keys(), "k1").unwrap());
        assert!(!printed.contains(SECRET));
    }
}
