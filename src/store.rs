//! What the domain needs from storage, and the errors it can meet.
//!
//! `Ok(None)` is a fact: the thing is not there. `Err` is ignorance: nobody could say. The two are
//! never mixed up; ignorance is never cached and never becomes a 401.
//!
//! Every call has a deadline of its own inside the implementation (`postgres.timeout`,
//! `redis.timeout`), and dropping a call's future is safe at any point: what was sent may still
//! take effect, which the callers' protocols allow for.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{clock::Timestamp, token::TokenHash};

mod directory;
pub mod embedded;
mod flow;
mod nonces;
mod observer;
pub mod postgres;
pub mod redis;
mod sessions;

pub use directory::{Directory, Person, Workspace};
pub use flow::{FlowStore, FlowValue, Windows};
pub use nonces::{Nonce, Nonces};
pub use observer::CacheObserver;
pub use sessions::{
    LEAST_ADVANCE, NewToken, Replaced, Session, SessionOwner, SessionStore, Unsure, Written,
};

/// Why a store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer within the configured time.
    #[error("{store} did not answer in time")]
    TimedOut {
        /// The store, as the log names it.
        store: &'static str,
    },
    /// There is no connection, or it broke.
    #[error("{store} cannot be reached")]
    Unreachable {
        /// The store, as the log names it.
        store: &'static str,
        /// What the client library said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store answered with an error of its own, such as a missing table or right.
    #[error("{store} refused the request")]
    Rejected {
        /// The store, as the log names it.
        store: &'static str,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A row of `oauth_access_tokens` that is not revoked, with its account's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The row's id; safe to log.
    pub id: Uuid,
    /// The prefix that the row says its token has.
    pub prefix: String,
    /// The subject's e-mail.
    pub subject_email: String,
    /// `dify:account`, or the identity provider's issuer.
    pub subject_issuer: Option<String>,
    /// The account, for `dfoa_` tokens.
    pub account_id: Option<Uuid>,
    /// The account's status, absent where there is no such account.
    pub account_status: Option<AccountStatus>,
    /// The OAuth client that the token was issued to.
    pub client_id: String,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// Whether that is past, by the store's own clock.
    pub expired: bool,
}

/// Whether an account may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// `active`, `pending` or `uninitialized`: may act.
    Usable,
    /// `banned`, `closed` or anything unknown: may not.
    Blocked,
}

impl AccountStatus {
    /// Reads the value of `accounts.status`.
    pub fn parse(status: &str) -> Self {
        match status {
            "active" | "pending" | "uninitialized" => Self::Usable,
            _ => Self::Blocked,
        }
    }
}

/// The truth about tokens: Postgres, in production.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// Finds the unrevoked token with this hash, expired or not.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn find_by_hash(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError>;

    /// Revokes the token `id` because its time is over; `true` for the one caller that did it.
    ///
    /// A row whose hash is no longer `hash`, or whose time is not over after all, is left alone: a
    /// rotation in place may have given the same row a new token.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn expire(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError>;

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    ///
    /// When there is none.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// A value found in the shared cache.
#[derive(Clone, PartialEq, Eq)]
pub struct CachedValue {
    /// The bytes, as whoever wrote them left them.
    pub bytes: Vec<u8>,
    /// How long the value will stay; absent for a key without a TTL.
    pub remaining: Option<Duration>,
}

impl fmt::Debug for CachedValue {
    /// Leaves the bytes out: they hold a person's e-mail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedValue")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Tells one connection to the cache from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheConnection(pub u64);

/// The cache that every gateway and every Dify process shares: Redis, in production.
///
/// Values are opaque here; [`crate::check`] knows what they say.
#[async_trait]
pub trait TokenCache: Send + Sync + fmt::Debug {
    /// Reads the value under `hash` and its remaining time, in one step.
    ///
    /// # Errors
    ///
    /// When the cache cannot say.
    async fn read(&self, hash: &TokenHash) -> Result<Option<CachedValue>, StoreError>;

    /// Puts `lease` under `hash` for `ttl` if the present value is exactly `expected` (`None`: if
    /// there is none); `true` if it did. One atomic step.
    ///
    /// # Errors
    ///
    /// When the cache cannot say whether it was done.
    async fn claim(
        &self,
        hash: &TokenHash,
        expected: Option<&[u8]>,
        lease: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Returns which connection a command would use now.
    fn connection(&self) -> CacheConnection;

    /// Replaces `lease` by `value` for `ttl` if it is still there; `true` if it did. One atomic
    /// step, on no other connection than `on`: another server may never have heard that the lease
    /// was deleted.
    ///
    /// # Errors
    ///
    /// When the cache cannot say whether it was done, or the connection is another one by now.
    async fn settle(
        &self,
        hash: &TokenHash,
        lease: &[u8],
        value: &[u8],
        ttl: Duration,
        on: CacheConnection,
    ) -> Result<bool, StoreError>;

    /// Puts `value` under `hash` for `ttl`, whatever was there; `true` if it did. `false`: there is
    /// no room for it, and what was there is gone.
    ///
    /// # Errors
    ///
    /// When the cache cannot say whether what was there is gone.
    async fn overwrite(
        &self,
        hash: &TokenHash,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Asks the cache for a sign of life.
    ///
    /// # Errors
    ///
    /// When there is none.
    async fn ping(&self) -> Result<(), StoreError>;
}
