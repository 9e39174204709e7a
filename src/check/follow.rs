//! What becomes of local entries when Redis reports changes, and when it no longer does.

use std::time::Duration;

use super::TokenChecker;
use crate::{clock::Monotonic, metrics::FlushReason, store::CacheObserver, token::TokenHash};

impl CacheObserver for TokenChecker {
    fn changed(&self, hash: &TokenHash) {
        self.metrics.coherence.invalidations.inc();
        // In this order: an insert that sees the old generation has its entry removed.
        self.desk.coherence.changed(hash);
        self.desk.local.remove(hash);
    }

    fn all_changed(&self) {
        self.metrics.coherence.flush(FlushReason::Flushed);
        self.desk.coherence.all_changed();
        self.desk.local.clear();
    }

    fn proven(&self, at: Monotonic, lag: Duration) {
        self.metrics.coherence.arrived_after(lag);
        if self.desk.coherence.proven(at) {
            self.metrics.coherence.followed.set(1);
            tracing::info!(
                lag_ms = lag.as_secs_f64() * 1e3,
                "changes in redis are followed: local entries live as long as their keys"
            );
        }
    }

    fn lost(&self) {
        self.give_up(FlushReason::Lost);
    }

    fn reconnected(&self) {
        self.desk.coherence.reconnected(self.clock.monotonic());
        self.give_up(FlushReason::Reconnected);
    }
}

impl TokenChecker {
    /// Goes back to short lives, and ends the long ones: what changed since the last proof may
    /// have gone unreported, so an entry has `untracked_ttl` from there and not from now.
    fn give_up(&self, reason: FlushReason) {
        let Some(proven) = self.desk.coherence.lost() else {
            return;
        };
        self.metrics.coherence.followed.set(0);
        self.metrics.coherence.flush(reason);
        let ttl = self.desk.settings.untracked_ttl;
        let instant = self.clock.monotonic();
        self.desk.local.shorten(proven.plus(ttl), instant);
        tracing::warn!(
            reason = reason.as_str(),
            untracked_ttl_ms = ttl.as_secs_f64() * 1e3,
            "changes in redis are not followed: local entries live untracked_ttl at most"
        );
    }
}
