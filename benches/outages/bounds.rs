//! What the documents promise, from the same settings that the gateways run with.

use std::time::Duration;

/// `postgres.timeout`, `redis.timeout` and `token_cache.untracked_ttl` of `config.toml.example`.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(2);
const REDIS_TIMEOUT: Duration = Duration::from_millis(100);
const UNTRACKED_TTL: Duration = Duration::from_secs(1);

/// `PROOF_INTERVAL` and `LEAST_PROOF_TIME` of `src/store/redis/tracking.rs`.
const PROOF_INTERVAL: Duration = Duration::from_secs(1);
const LEAST_PROOF_TIME: Duration = Duration::from_millis(250);

/// Longest time for an answer, the upstream's own time apart: a check's deadline.
pub(crate) const ANSWER: Duration = POSTGRES_TIMEOUT.saturating_add(REDIS_TIMEOUT);

/// Longest acceptance after a revocation that was deleted from Redis, or whose deletion an outage
/// has prevented that made the gateways connect to Redis anew.
///
/// What changed before a proof was heard had been reported by then. The next proof begins an
/// interval later and fails when its time is up. An entry then has `untracked_ttl` from the last
/// proof, which is over by that time unless it is the longer of the two.
pub(crate) const REPORTED: Duration = {
    let silent = PROOF_INTERVAL.saturating_add(LEAST_PROOF_TIME);
    if silent.as_millis() > UNTRACKED_TTL.as_millis() {
        silent
    } else {
        UNTRACKED_TTL
    }
};

/// Longest time from a store's return to everything being well again: a failed attempt to
/// connect (1 s), a pause (200 ms), the same for the connection that follows changes, and its
/// first proof; rounded up.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);

/// What a busy machine adds to any of these before it counts as a violation: the generator, the
/// gateways and the stores share it.
pub(crate) const SLACK: Duration = Duration::from_millis(500);
