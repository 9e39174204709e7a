//! Statements on `oauth_access_tokens`.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Params, PostgresLink, decode};
use crate::{
    store::{AccountStatus, StoreError, TokenRecord, TokenStore},
    token::TokenHash,
};

/// Never without `revoked_at IS NULL`: newer Dify code leaves the hash on a row that it revoked.
const FIND_BY_HASH: &str = concat!(
    "SELECT t.id, t.prefix, t.subject_email, t.subject_issuer, t.account_id, a.status, t.client_id, ",
    end_of!("t"),
    ", t.expires_at <= now() AS expired \
     FROM oauth_access_tokens t LEFT JOIN accounts a ON a.id = t.account_id \
     WHERE t.token_hash = $1 AND t.revoked_at IS NULL"
);

/// The hash and the time are asked for again: between the lookup and this, the row may have been
/// rotated in place to a new token.
const EXPIRE: &str = "\
UPDATE oauth_access_tokens SET revoked_at = now(), token_hash = NULL \
WHERE id = $1 AND revoked_at IS NULL AND token_hash = $2 AND expires_at <= now() \
RETURNING id";

/// [`TokenStore`] in Dify's own table.
#[derive(Debug)]
pub struct PgTokenStore {
    link: Arc<PostgresLink>,
}

impl PgTokenStore {
    /// Builds the store on a pool.
    pub const fn new(link: Arc<PostgresLink>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl TokenStore for PgTokenStore {
    async fn find_by_hash(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        let hex = hash.to_hex();
        let rows = self
            .link
            .read_at_once(FIND_BY_HASH, &[(&hex.as_str(), Type::VARCHAR)])
            .await?;
        rows.first().map(record).transpose()
    }

    async fn expire(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError> {
        let hex = hash.to_hex();
        let params: &Params<'_> = &[(&id, Type::UUID), (&hex.as_str(), Type::VARCHAR)];
        let changed = self.link.run_at_once(EXPIRE, params).await?;
        Ok(!changed.is_empty())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.link.ping().await
    }
}

fn record(row: &Row) -> Result<TokenRecord, StoreError> {
    let read = || -> Result<TokenRecord, tokio_postgres::Error> {
        Ok(TokenRecord {
            id: row.try_get(0)?,
            prefix: row.try_get(1)?,
            subject_email: row.try_get(2)?,
            subject_issuer: row.try_get(3)?,
            account_id: row.try_get(4)?,
            account_status: row.try_get::<_, Option<&str>>(5)?.map(AccountStatus::parse),
            client_id: row.try_get(6)?,
            expires_at: row.try_get::<_, OffsetDateTime>(7)?.into(),
            expired: row.try_get(8)?,
        })
    };
    read().map_err(decode)
}
