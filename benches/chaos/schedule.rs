//! What is done to a world, and when: the same again for the same seed.

use std::fmt;

use crate::{
    dice::Dice,
    steps::{STEPS, Step},
    support::Side,
};

/// How long strikes begin, in milliseconds.
const SEASON: u64 = 1_500;

/// Longest strike, in milliseconds: longer than it takes a gateway to notice that Redis is silent.
pub(crate) const LONGEST: u64 = 1_400;

/// Two that talk to each other through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    ClientGateway,
    GatewayUpstream,
    GatewayRedis,
    GatewayPostgres,
    GatewayEnterprise,
}

impl Pair {
    pub(crate) const ALL: [Self; 5] = [
        Self::ClientGateway,
        Self::GatewayUpstream,
        Self::GatewayRedis,
        Self::GatewayPostgres,
        Self::GatewayEnterprise,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::ClientGateway => "client and gateway",
            Self::GatewayUpstream => "gateway and upstream",
            Self::GatewayRedis => "gateway and Redis",
            Self::GatewayPostgres => "gateway and Postgres",
            Self::GatewayEnterprise => "gateway and enterprise service",
        }
    }
}

/// How many gateways a world has.
pub(crate) const GATEWAYS: usize = 2;

/// Which of the gateways a strike is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    One(usize),
    Both,
}

impl At {
    /// Returns the gateways' numbers.
    pub(crate) fn gateways(self) -> impl Iterator<Item = usize> {
        (0..GATEWAYS).filter(move |number| match self {
            Self::One(one) => one == *number,
            Self::Both => true,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::One(0) => "the first",
            Self::One(_) => "the second",
            Self::Both => "both",
        }
    }

    fn any(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0..3 => Self::One(0),
            3..6 => Self::One(1),
            _ => Self::Both,
        }
    }
}

/// A gateway's connections of one kind, or both gateways'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) pair: Pair,
    pub(crate) at: At,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Resets connections, and refuses new ones.
    Cut(Link),
    /// Refuses new connections.
    Refuse(Link),
    /// Forwards nothing; afterwards what was held back flows on.
    Freeze(Link),
    /// Holds every chunk back for so many milliseconds.
    Slow(Link, u64),
    RestartRedis,
    FreezeRedis,
    RestartPostgres,
    FreezePostgres,
    /// SIGHUP, with a configuration that has changed.
    Reload(usize),
    /// SIGQUIT, with a successor that is ready.
    Upgrade(usize),
    /// SIGKILL, and a new start at the same address; meanwhile somebody logs in at the other one.
    Kill(usize),
    /// SIGKILL in the middle of something that the gateway does, and a new start.
    KillAt(usize, Step, Side),
    /// Revokes a token as Dify does.
    RevokeAtDify,
    /// Has an owner revoke a token at a gateway.
    RevokeAtGateway(usize),
    /// Logs in on a new host, with an account at Dify.
    Login,
    /// Logs in on a new host by SSO, without an account.
    SignIn,
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
            Self::Reload(_) => "reload",
            Self::Upgrade(_) => "upgrade",
            Self::Kill(_) => "kill",
            Self::KillAt(..) => "kill at a step",
            Self::RevokeAtDify => "revoke at Dify",
            Self::RevokeAtGateway(_) => "revoke at a gateway",
            Self::Login => "login",
            Self::SignIn => "sign-in by SSO",
            Self::Rotation => "rotation",
        }
    }

    fn any(dice: &mut Dice) -> Self {
        let link = Link {
            pair: Pair::ALL[dice.below(Pair::ALL.len() as u64) as usize],
            at: At::any(dice),
        };
        let gateway = dice.below(GATEWAYS as u64) as usize;
        match dice.below(100) {
            0..10 => Self::Cut(link),
            10..14 => Self::Refuse(link),
            14..24 => Self::Freeze(link),
            24..32 => Self::Slow(link, 1 + dice.below(80)),
            32..36 => Self::RestartRedis,
            36..40 => Self::FreezeRedis,
            40..43 => Self::RestartPostgres,
            43..47 => Self::FreezePostgres,
            47..50 => Self::Reload(gateway),
            50..53 => Self::Upgrade(gateway),
            53..57 => Self::Kill(gateway),
            57..64 => {
                let step = STEPS[dice.below(STEPS.len() as u64) as usize];
                let side = [Side::Before, Side::After][dice.below(2) as usize];
                Self::KillAt(gateway, step, side)
            }
            64..71 => Self::RevokeAtDify,
            71..79 => Self::RevokeAtGateway(gateway),
            79..87 => Self::Login,
            87..92 => Self::SignIn,
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

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.pair.name(), self.at.name())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { at, length, strike } in &self.events {
            let name = strike.name();
            write!(f, "  {at:>5} ms  {name}")?;
            match strike {
                Strike::Cut(link) | Strike::Refuse(link) | Strike::Freeze(link) => {
                    writeln!(f, " {link} for {length} ms")?;
                }
                Strike::Slow(link, delay) => {
                    writeln!(f, " {link} by {delay} ms for {length} ms")?;
                }
                Strike::FreezeRedis | Strike::FreezePostgres => writeln!(f, " for {length} ms")?,
                Strike::Kill(gateway) => {
                    let name = At::One(*gateway).name();
                    writeln!(f, " {name} gateway for {length} ms")?;
                }
                Strike::KillAt(gateway, step, side) => {
                    let name = At::One(*gateway).name();
                    let step = step.name;
                    writeln!(f, ": {name} gateway, {side:?} {step}, for {length} ms")?;
                }
                Strike::Reload(gateway)
                | Strike::Upgrade(gateway)
                | Strike::RevokeAtGateway(gateway) => {
                    writeln!(f, ", {}", At::One(*gateway).name())?;
                }
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}
