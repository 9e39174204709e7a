//! Ending a token that has just been revoked or replaced: refused here at once, and in Redis as
//! soon as Redis can be reached.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{Desk, TokenChecker, coherence::LONGEST_LIFE, entry::REFUSED};
use crate::{clock::Monotonic, health::Chain, store::StoreError, token::TokenHash};

/// Most refusals that wait for Redis to come back: 40 bytes each. Past that the oldest is given
/// up, and what stands in Redis of its token ends by itself within a minute.
const MOST_OVERDUE: usize = 10_000;

/// Refusals that could not be written yet, the oldest first.
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

    /// Takes the oldest one that still matters: what was in Redis when it could not be written
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
    /// When Redis could not say that it was done.
    pub(super) async fn publish_refusal(&self, hash: &TokenHash) -> Result<(), StoreError> {
        self.coherence.changed(hash);
        let ttl = self.settings.negative_ttl;
        let overwritten = self.stores.cache.overwrite(hash, REFUSED, ttl).await;
        if let Err(error) = &overwritten {
            tracing::debug!(error = %Chain(error), "a refusal could not be cached yet");
            self.overdue.add(*hash, self.stores.clock.monotonic());
        }
        overwritten
    }

    /// Writes the refusals that are overdue, until one fails again.
    pub(super) async fn catch_up(&self) {
        while let Some((hash, since)) = self.overdue.take(self.stores.clock.monotonic()) {
            let ttl = self.settings.negative_ttl;
            let written = self.stores.cache.overwrite(&hash, REFUSED, ttl).await;
            if written.is_err() {
                return self.overdue.add(hash, since);
            }
        }
    }
}

impl TokenChecker {
    /// Ends a token whose row has just been revoked, or given another token: here at once, in
    /// Redis before this returns.
    ///
    /// # Errors
    ///
    /// When Redis could not say that it was done. It is tried again for as long as anything of
    /// the token may be left there; the caller should not say that it is done.
    pub async fn end(&self, hash: &TokenHash) -> Result<(), StoreError> {
        self.forget(hash);
        let published = self.desk.publish_refusal(hash).await;
        // A read that was under way may have put the old entry back in between.
        self.forget(hash);
        published
    }
}
