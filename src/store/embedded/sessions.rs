//! Writes to the token table in memory: logins, sessions and their ends.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{EmbeddedTokens, Row, lock};
use crate::{
    clock::Timestamp,
    store::{
        AccountStatus, LEAST_ADVANCE, NewToken, Replaced, Session, SessionOwner, SessionStore,
        StoreError, TokenRecord, Unsure, Written,
    },
    token::TokenHash,
};

#[async_trait]
impl SessionStore for EmbeddedTokens {
    async fn write(&self, token: &NewToken) -> Result<Written, Unsure> {
        let now = self.clock.now();
        let mut rows = lock(&self.rows);
        let same_device = |row: &Row| {
            row.hash.is_some()
                && row.record.subject_email == token.subject_email
                && row.record.subject_issuer.as_deref() == Some(&token.subject_issuer)
                && row.record.client_id == token.client_id
                && row.device_label == token.device_label
        };
        let before = rows.values().find(|row| same_device(row));
        let (id, replaced) = match before {
            Some(row) => (row.record.id, Some(Replaced { hash: row.hash })),
            None => (token.id, None),
        };
        let row = Row {
            hash: Some(token.hash),
            device_label: token.device_label.clone(),
            created_at: now,
            last_used_at: None,
            revoked_at: None,
            record: TokenRecord {
                id,
                prefix: token.prefix.to_owned(),
                subject_email: token.subject_email.clone(),
                subject_issuer: Some(token.subject_issuer.clone()),
                account_id: token.account_id,
                account_status: token.account_id.map(|_| AccountStatus::Usable),
                client_id: token.client_id.clone(),
                expires_at: token.expires_at,
                expired: false,
            },
        };
        rows.insert(id, row);
        Ok(Written { id, replaced })
    }

    async fn is_live(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let rows = lock(&self.rows);
        let row = rows.get(&id);
        Ok(row.is_some_and(|row| row.hash.as_ref() == Some(hash) && row.record.expires_at > now))
    }

    async fn sessions(
        &self,
        owner: &SessionOwner,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Session>, u64), StoreError> {
        let now = self.clock.now();
        let rows = lock(&self.rows);
        let mut live: Vec<&Row> = rows
            .values()
            .filter(|row| row.is_live(now) && row.belongs_to(owner))
            .collect();
        live.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.record.id)));
        let total = live.len() as u64;
        let page = live
            .into_iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
            .take(limit as usize)
            .map(Row::session);
        Ok((page.collect(), total))
    }

    async fn revoke(
        &self,
        owner: &SessionOwner,
        id: Uuid,
    ) -> Result<Option<Option<TokenHash>>, Unsure> {
        let now = self.clock.now();
        let mut rows = lock(&self.rows);
        let row = rows.get_mut(&id).filter(|row| row.belongs_to(owner));
        Ok(row.and_then(|row| row.end(now)).map(Some))
    }

    async fn note_used(&self, used: &[(Uuid, Timestamp)]) -> Result<(), StoreError> {
        let mut rows = lock(&self.rows);
        for (id, at) in used {
            let row = rows.get_mut(id);
            let Some(row) = row.filter(|row| row.hash.is_some() && row.created_at <= *at) else {
                continue;
            };
            let advances = |before: Timestamp| before.plus(LEAST_ADVANCE) <= *at;
            if row.last_used_at.is_none_or(advances) {
                row.last_used_at = Some(*at);
            }
        }
        Ok(())
    }

    async fn prune(&self, days: u16, limit: u32) -> Result<Option<u64>, StoreError> {
        let now = self.clock.now();
        let retention = Duration::from_secs(u64::from(days) * 86_400);
        let mut rows = lock(&self.rows);
        let ended = |row: &Row| row.revoked_at.unwrap_or(row.record.expires_at);
        let dead: Vec<Uuid> = rows
            .values()
            .filter(|row| ended(row).plus(retention) < now)
            .map(|row| row.record.id)
            .take(limit as usize)
            .collect();
        for id in &dead {
            rows.remove(id);
        }
        Ok(Some(dead.len() as u64))
    }
}

impl Row {
    fn is_live(&self, now: Timestamp) -> bool {
        self.hash.is_some() && self.record.expires_at > now
    }

    fn belongs_to(&self, owner: &SessionOwner) -> bool {
        match owner {
            SessionOwner::Account(id) => self.record.account_id == Some(*id),
            SessionOwner::External { email, issuer } => {
                self.record.account_id.is_none()
                    && self.record.subject_email == *email
                    && self.record.subject_issuer.as_deref() == Some(issuer)
            }
        }
    }

    fn session(&self) -> Session {
        Session {
            id: self.record.id,
            prefix: self.record.prefix.clone(),
            client_id: self.record.client_id.clone(),
            device_label: self.device_label.clone(),
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            expires_at: self.record.expires_at,
        }
    }
}
