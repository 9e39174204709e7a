//! What may be used once, as the domain needs it.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::StoreError;

/// Something that may be used once, by the nonce in it (`contract/storage.md`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Nonce {
    /// Of a subject assertion.
    Assertion(String),
    /// Of an approval grant.
    Grant(String),
}

impl Nonce {
    /// Returns the key, without `redis.key_prefix`.
    pub fn key(&self) -> String {
        match self {
            Self::Assertion(nonce) => format!("sso_assertion_nonce:{nonce}"),
            Self::Grant(nonce) => format!("device_approval_grant_nonce:{nonce}"),
        }
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion(…)",
            Self::Grant(_) => "Grant(…)",
        })
    }
}

/// Uses of what may be used once: Redis, in production.
#[async_trait]
pub trait Nonces: Send + Sync + fmt::Debug {
    /// Uses `nonce` up for `ttl`; `true` for the one caller that did. One atomic step.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done; then it may have been.
    async fn claim(&self, nonce: &Nonce, ttl: Duration) -> Result<bool, StoreError>;
}
