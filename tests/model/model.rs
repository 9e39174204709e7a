//! What is explored: the rules that hold, and what may happen.

use crate::{
    Step,
    explore::Explorable,
    flight::{self, state::Flight},
    follow, properties, redis,
    rules::Rules,
    world::{
        DifyFill, Handling, Key, Local, Losing, Mishaps, Proof, Replica, Report, Revocation, Row,
        Track, Value, Verdict, World,
    },
    writers,
};

/// Who revokes the token, if anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoker {
    Nobody,
    /// Commit, then `DEL`.
    Dify,
    /// The first gateway, which rotates likewise.
    Gateway,
}

/// What may happen. Whatever may, may also not, and in any order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) revoker: Revoker,
    /// Dify checks the token as well, once.
    pub(crate) dify_fills: bool,
    /// Dify puts a verdict on a tenant into what stands in Redis, once.
    pub(crate) dify_rewrites: bool,
    /// The token's time may be over at some point.
    pub(crate) token_ends: bool,
    /// Redis reports the end of a TTL.
    pub(crate) expiries_are_reported: bool,
    /// What stands in Redis at first.
    pub(crate) stands: Value,
    /// How many flights each gateway may have, one at a time.
    pub(crate) flights: [u8; 2],
    pub(crate) mishaps: Mishaps,
}

/// The protocol under some rules in some scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) scenario: Scenario,
}

impl Explorable for Model {
    type State = World;
    type Step = Step;

    /// A live token, and gateways that have proven that they are told of changes.
    fn beginning(&self) -> World {
        let replica = |flights_left| Replica {
            local: Local::Miss,
            followed: true,
            doubting: false,
            track: Track::Up,
            noticed: false,
            losing: Losing::No,
            proof: Proof::No,
            connected: true,
            connected_before: true,
            reports: [Report::None; 2],
            handling: Handling::Nothing,
            flight: Flight::NONE,
            flights_left,
        };
        World {
            row: Row::Live,
            over: false,
            key: Key {
                value: self.scenario.stands,
                older: [false; 2],
            },
            successor: self.scenario.stands,
            failed_over: false,
            revocation: Revocation::NotYet,
            dify_fill: DifyFill::NotYet,
            verdict: Verdict::NotYet,
            straggler: None,
            replicas: self.scenario.flights.map(replica),
            left: self.scenario.mishaps,
            fault: None,
        }
    }

    fn steps(&self, world: &World, next: &mut Vec<(Step, World)>) {
        redis::steps(self, world, next);
        writers::steps(self, world, next);
        for r in 0..world.replicas.len() {
            // A gateway that nobody asks has nothing to keep.
            if self.scenario.flights[r] > 0 {
                flight::steps(self, world, r, next);
                follow::steps(self, world, r, next);
            }
        }
    }

    fn complaint(&self, world: &World) -> Option<&'static str> {
        properties::complaint(self, world)
    }
}
