//! What the stores may be asked at most, and where that is promised.

/// Gateways that share the stores.
pub(crate) const GATEWAYS: usize = 2;

/// Lookups that one gateway may have in Postgres at a time: three quarters of
/// `postgres.pool_size`, whose default is 16 (ARCHITECTURE.md, "Decisions").
pub(crate) const LOOKUPS_AT_A_TIME: usize = 12;

/// Connections of one gateway to Postgres: the lookups', one for the probe of each second, and one
/// for the times of last use.
pub(crate) const CONNECTIONS: usize = LOOKUPS_AT_A_TIME + 2;

/// Most lookups for tokens that both gateways are asked for in orders of their own.
///
/// One for each token, and one more where both have it under way at the same time: each has at
/// most as many under way as it has connections, so this is about twice that, whatever the number
/// of tokens. Four times that is beyond all chance.
pub(crate) const fn in_random_order(tokens: usize, connections: usize) -> usize {
    tokens + 4 * connections
}

/// Most lookups where both gateways are asked for the same token at the same time: who finds the
/// other's lease does not wait for it (ARCHITECTURE.md, "A cold token").
pub(crate) const fn at_the_same_time(tokens: usize) -> usize {
    GATEWAYS * tokens
}

/// Most lookups while a crowd asks both gateways for one token.
///
/// Each gateway has one under way at a time, and the first to fill ends it. Until then, whoever finds
/// the other's lease is answered from the row and keeps nothing, so that clients who come later
/// ask once more, one flight after the other. A crowd that joins no flight takes every lookup that
/// there is, again and again.
pub(crate) const OF_A_CROWD: usize = GATEWAYS * LOOKUPS_AT_A_TIME;
