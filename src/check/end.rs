//! Ending a token that has just been revoked or replaced: refused here at once, and in Redis as
//! soon as Redis can be reached.
//!
//! A Redis that is full takes no refusal. What stands there of the token is deleted then, as Dify
//! does it: everybody is told, and a fill that is under way has lost its lease. The refusal is tried
//! again all the same, since a fill of Dify's, which has no lease, may put the token back.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{Desk, TokenChecker, coherence::LONGEST_LIFE, entry::REFUSED};
use crate::{clock::Monotonic, health::Chain, store::StoreError, token::TokenHash};

/// Most refusals that wait for Redis to come back: 40 bytes each. Past that the oldest is given
/// up, and what stands in Redis of its token ends by itself within a minute.
const MOST_OVERDUE: usize = 10_000;

/// Refusals that could not be written yet, whichever was tried last at the end.
#[derive(Debug, Default)]
pub(super) struct Overdue(Mutex<VecDeque<(TokenHash, Monotonic)>>);

impl Overdue {
    fn add(&self, hash: TokenHash, since: Monotonic) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MOST_OVERDUE {
            waiting.pop_front();
        }
        waiting.push_back((hash, since));
    }

    fn len(&self) -> usize {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.len()
    }

    /// Takes the next one that still matters: what was in Redis when it could not be written
    /// may still be there.
    fn take(&self, now: Monotonic) -> Option<(TokenHash, Monotonic)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((hash, since)) = waiting.pop_front() {
            if now.since(since) < LONGEST_LIFE {
                return Some((hash, since));
            }
        }
        None
    }
}

impl Desk {
    /// Puts a refusal in Redis whatever stands there: the truth has said so, and a token that is
    /// gone never comes back. Where that fails it is done later.
    ///
    /// # Errors
    ///
    /// When Redis could not say that nothing is left there of the token.
    pub(super) async fn publish_refusal(&self, hash: &TokenHash) -> Result<(), StoreError> {
        self.coherence.changed(hash);
        self.write_refusal(hash, self.stores.clock.monotonic())
            .await
    }

    /// Writes the refusals that are overdue, each once, until Redis cannot be asked.
    pub(super) async fn catch_up(&self) {
        for _ in 0..self.overdue.len() {
            let Some((hash, since)) = self.overdue.take(self.stores.clock.monotonic()) else {
                return;
            };
            if self.write_refusal(&hash, since).await.is_err() {
                return;
            }
        }
    }

    /// Writes a refusal that is due `since` then, or notes that it is overdue.
    async fn write_refusal(&self, hash: &TokenHash, since: Monotonic) -> Result<(), StoreError> {
        let ttl = self.settings.negative_ttl;
        let overwritten = self.stores.cache.overwrite(hash, REFUSED, ttl).await;
        match &overwritten {
            Ok(true) => return Ok(()),
            Ok(false) => {
                if self.complaints.is_due(self.stores.clock.monotonic()) {
                    tracing::warn!(
                        "redis has no room: what it has of tokens that end is deleted, and cold \
                         tokens are looked up in postgres"
                    );
                }
            }
            Err(error) => {
                tracing::debug!(error = %Chain(error), "a refusal could not be cached yet");
            }
        }
        self.overdue.add(*hash, since);
        overwritten.map(|_| ())
    }
}

impl TokenChecker {
    /// Ends a token whose row has just been revoked, or given another token: here at once, in
    /// Redis before this returns.
    ///
    /// Where Redis cannot say that it was done, an entry may be left there, and a local refusal
    /// stands for as long as that may.
    ///
    /// # Errors
    ///
    /// When Redis could not say that it was done. It is tried again for as long as anything of
    /// the token may be left there; the caller should not say that it is done.
    pub async fn end(&self, hash: &TokenHash) -> Result<(), StoreError> {
        let shortly = self.desk.settings.untracked_ttl;
        self.forget(hash, shortly);
        let published = self.desk.publish_refusal(hash).await;
        // A read that was under way may have put the old entry back in between.
        let long = if published.is_ok() {
            shortly
        } else {
            LONGEST_LIFE
        };
        self.forget(hash, long);
        published
    }
}
