//! Which strikes there are at a moment, and have been since all was well.

use std::cell::Cell;

use crate::schedule::{At, GATEWAYS, Pair, Strike};

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

/// Everything that one gateway is connected to.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) clients: Trouble,
    pub(crate) upstream: Trouble,
    pub(crate) redis: Trouble,
    pub(crate) postgres: Trouble,
    pub(crate) enterprise: Trouble,
}

/// Everything that there is to be struck.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    gateways: [Surroundings; GATEWAYS],
    /// Restarts of Redis: each loses everything in it.
    pub(crate) losses: Cell<u64>,
}

/// How things were around a gateway at a moment.
pub(crate) type Moment = [(u64, bool); 5];

impl Surroundings {
    /// Returns every kind of trouble: clients, upstream, Redis, Postgres and the enterprise service.
    pub(crate) fn all(&self) -> [&Trouble; 5] {
        [
            &self.clients,
            &self.upstream,
            &self.redis,
            &self.postgres,
            &self.enterprise,
        ]
    }

    pub(crate) fn now(&self) -> Moment {
        self.all().map(Trouble::now)
    }

    /// Returns how things are, if nothing has been struck here since all was well that a login needs:
    /// one with an account has no use for the enterprise service.
    pub(crate) fn calm(&self, by_sso: bool) -> Option<Moment> {
        let needed = if by_sso { 5 } else { 4 };
        let troubles = &self.all()[..needed];
        if troubles.iter().any(|trouble| trouble.is_recent()) {
            return None;
        }
        let mut moment = Moment::default();
        for (then, trouble) in moment.iter_mut().zip(troubles) {
            *then = trouble.now();
        }
        Some(moment)
    }

    const fn of(&self, pair: Pair) -> &Trouble {
        match pair {
            Pair::ClientGateway => &self.clients,
            Pair::GatewayUpstream => &self.upstream,
            Pair::GatewayRedis => &self.redis,
            Pair::GatewayPostgres => &self.postgres,
            Pair::GatewayEnterprise => &self.enterprise,
        }
    }
}

impl Weather {
    /// Returns what there is around a gateway.
    pub(crate) const fn around(&self, gateway: usize) -> &Surroundings {
        &self.gateways[gateway]
    }

    /// Returns what a strike troubles.
    pub(crate) fn troubled_by(&self, strike: Strike) -> Vec<&Trouble> {
        if let Strike::KillAt(gateway, step, _) = strike {
            // A store stands still until the gateway is dead.
            let around = self.around(gateway);
            return vec![&around.clients, around.of(step.pair)];
        }
        let (pair, at) = match strike {
            Strike::Cut(link)
            | Strike::Refuse(link)
            | Strike::Freeze(link)
            | Strike::Slow(link, _) => (link.pair, link.at),
            Strike::RestartRedis | Strike::FreezeRedis => (Pair::GatewayRedis, At::Both),
            Strike::RestartPostgres | Strike::FreezePostgres => (Pair::GatewayPostgres, At::Both),
            // All that its clients may see of it is connections that end.
            Strike::Kill(gateway) => (Pair::ClientGateway, At::One(gateway)),
            Strike::KillAt(..)
            | Strike::Reload(_)
            | Strike::Upgrade(_)
            | Strike::RevokeAtDify
            | Strike::RevokeAtGateway(_)
            | Strike::Login
            | Strike::SignIn
            | Strike::Rotation => return Vec::new(),
        };
        at.gateways().map(|one| self.around(one).of(pair)).collect()
    }

    /// All is well: from now on nothing is forgiven for what was.
    pub(crate) fn clears(&self) {
        for trouble in self.gateways.iter().flat_map(Surroundings::all) {
            trouble.since_well.set(trouble.active.get() > 0);
        }
    }
}
