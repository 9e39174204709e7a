//! What Postgres says about a token.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Desk, Undecided,
    entry::{Judgement, TokenContext},
};
use crate::{
    audit::AuditEvent,
    health::Chain,
    store::StoreError,
    token::{TokenHash, TokenKind},
};

/// Longest wait for one of the lookups that Postgres may have at a time. Enough for a burst of
/// cold tokens to be worked off (16 at a time, a millisecond each: 1,600 tokens), too short for a
/// queue: past it the client is told to come back.
const ADMISSION_WAIT: Duration = Duration::from_millis(100);

/// What the truth says about a token.
pub(super) enum Truth {
    Live(TokenContext),
    /// Unknown, revoked, blocked or inconsistent.
    Refused,
    /// Past its end; the row has been revoked and the refusal published on the way.
    Expired,
}

impl Desk {
    /// Asks Postgres. Hard expiry happens here, once, by whoever finds the row first.
    pub(super) async fn ask(&self, kind: TokenKind, hash: &TokenHash) -> Result<Truth, Undecided> {
        let Ok(Ok(_admitted)) = timeout(ADMISSION_WAIT, self.lookups.acquire()).await else {
            self.stores.metrics.postgres_lookups_shed.inc();
            return Err(Undecided::Overloaded);
        };
        self.stores.metrics.postgres_lookups.inc();
        let found = self.stores.tokens.find_by_hash(hash).await;
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Truth::Refused),
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "token lookup failed");
                if matches!(error, StoreError::Rejected { .. })
                    && self.complaints.is_due(self.stores.clock.monotonic())
                {
                    tracing::error!(
                        error = %Chain(&error),
                        "postgres refused the token lookup; `difygate check --connect` says what is missing"
                    );
                }
                return Err(Undecided::StoresAway);
            }
        };
        match Judgement::of(&record, kind, &self.clients) {
            Judgement::Live(context) => Ok(Truth::Live(context)),
            Judgement::Blocked => Ok(Truth::Refused),
            Judgement::Inconsistent => {
                invariant_broken(record.id);
                Ok(Truth::Refused)
            }
            Judgement::Expired => {
                match self.stores.tokens.expire(record.id, hash).await {
                    Ok(true) => {
                        AuditEvent::TokenExpired {
                            token_id: record.id,
                        }
                        .emit();
                        let _ = self.publish_refusal(hash).await;
                    }
                    Ok(false) => {}
                    // The row stays; the next lookup tries again. The answer is the same.
                    Err(error) => tracing::warn!(
                        token_id = %record.id,
                        error = %Chain(&error),
                        "an expired token could not be revoked yet"
                    ),
                }
                Ok(Truth::Expired)
            }
        }
    }
}

pub(super) fn invariant_broken(token_id: uuid::Uuid) {
    tracing::error!(
        code = "internal_state_invariant",
        %token_id,
        "a token's row and its prefix contradict each other; the token is refused"
    );
}
