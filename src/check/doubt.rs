//! Tokens that may have ended: Postgres was sent their end, and its answer was lost.
//!
//! The row tells. One that is gone has been ended; one that is live proves nothing yet, since the
//! statement may still stand behind somebody's lock, and is looked at again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::TokenChecker;
use crate::{clock::Monotonic, store::StoreError, token::TokenHash};

/// Most tokens in doubt: 40 bytes each. Past that the oldest is given up, and what is cached of it
/// ends by itself, within a minute.
const MOST_DOUBTS: usize = 1_000;

/// How long a row that is live is looked at. A statement that takes longer is somebody's transaction
/// that was forgotten.
const LONGEST_DOUBT: Duration = Duration::from_secs(600);

/// How often rows are looked at …
const INTERVAL: Duration = Duration::from_millis(500);

/// … and how many of them at a time, one after another: Postgres has other things to do.
const AT_A_TIME: usize = 32;

/// The tokens, whichever was looked at last at the end.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<VecDeque<(TokenHash, Monotonic)>>);

impl Doubts {
    fn add(&self, hash: TokenHash, since: Monotonic) {
        let mut doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = doubts.iter_mut().find(|(known, _)| *known == hash) {
            *known = since.max(*known);
            return;
        }
        if doubts.len() == MOST_DOUBTS {
            doubts.pop_front();
        }
        doubts.push_back((hash, since));
    }

    fn len(&self) -> usize {
        let doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.len()
    }

    /// Takes the next one that is to be looked at.
    fn take(&self, now: Monotonic) -> Option<(TokenHash, Monotonic)> {
        let mut doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((hash, since)) = doubts.pop_front() {
            if now.since(since) < LONGEST_DOUBT {
                return Some((hash, since));
            }
        }
        None
    }
}

impl TokenChecker {
    /// Notes that a token may have ended. Its row is looked at until it has, for ten minutes at most;
    /// then the token is ended here and in Redis.
    pub fn doubt(&self, hash: &TokenHash) {
        self.desk.doubts.add(*hash, self.clock.monotonic());
    }

    /// Ends a token that has no unrevoked row any more, and tells whether that is so.
    ///
    /// # Errors
    ///
    /// When Postgres cannot say, and those of [`TokenChecker::end`].
    pub async fn end_if_gone(&self, hash: &TokenHash) -> Result<bool, StoreError> {
        let row = self.desk.stores.tokens.find_by_hash(hash).await?;
        if row.is_none() {
            self.end(hash).await?;
        }
        Ok(row.is_none())
    }

    /// Looks at what is in doubt, for ever.
    pub async fn keep_settling(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.settle().await;
        }
    }

    async fn settle(&self) {
        for _ in 0..self.desk.doubts.len().min(AT_A_TIME) {
            let Some((hash, since)) = self.desk.doubts.take(self.clock.monotonic()) else {
                return;
            };
            let settled = self.end_if_gone(&hash).await;
            if !matches!(settled, Ok(true)) {
                self.desk.doubts.add(hash, since);
            }
            // While a store is away the next one would fare no better.
            if settled.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> TokenHash {
        let hex = format!("{number:064x}");
        TokenHash::from_hex(&hex).unwrap()
    }

    #[test]
    fn doubts_are_bounded_in_number_and_time_and_kept_once() {
        let doubts = Doubts::default();
        let start = Monotonic::from_micros(0);
        for number in 0..=MOST_DOUBTS {
            doubts.add(hash(number), start);
            doubts.add(hash(number), start);
        }

        assert_eq!(doubts.len(), MOST_DOUBTS);
        assert_eq!(doubts.take(start), Some((hash(1), start)));
        assert_eq!(doubts.take(start.plus(LONGEST_DOUBT)), None);
        assert_eq!(doubts.len(), 0);
    }
}
