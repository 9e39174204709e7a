//! Writes to `oauth_access_tokens`: logins, sessions and their ends.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Params, PostgresLink, decode};
use crate::{
    clock::Timestamp,
    store::{
        LEAST_ADVANCE, NewToken, Replaced, Session, SessionOwner, SessionStore, StoreError, Unsure,
        Written,
    },
    token::TokenHash,
};

/// Finds the live row of a device.
const LIVE: &str = "\
SELECT id, token_hash FROM oauth_access_tokens \
WHERE subject_email = $1 AND subject_issuer = $2 AND client_id = $3 AND device_label = $4 \
  AND revoked_at IS NULL";

/// Rotates a row in place if it still holds the hash that was found there. A write that was given
/// up may arrive late, when the next login has rotated the row: it must not take that one's token.
const ROTATE: &str = "\
UPDATE oauth_access_tokens SET token_hash = $1, prefix = $2, account_id = $3, expires_at = $4, \
       created_at = now(), last_used_at = NULL \
WHERE id = $5 AND revoked_at IS NULL AND token_hash IS NOT DISTINCT FROM $6 RETURNING id";

/// Inserts a row, unless another login of the same device has just done so: the partial unique
/// index `uq_oauth_active_per_device` admits one.
const INSERT: &str = "\
INSERT INTO oauth_access_tokens \
    (id, subject_email, subject_issuer, client_id, device_label, token_hash, prefix, account_id, \
     expires_at) \
VALUES ($9, $1, $2, $3, $4, $5, $6, $7, $8) \
ON CONFLICT (subject_email, subject_issuer, client_id, device_label) WHERE revoked_at IS NULL \
DO NOTHING RETURNING id";

const IS_LIVE: &str = "\
SELECT 1 FROM oauth_access_tokens \
WHERE id = $1 AND token_hash = $2 AND revoked_at IS NULL AND expires_at > now()";

/// Rows of one subject: `$1` the account, or NULL with `$2` the e-mail and `$3` the issuer.
macro_rules! owned {
    () => {
        "(($1::uuid IS NOT NULL AND account_id = $1) OR \
          ($1::uuid IS NULL AND account_id IS NULL AND subject_email = $2 AND subject_issuer = $3))"
    };
}

const SESSIONS: &str = concat!(
    "SELECT id, prefix, client_id, device_label, created_at, last_used_at, ",
    end_of!("t"),
    ", count(*) OVER () FROM oauth_access_tokens t WHERE ",
    owned!(),
    " AND revoked_at IS NULL AND expires_at > now() AND token_hash IS NOT NULL \
     ORDER BY created_at DESC, id DESC OFFSET $4 LIMIT $5"
);

const COUNT: &str = concat!(
    "SELECT count(*) FROM oauth_access_tokens WHERE ",
    owned!(),
    " AND revoked_at IS NULL AND expires_at > now() AND token_hash IS NOT NULL"
);

const HELD: &str = concat!(
    "SELECT token_hash FROM oauth_access_tokens WHERE id = $4 AND ",
    owned!(),
    " AND revoked_at IS NULL"
);

const REVOKE: &str = concat!(
    "UPDATE oauth_access_tokens t SET revoked_at = now(), token_hash = NULL \
     FROM (SELECT id, token_hash FROM oauth_access_tokens WHERE id = $4 AND ",
    owned!(),
    " AND revoked_at IS NULL FOR UPDATE) old \
     WHERE t.id = old.id RETURNING old.token_hash"
);

/// All notes of one flush in one statement; `$3` is the least advance in seconds.
const NOTE_USED: &str = "\
UPDATE oauth_access_tokens t SET last_used_at = used.at \
FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at) \
WHERE t.id = used.id AND t.revoked_at IS NULL AND t.created_at <= used.at \
  AND (t.last_used_at IS NULL OR t.last_used_at <= used.at - make_interval(secs => $3))";

/// The advisory lock of whoever prunes: `difygate` in ASCII, so that nobody else's is the same.
const PRUNE_LOCK: i64 = i64::from_be_bytes(*b"difygate");

