//! Which strikes there are at a moment, and have been since all was well.

use std::cell::Cell;

use crate::schedule::{Pair, Strike};

/// Trouble of one kind: what it can be the reason for is forgiven while it lasts.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    active: Cell<usize>,
    begun: Cell<u64>,
    since_well: Cell<bool>,
}

impl Trouble {
    pub(crate) fn begins(&self) {
        self.active.set(self.active.get() + 1);
        self.begun.set(self.begun.get() + 1);
        self.since_well.set(true);
    }

    pub(crate) fn ends(&self) {
        self.active.set(self.active.get() - 1);
    }

    /// Returns how often it has begun, and whether it goes on.
    pub(crate) fn now(&self) -> (u64, bool) {
        (self.begun.get(), self.active.get() > 0)
    }

    /// Tells whether there has been any since `then`, a moment included at which it went on.
    pub(crate) fn touches(&self, then: (u64, bool)) -> bool {
        then.1 || self.begun.get() != then.0
    }

    /// Tells whether there has been any since all was well.
    pub(crate) fn is_recent(&self) -> bool {
        self.since_well.get()
    }
}

/// Everything that there is to be struck.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    pub(crate) clients: Trouble,
    pub(crate) upstream: Trouble,
    pub(crate) redis: Trouble,
    pub(crate) postgres: Trouble,
    /// Restarts of Redis: each loses everything in it.
    pub(crate) losses: Cell<u64>,
}

impl Weather {
    /// Returns what a strike troubles.
    pub(crate) fn troubled_by(&self, strike: Strike) -> Option<&Trouble> {
        match strike {
            Strike::Cut(pair)
            | Strike::Refuse(pair)
            | Strike::Freeze(pair)
            | Strike::Slow(pair, _) => Some(match pair {
                Pair::ClientGateway => &self.clients,
                Pair::GatewayUpstream => &self.upstream,
                Pair::GatewayRedis => &self.redis,
                Pair::GatewayPostgres => &self.postgres,
            }),
            Strike::RestartRedis | Strike::FreezeRedis => Some(&self.redis),
            Strike::RestartPostgres | Strike::FreezePostgres => Some(&self.postgres),
            Strike::Reload
            | Strike::Upgrade
            | Strike::RevokeAtDify
            | Strike::RevokeAtGateway
            | Strike::Login
            | Strike::Rotation => None,
        }
    }

    /// All is well: from now on nothing is forgiven for what was.
    pub(crate) fn clears(&self) {
        for trouble in [&self.clients, &self.upstream, &self.redis, &self.postgres] {
            trouble.since_well.set(trouble.active.get() > 0);
        }
    }
}
