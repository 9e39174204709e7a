//! What is done to a world, and when: the same again for the same seed.

use std::fmt;

/// How long strikes begin, in milliseconds.
const SEASON: u64 = 1_500;

/// Longest strike, in milliseconds: longer than it takes a gateway to notice that Redis is silent.
pub(crate) const LONGEST: u64 = 1_400;

/// Chance (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Two that talk to each other through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    ClientGateway,
    GatewayUpstream,
    GatewayRedis,
    GatewayPostgres,
}

impl Pair {
    pub(crate) const ALL: [Self; 4] = [
        Self::ClientGateway,
        Self::GatewayUpstream,
        Self::GatewayRedis,
        Self::GatewayPostgres,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::ClientGateway => "client and gateway",
            Self::GatewayUpstream => "gateway and upstream",
            Self::GatewayRedis => "gateway and Redis",
            Self::GatewayPostgres => "gateway and Postgres",
        }
    }
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Resets connections, and refuses new ones.
    Cut(Pair),
    /// Refuses new connections.
    Refuse(Pair),
    /// Forwards nothing; afterwards what was held back flows on.
    Freeze(Pair),
    /// Holds every chunk back for so many milliseconds.
    Slow(Pair, u64),
    RestartRedis,
    FreezeRedis,
    RestartPostgres,
    FreezePostgres,
    /// SIGHUP, with a configuration that has changed.
    Reload,
    /// SIGQUIT, with a successor that is ready.
    Upgrade,
    /// Revokes a token as Dify does.
    RevokeAtDify,
    /// Has an owner revoke a token at the gateway.
    RevokeAtGateway,
    /// Logs in on a new host.
    Login,
    /// Logs in once more on a host that has a token, which is rotated.
    Rotation,
}

impl Strike {
    /// Returns what it is called in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Refuse(_) => "refuse",
            Self::Freeze(_) => "freeze",
            Self::Slow(..) => "slow",
            Self::RestartRedis => "restart Redis",
            Self::FreezeRedis => "freeze Redis",
            Self::RestartPostgres => "restart Postgres",
            Self::FreezePostgres => "freeze Postgres",
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::RevokeAtDify => "revoke at Dify",
            Self::RevokeAtGateway => "revoke at the gateway",
            Self::Login => "login",
            Self::Rotation => "rotation",
        }
    }

    fn any(dice: &mut Dice) -> Self {
        let pair = Pair::ALL[dice.below(4) as usize];
        match dice.below(100) {
            0..12 => Self::Cut(pair),
            12..18 => Self::Refuse(pair),
            18..30 => Self::Freeze(pair),
            30..40 => Self::Slow(pair, 1 + dice.below(80)),
            40..45 => Self::RestartRedis,
            45..50 => Self::FreezeRedis,
            50..53 => Self::RestartPostgres,
            53..58 => Self::FreezePostgres,
            58..61 => Self::Reload,
            61..64 => Self::Upgrade,
            64..74 => Self::RevokeAtDify,
            74..82 => Self::RevokeAtGateway,
            82..92 => Self::Login,
            _ => Self::Rotation,
        }
    }
}

/// A strike with its time, in milliseconds from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) length: u64,
    pub(crate) strike: Strike,
}

/// All that happens to a world in one go.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) events: Vec<Event>,
}

impl Schedule {
    /// Makes the schedule of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = 6 + dice.below(10);
        let mut events: Vec<_> = (0..count)
            .map(|_| Event {
                at: dice.below(SEASON),
                // Mostly short: what is under way then is interrupted and goes on.
                length: match dice.below(3) {
                    0 => 1 + dice.below(50),
                    1 => 1 + dice.below(400),
                    _ => 1 + dice.below(LONGEST),
                },
                strike: Strike::any(&mut dice),
            })
            .collect();
        // Something to lose in every one of them.
        for strike in [Strike::RevokeAtDify, Strike::Login] {
            let at = dice.below(SEASON);
            events.push(Event {
                at,
                length: 0,
                strike,
            });
        }
        events.sort_by_key(|event| event.at);
        Self { events }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { at, length, strike } in &self.events {
            let name = strike.name();
            write!(f, "  {at:>5} ms  {name}")?;
            match strike {
                Strike::Cut(pair) | Strike::Refuse(pair) | Strike::Freeze(pair) => {
                    writeln!(f, " {} for {length} ms", pair.name())?;
                }
                Strike::Slow(pair, delay) => {
                    writeln!(f, " {} by {delay} ms for {length} ms", pair.name())?;
                }
                Strike::FreezeRedis | Strike::FreezePostgres => writeln!(f, " for {length} ms")?,
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}
