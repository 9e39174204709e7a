//! Stores in memory: for `difygate demo`, and for the fast half of the contract tests.
//!
//! They keep the promises of the traits, atomicity included, and forget everything at exit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{CacheConnection, CachedValue, StoreError, TokenCache, TokenRecord, TokenStore};
use crate::{
    clock::{Clock, Monotonic, Timestamp},
    token::TokenHash,
};

mod directory;
mod flow;
mod nonces;
mod sessions;
mod windows;

pub use directory::EmbeddedDirectory;
pub use flow::EmbeddedFlows;
pub use nonces::EmbeddedNonces;
pub use windows::EmbeddedWindows;

/// A token table in memory.
#[derive(Debug)]
pub struct EmbeddedTokens {
    clock: Arc<dyn Clock>,
    rows: Mutex<HashMap<Uuid, Row>>,
}

#[derive(Debug)]
struct Row {
    /// `None` once revoked.
    hash: Option<TokenHash>,
    device_label: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    record: TokenRecord,
}

impl Row {
    /// Revokes the row; the hash it had, where it was live.
    fn end(&mut self, now: Timestamp) -> Option<TokenHash> {
        let hash = self.hash.take()?;
        self.revoked_at = Some(now);
        Some(hash)
    }
}

impl EmbeddedTokens {
    /// Builds an empty table whose idea of "now" is `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            rows: Mutex::default(),
        }
    }

    /// Adds a live row of a device; `record.expired` is ignored, the clock decides.
    pub fn insert(&self, hash: TokenHash, device_label: &str, record: TokenRecord) {
        let row = Row {
            hash: Some(hash),
            device_label: device_label.to_owned(),
            created_at: self.clock.now(),
            last_used_at: None,
            revoked_at: None,
            record,
        };
        lock(&self.rows).insert(row.record.id, row);
    }

    /// Revokes the row `id`; `false` when there is no live one.
    pub fn revoke(&self, id: Uuid) -> bool {
        let now = self.clock.now();
        lock(&self.rows)
            .get_mut(&id)
            .is_some_and(|row| row.end(now).is_some())
    }
}

#[async_trait]
impl TokenStore for EmbeddedTokens {
    async fn find_by_hash(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        let now = self.clock.now();
        let rows = lock(&self.rows);
        let found = rows.values().find(|row| row.hash.as_ref() == Some(hash));
        Ok(found.map(|row| TokenRecord {
            expired: row.record.expires_at <= now,
            ..row.record.clone()
        }))
    }

    async fn expire(&self, id: Uuid, hash: &TokenHash) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut rows = lock(&self.rows);
        let Some(row) = rows.get_mut(&id) else {
            return Ok(false);
        };
        if row.hash.as_ref() != Some(hash) || row.record.expires_at > now {
            return Ok(false);
        }
        row.end(now);
        Ok(true)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A shared cache in memory; shared by whoever holds the same value.
#[derive(Debug)]
pub struct EmbeddedCache {
    clock: Arc<dyn Clock>,
    values: Mutex<HashMap<TokenHash, (Vec<u8>, Monotonic)>>,
}

impl EmbeddedCache {
    /// Builds an empty cache whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            values: Mutex::default(),
        }
    }

    /// Removes the value under `hash`, as Dify does after a revocation.
    pub fn delete(&self, hash: &TokenHash) {
        lock(&self.values).remove(hash);
    }

    /// Replaces the value if `holds` says so of the present one.
    fn put_if(
        &self,
        hash: &TokenHash,
        value: &[u8],
        ttl: Duration,
        holds: impl FnOnce(Option<&[u8]>) -> bool,
    ) -> bool {
        let now = self.clock.monotonic();
        let mut values = lock(&self.values);
        let present = values
            .get(hash)
            .filter(|(_, until)| *until > now)
            .map(|(value, _)| value.as_slice());
        let put = holds(present);
        if put {
            values.insert(*hash, (value.to_vec(), now.plus(ttl)));
        }
        put
    }
}

#[async_trait]
impl TokenCache for EmbeddedCache {
    async fn read(&self, hash: &TokenHash) -> Result<Option<CachedValue>, StoreError> {
        let now = self.clock.monotonic();
        let values = lock(&self.values);
        Ok(values
            .get(hash)
            .filter(|(_, until)| *until > now)
            .map(|(bytes, until)| CachedValue {
                bytes: bytes.clone(),
                remaining: Some(until.since(now)),
            }))
    }

    async fn claim(
        &self,
        hash: &TokenHash,
        expected: Option<&[u8]>,
        lease: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.put_if(hash, lease, ttl, |present| present == expected))
    }

    fn connection(&self) -> CacheConnection {
        CacheConnection::default()
    }

    async fn settle(
        &self,
        hash: &TokenHash,
        lease: &[u8],
        value: &[u8],
        ttl: Duration,
        _on: CacheConnection,
    ) -> Result<bool, StoreError> {
        Ok(self.put_if(hash, value, ttl, |present| present == Some(lease)))
    }

    async fn overwrite(
        &self,
        hash: &TokenHash,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.put_if(hash, value, ttl, |_| true))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Locks in spite of a panic elsewhere: every change here is a single insert or removal, so that
/// no half-made state can be seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
