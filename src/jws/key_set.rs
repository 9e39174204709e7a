//! The key set: several kids verify, one signs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Envelope, Jws, NotSigned, Readable, Refused, Sealed, Verified, header::PresentedHeader,
    install_provider,
};
use crate::{clock::Timestamp, secret::Secret};

/// What signing alone may say.
const RESERVED: [&str; 3] = ["aud", "iat", "exp"];

/// The keys of the envelopes, by their ids.
pub struct KeySet {
    active_kid: Arc<str>,
    active: EncodingKey,
    verifying: BTreeMap<String, DecodingKey>,
    rules: Validation,
}

/// Why there is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// The active kid is not one of the set.
    #[error("the active kid is not in the key set")]
    ActiveKid,
    /// A secret is empty: everybody could sign.
    #[error("a secret of the key set is empty")]
    EmptySecret,
}

impl KeySet {
    /// Builds the set.
    ///
    /// # Errors
    ///
    /// [`InvalidKeys`].
    pub fn new(keys: &BTreeMap<String, Secret>, active_kid: &str) -> Result<Self, InvalidKeys> {
        install_provider();
        let active = keys.get(active_kid).ok_or(InvalidKeys::ActiveKid)?;
        if keys.values().any(Secret::is_empty) {
            return Err(InvalidKeys::EmptySecret);
        }
        let verifying = keys
            .iter()
            .map(|(kid, secret)| {
                let key = DecodingKey::from_secret(secret.expose().as_bytes());
                (kid.clone(), key)
            })
            .collect();
        Ok(Self {
            active_kid: active_kid.into(),
            active: EncodingKey::from_secret(active.expose().as_bytes()),
            verifying,
            rules: signature_alone(),
        })
    }

    /// Returns the kid that signs. Every set has an `Arc` of its own, which tells it from any
    /// other.
    pub fn active_kid(&self) -> &Arc<str> {
        &self.active_kid
    }

    /// Signs claims under the active key, for [`Envelope::LIFE`] from `now`.
    ///
    /// # Errors
    ///
    /// [`NotSigned`].
    pub fn sign<E: Envelope + Serialize>(
        &self,
        claims: &E,
        now: Timestamp,
    ) -> Result<Jws<E>, NotSigned> {
        const { assert!(E::LIFE.as_secs() > 0, "an envelope has a life") };
        let Ok(Value::Object(claims)) = serde_json::to_value(claims) else {
            return Err(NotSigned::Claims);
        };
        if let Some(name) = RESERVED.into_iter().find(|name| claims.contains_key(*name)) {
            return Err(NotSigned::Reserved(name));
        }
        let sealed = Sealed {
            claims: &claims,
            aud: E::AUDIENCE,
            iat: now.unix_seconds(),
            exp: now.plus(E::LIFE).unix_seconds(),
        };
        let header = Header {
            kid: Some(self.active_kid.to_string()),
            ..Header::default()
        };
        Ok(Jws::new(jsonwebtoken::encode(
            &header,
            &sealed,
            &self.active,
        )?))
    }

    /// Verifies an envelope. No claim is looked at before the signature holds; there is no leeway.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn verify<E: Readable>(
        &self,
        jws: &Jws<E>,
        now: Timestamp,
    ) -> Result<Verified<E>, Refused> {
        let key = self.key_of(jws.expose())?;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(jws.expose(), key, &self.rules);
        let claims = decoded
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => Refused::Signature,
                ErrorKind::InvalidAlgorithm => Refused::Algorithm,
                _ => Refused::Malformed,
            })?
            .claims;
        if !is_for(claims.get("aud"), E::AUDIENCE) {
            return Err(Refused::Audience);
        }
        let expires_at = life(&claims, now)?;
        let claims: E =
            serde_json::from_value(Value::Object(claims)).map_err(|_| Refused::Shape)?;
        if !claims.is_well_formed() {
            return Err(Refused::Shape);
        }
        Ok(Verified { claims, expires_at })
    }

    /// Finds the key that an envelope names.
    fn key_of(&self, jws: &str) -> Result<&DecodingKey, Refused> {
        let kid = PresentedHeader::of(jws)?.kid.ok_or(Refused::MissingKid)?;
        self.verifying.get(&kid).ok_or(Refused::UnknownKid)
    }
}

impl fmt::Debug for KeySet {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("active_kid", &self.active_kid)
            .finish_non_exhaustive()
    }
}

/// The library checks the signature; times and audience are checked here, by the clock that is
/// passed in and without the library's leeway.
fn signature_alone() -> Validation {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    rules
}

/// `aud` is a string, or a list of strings that holds the right one (RFC 7519 section 4.1.3).
fn is_for(aud: Option<&Value>, expected: &str) -> bool {
    match aud {
        Some(Value::String(aud)) => aud == expected,
        Some(Value::Array(all)) => {
            all.iter().all(Value::is_string) && all.iter().any(|aud| aud == expected)
        }
        _ => false,
    }
}

/// Checks the times; returns the end. A fraction of a second at the end is dropped, as PyJWT does.
fn life(claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Refused> {
    let seconds = now.unix_micros() as f64 / 1e6;
    for name in ["iat", "nbf"] {
        match claims.get(name).map(Value::as_f64) {
            None => {}
            Some(Some(at)) if at <= seconds => {}
            Some(_) => return Err(Refused::Times),
        }
    }
    let exp = claims.get("exp").and_then(Value::as_f64);
    // Saturates at the ends of the calendar.
    let exp = Timestamp::from_unix_seconds(exp.ok_or(Refused::Times)?.floor() as i64);
    if exp <= now {
        return Err(Refused::Expired);
    }
    Ok(exp)
}
