//! When tokens were last used: noted in memory, written behind the requests' backs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use crate::{
    check::entry::Entry,
    clock::{Clock, Timestamp},
    health::Chain,
    store::SessionStore,
};

/// How often the notes are written: one statement for each process.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);

/// Most notes that wait to be written: 20,000 × (16 + 8 bytes, and the table's slack) ≈ 1 MiB, and
/// a statement that Postgres does well within its time. What comes on top is noted again when its
/// entry is made anew.
const CAPACITY: usize = 20_000;

/// Notes on the use of tokens.
#[derive(Debug)]
pub struct Activity {
    sessions: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    notes: Mutex<HashMap<Uuid, Timestamp>>,
}

impl Activity {
    /// Builds an empty notebook for a store.
    pub fn new(sessions: Arc<dyn SessionStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            sessions,
            clock,
            notes: Mutex::default(),
        }
    }

    /// Notes that a token is in use. Costs one load where its entry has been noted already.
    pub fn note(&self, entry: &Entry) {
        if !entry.is_first_use() {
            return;
        }
        let now = self.clock.now();
        let mut notes = self.lock();
        if notes.len() < CAPACITY || notes.contains_key(&entry.context.token_id) {
            notes.insert(entry.context.token_id, now);
        }
    }

    /// Writes all notes in one statement. What cannot be written is kept for the next time.
    pub async fn flush(&self) {
        let notes = std::mem::take(&mut *self.lock());
        if notes.is_empty() {
            return;
        }
        let batch: Vec<(Uuid, Timestamp)> = notes.into_iter().collect();
        if let Err(error) = self.sessions.note_used(&batch).await {
            tracing::debug!(error = %Chain(&error), "last uses could not be written yet");
            let mut notes = self.lock();
            for (id, at) in batch {
                if notes.len() < CAPACITY {
                    notes.entry(id).or_insert(at);
                }
            }
        }
    }

    /// Writes the notes for ever.
    pub async fn keep_flushing(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FLUSH_INTERVAL).await;
            self.flush().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Timestamp>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::entry::{Subject, TokenContext},
        clock::{ManualClock, Monotonic},
        store::{NewToken, SessionOwner, embedded::EmbeddedTokens},
        token::TokenHash,
    };

    const ACCOUNT: Uuid = Uuid::from_u128(1);
    const TOKEN: Uuid = Uuid::from_u128(2);

    fn entry() -> Entry {
        let context = TokenContext {
            token_id: TOKEN,
            subject: Subject::Account {
                id: ACCOUNT,
                email: "ada@example.com".into(),
            },
            client_id: None,
            expires_at: None,
        };
        Entry::new(context, Monotonic::default())
    }

    async fn last_used(sessions: &EmbeddedTokens) -> Option<Timestamp> {
        let owner = SessionOwner::Account(ACCOUNT);
        let (listed, _) = sessions.sessions(&owner, 0, 1).await.unwrap();
        listed[0].last_used_at
    }

    #[tokio::test]
    async fn a_use_is_written_once_for_each_entry_and_at_most_once_a_minute() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_780_000_000)));
        let sessions = Arc::new(EmbeddedTokens::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let token = NewToken {
            id: TOKEN,
            prefix: "dfoa_",
            subject_email: "ada@example.com".into(),
            subject_issuer: "dify:account".into(),
            account_id: Some(ACCOUNT),
            client_id: "difyctl".into(),
            device_label: "laptop".into(),
            hash: TokenHash::from_digest([1; 32]),
            expires_at: clock.now().plus(Duration::from_secs(86_400)),
        };
        sessions.write(&token).await.unwrap();
        let activity = Activity::new(
            Arc::clone(&sessions) as Arc<dyn SessionStore>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let first = clock.now();

        let hot = entry();
        activity.note(&hot);
        clock.advance(Duration::from_secs(30));
        activity.note(&hot);
        assert_eq!(last_used(&sessions).await, None);
        activity.flush().await;
        assert_eq!(last_used(&sessions).await, Some(first));

        activity.note(&entry());
        activity.flush().await;
        assert_eq!(last_used(&sessions).await, Some(first));
        clock.advance(Duration::from_secs(30));
        activity.note(&entry());
        activity.flush().await;
        assert_eq!(last_used(&sessions).await, Some(clock.now()));
    }
}
