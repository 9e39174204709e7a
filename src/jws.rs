//! Signed envelopes: compact JWS (RFC 7515) under HS256, with one key set (`contract/jws.md`).
//!
//! Each envelope is a type of its own, with its audience and its life. A [`Jws`] says which one it
//! is, so that the compiler refuses a grant where an assertion is expected; the audience refuses
//! it once more, since bytes from outside carry no types.

use std::{fmt, marker::PhantomData, sync::Once, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{clock::Timestamp, config::DifyConfig};

mod claims;
mod console;
mod header;
mod hs256;
mod identity;
mod key_set;
#[cfg(test)]
mod tests;

pub use claims::{ApprovalGrant, SsoState, SubjectAssertion};
pub use console::ConsoleKey;
pub use identity::{IdentityClaims, SignedIdentity};
pub use key_set::{InvalidKeys, KeySet};

/// The keys in force: those of the envelopes and that of Dify's console. They are replaced
/// together, so that no request sees one of before and one of after.
#[derive(Debug)]
pub struct Keys {
    /// The envelopes' keys, by kid.
    pub envelopes: KeySet,
    /// The key of the console's cookies.
    pub console: ConsoleKey,
}

impl Keys {
    /// Takes the keys of a configuration.
    ///
    /// # Errors
    ///
    /// [`InvalidKeys`].
    pub fn from_config(dify: &DifyConfig) -> Result<Self, InvalidKeys> {
        Ok(Self {
            envelopes: KeySet::new(&dify.keys, &dify.active_kid)?,
            console: ConsoleKey::new(&dify.secret_key),
        })
    }
}

/// Claims that travel in an envelope of their own.
pub trait Envelope {
    /// Who it is for: `aud`.
    const AUDIENCE: &'static str;

    /// How long it holds: `exp` − `iat`, whole seconds, more than zero.
    const LIFE: Duration;
}

/// Claims that can be read from an envelope.
pub trait Readable: Envelope + DeserializeOwned {
    /// Tells whether every claim has the shape that `contract/jws.md` gives it.
    fn is_well_formed(&self) -> bool;
}

/// A compact JWS that is, or says it is, an envelope of `E`.
///
/// It is a credential for as long as it lives: never printed.
pub struct Jws<E> {
    text: String,
    envelope: PhantomData<fn() -> E>,
}

impl<E> Jws<E> {
    /// Takes what somebody presents as an `E`; [`KeySet::verify`] says whether it is one.
    pub fn presented(text: &str) -> Self {
        Self::new(text.to_owned())
    }

    fn new(text: String) -> Self {
        Self {
            text,
            envelope: PhantomData,
        }
    }

    /// Returns the text, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl<E> fmt::Debug for Jws<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jws(…)")
    }
}

/// An envelope whose signature, audience, time and shape hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<E> {
    /// What it says.
    pub claims: E,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why nothing was signed: always a mistake in the code, never a caller's.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// The claims name what only signing may say.
    #[error("the claims must not name `{0}`")]
    Reserved(&'static str),
    /// The claims are no JSON object.
    #[error("the claims are no JSON object")]
    Claims,
    /// The library could not sign.
    #[error(transparent)]
    Library(#[from] jsonwebtoken::errors::Error),
}

/// Why an envelope is refused. For the log at most: whoever presented it is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not three parts of base64url, or not JSON inside them.
    #[error("malformed")]
    Malformed,
    /// Another algorithm than HS256, or extensions that must be understood.
    #[error("another algorithm")]
    Algorithm,
    /// No `kid`.
    #[error("no kid")]
    MissingKid,
    /// A `kid` that is not in the set. There is no fall-back.
    #[error("an unknown kid")]
    UnknownKid,
    /// The signature is not the key's.
    #[error("a wrong signature")]
    Signature,
    /// For somebody else, or for nobody.
    #[error("another audience")]
    Audience,
    /// Past its end.
    #[error("expired")]
    Expired,
    /// `exp`, `iat` or `nbf` missing where required, not a number, or in the future.
    #[error("unusable times")]
    Times,
    /// The claims have not the shape of this envelope.
    #[error("claims of another shape")]
    Shape,
}

fn install_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(hs256::install);
}

/// What signing adds.
#[derive(Serialize)]
struct Sealed<'a> {
    #[serde(flatten)]
    claims: &'a serde_json::Map<String, serde_json::Value>,
    aud: &'static str,
    iat: i64,
    exp: i64,
}
