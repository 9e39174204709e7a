//! Logins and sessions in the token table, as the domain needs them.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::{clock::Timestamp, token::TokenHash};

/// Least time between two notes of one token's use, all processes together.
pub const LEAST_ADVANCE: Duration = Duration::from_secs(60);

/// A token to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The id that a new row gets; a rotated row keeps its own.
    pub id: Uuid,
    /// The token's prefix.
    pub prefix: &'static str,
    /// The subject's e-mail.
    pub subject_email: String,
    /// `dify:account`, or the identity provider's issuer; never absent, or two rows of one device
    /// could be live at once.
    pub subject_issuer: String,
    /// The account, for account tokens.
    pub account_id: Option<Uuid>,
    /// The OAuth client.
    pub client_id: String,
    /// What the device calls itself.
    pub device_label: String,
    /// The new token's hash.
    pub hash: TokenHash,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A token that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The row.
    pub id: Uuid,
    /// The hash that the row had before, where it was rotated in place.
    pub replaced: Option<Replaced>,
}

/// What a rotation put an end to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The old hash; absent on a row that newer Dify code has emptied.
    pub hash: Option<TokenHash>,
}

/// The store could not say whether it has ended a token.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unsure {
    /// Why.
    #[source]
    pub error: StoreError,
    /// The token that may have ended all the same: what was sent may still take effect.
    pub ended: Option<TokenHash>,
}

impl Unsure {
    /// Says what may have become of `ended`. A refusal leaves no doubt, nor does what was never sent.
    pub fn about(ended: Option<TokenHash>) -> impl FnOnce(StoreError) -> Self {
        move |error| {
            let sent = match &error {
                StoreError::TimedOut { .. } => true,
                StoreError::Unreachable { source, .. } => source.is_some(),
                StoreError::Rejected { .. } => false,
            };
            Self {
                error,
                ended: ended.filter(|_| sent),
            }
        }
    }
}

impl From<StoreError> for Unsure {
    /// Nothing that was there has ended.
    fn from(error: StoreError) -> Self {
        Self { error, ended: None }
    }
}

/// Whose sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOwner {
    /// An account.
    Account(Uuid),
    /// A person without one.
    External {
        /// Their e-mail.
        email: String,
        /// Their identity provider.
        issuer: String,
    },
}

/// A session, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The token's row.
    pub id: Uuid,
    /// The token's prefix.
    pub prefix: String,
    /// The OAuth client.
    pub client_id: String,
    /// What the device calls itself.
    pub device_label: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last used, where that is known.
    pub last_used_at: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Writes to the token table: logins, sessions, their ends.
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// Writes a token: rotates the live row of the same subject, client and device in place, or
    /// inserts one. One transaction.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done; the rotated row's old token may have ended.
    async fn write(&self, token: &NewToken) -> Result<Written, Unsure>;

    /// Tells whether the row `id` is live: unrevoked, unexpired, and still holding `hash`.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn is_live(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError>;

    /// Lists the owner's live sessions, the newest first, and counts all of them.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    async fn sessions(
        &self,
        owner: &SessionOwner,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Session>, u64), StoreError>;

    /// Revokes the owner's session `id`; `None` when there is no such unrevoked one, otherwise the
    /// hash it had.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done; the session's token may have ended.
    async fn revoke(
        &self,
        owner: &SessionOwner,
        id: Uuid,
    ) -> Result<Option<Option<TokenHash>>, Unsure>;

    /// Notes when tokens were last used. A note never moves back, nor on by less than
    /// [`LEAST_ADVANCE`], and what was used before the row got its present token is not noted.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn note_used(&self, used: &[(Uuid, Timestamp)]) -> Result<(), StoreError>;

    /// Deletes up to `limit` rows that were revoked, or ended unrevoked, more than `days` ago, and
    /// returns how many; `None` while another process is at it. One transaction; never a live row.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether it was done.
    async fn prune(&self, days: u16, limit: u32) -> Result<Option<u64>, StoreError>;
}