/// Never a live row: revoked long ago, or ended long ago. The lock is this transaction's, and so
/// this statement's: it cannot be left behind.
const PRUNE: &str = "\
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($3) AS mine), \
     dead AS (SELECT t.id FROM turn, oauth_access_tokens t \
              WHERE turn.mine AND (t.revoked_at < now() - make_interval(days => $1) \
                 OR (t.revoked_at IS NULL AND t.expires_at < now() - make_interval(days => $1))) \
              LIMIT $2), \
     gone AS (DELETE FROM oauth_access_tokens t USING dead WHERE t.id = dead.id RETURNING 1) \
SELECT turn.mine, (SELECT count(*) FROM gone) FROM turn";

/// How often a write starts again when another login of the same device comes in between: each
/// time one of them has won, so this is how many may come at once.
const WRITE_TRIES: usize = 32;

/// [`SessionStore`] in Dify's own table.
#[derive(Debug)]
pub struct PgSessionStore {
    link: Arc<PostgresLink>,
}

impl PgSessionStore {
    /// Builds the store on a pool.
    pub const fn new(link: Arc<PostgresLink>) -> Self {
        Self { link }
    }
}

#[async_trait]
impl SessionStore for PgSessionStore {
    async fn write(&self, token: &NewToken) -> Result<Written, Unsure> {
        let hash = token.hash.to_hex();
        let hash = hash.as_str();
        let expires_at = OffsetDateTime::from(token.expires_at);
        let params: &Params<'_> = &[
            (&token.subject_email, Type::VARCHAR),
            (&token.subject_issuer, Type::VARCHAR),
            (&token.client_id, Type::VARCHAR),
            (&token.device_label, Type::VARCHAR),
            (&hash, Type::VARCHAR),
            (&token.prefix, Type::VARCHAR),
            (&token.account_id, Type::UUID),
            (&expires_at, Type::TIMESTAMPTZ),
            (&token.id, Type::UUID),
        ];
        // Whichever statement changes a row has done all there is to do, and is one transaction.
        for _ in 0..WRITE_TRIES {
            let live = self.link.read(LIVE, &params[..4]).await?;
            if let Some(row) = live.first() {
                let id: Uuid = row.try_get(0).map_err(decode)?;
                let old: Option<&str> = row.try_get(1).map_err(decode)?;
                let rotation: &Params<'_> = &[
                    (&hash, Type::VARCHAR),
                    (&token.prefix, Type::VARCHAR),
                    (&token.account_id, Type::UUID),
                    (&expires_at, Type::TIMESTAMPTZ),
                    (&id, Type::UUID),
                    (&old, Type::VARCHAR),
                ];
                let hash = old_hash(row, 1)?;
                let rotated = self.link.run(ROTATE, rotation).await;
                if !rotated.map_err(Unsure::about(hash))?.is_empty() {
                    let replaced = Some(Replaced { hash });
                    return Ok(Written { id, replaced });
                }
                continue;
            }
            if !self.link.run(INSERT, params).await?.is_empty() {
                return Ok(Written {
                    id: token.id,
                    replaced: None,
                });
            }
        }
        Err(StoreError::TimedOut {
            store: super::STORE,
        }
        .into())
    }

    async fn is_live(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError> {
        let hash = hash.to_hex();
        let params: &Params<'_> = &[(&id, Type::UUID), (&hash.as_str(), Type::VARCHAR)];
        Ok(!self.link.read(IS_LIVE, params).await?.is_empty())
    }

    async fn sessions(
        &self,
        owner: &SessionOwner,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Session>, u64), StoreError> {
        let (account, email, issuer) = columns(owner);
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let limit = i64::from(limit);
        let params: &Params<'_> = &[
            (&account, Type::UUID),
            (&email, Type::VARCHAR),
            (&issuer, Type::VARCHAR),
            (&offset, Type::INT8),
            (&limit, Type::INT8),
        ];
        let rows = self.link.read(SESSIONS, params).await?;
        let total = match rows.first() {
            Some(row) => row.try_get::<_, i64>(7).map_err(decode)?,
            // A page past the end says nothing about the whole.
            None if offset > 0 => {
                let rows = self.link.read(COUNT, &params[..3]).await?;
                rows.first()
                    .map_or(Ok(0), |row| row.try_get(0))
                    .map_err(decode)?
            }
            None => 0,
        };
        let sessions = rows.iter().map(session).collect::<Result<_, _>>();
        Ok((
            sessions.map_err(decode)?,
            u64::try_from(total).unwrap_or_default(),
        ))
    }

    async fn revoke(
        &self,
        owner: &SessionOwner,
        id: Uuid,
    ) -> Result<Option<Option<TokenHash>>, Unsure> {
        let (account, email, issuer) = columns(owner);
        let params: &Params<'_> = &[
            (&account, Type::UUID),
            (&email, Type::VARCHAR),
            (&issuer, Type::VARCHAR),
            (&id, Type::UUID),
        ];
        // A row that has ended holds no hash any more: what may end is asked for before.
        let live = self.link.read(HELD, params).await?;
        let Some(row) = live.first() else {
            return Ok(None);
        };
        let held = old_hash(row, 0)?;
        let rows = self.link.run(REVOKE, params).await;
        let rows = rows.map_err(Unsure::about(held))?;
        let ended = rows.first().map(|row| old_hash(row, 0)).transpose();
        Ok(ended?)
    }

    async fn note_used(&self, used: &[(Uuid, Timestamp)]) -> Result<(), StoreError> {
        let (ids, times): (Vec<Uuid>, Vec<OffsetDateTime>) = used
            .iter()
            .map(|(id, at)| (*id, OffsetDateTime::from(*at)))
            .unzip();
        let params: &Params<'_> = &[
            (&ids, Type::UUID_ARRAY),
            (&times, Type::TIMESTAMPTZ_ARRAY),
            (&LEAST_ADVANCE.as_secs_f64(), Type::FLOAT8),
        ];
        self.link.run(NOTE_USED, params).await.map(drop)
    }

    async fn prune(&self, days: u16, limit: u32) -> Result<Option<u64>, StoreError> {
        let (days, limit) = (i32::from(days), i64::from(limit));
        let params: &Params<'_> = &[
            (&days, Type::INT4),
            (&limit, Type::INT8),
            (&PRUNE_LOCK, Type::INT8),
        ];
        let rows = self.link.run(PRUNE, params).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let mine: bool = row.try_get(0).map_err(decode)?;
        let gone: i64 = row.try_get(1).map_err(decode)?;
        Ok(mine.then(|| u64::try_from(gone).unwrap_or_default()))
    }
}

fn columns(owner: &SessionOwner) -> (Option<Uuid>, Option<&str>, Option<&str>) {
    match owner {
        SessionOwner::Account(id) => (Some(*id), None, None),
        SessionOwner::External { email, issuer } => (None, Some(email), Some(issuer)),
    }
}

fn session(row: &Row) -> Result<Session, tokio_postgres::Error> {
    Ok(Session {
        id: row.try_get(0)?,
        prefix: row.try_get(1)?,
        client_id: row.try_get(2)?,
        device_label: row.try_get(3)?,
        created_at: row.try_get::<_, OffsetDateTime>(4)?.into(),
        last_used_at: row.try_get::<_, Option<OffsetDateTime>>(5)?.map(Into::into),
        expires_at: row.try_get::<_, OffsetDateTime>(6)?.into(),
    })
}

/// Reads a hash that a statement has returned; what is no SHA-256 in hexadecimal belongs to no
/// token, and so to no cache entry either.
fn old_hash(row: &Row, column: usize) -> Result<Option<TokenHash>, StoreError> {
    let hex: Option<&str> = row.try_get(column).map_err(decode)?;
    Ok(hex.and_then(TokenHash::from_hex))
}
