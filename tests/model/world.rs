//! One token, and everything that knows something about it.

use crate::flight::state::Flight;

/// What stands under `auth:token:{hash}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Absent,
    /// `{"lease":"…"}`; every lease is another.
    Lease(u8),
    /// A live entry with the gateways' mark. Two of the same token are equal byte for byte.
    Own {
        /// Whether Dify has put a verdict on a tenant into it.
        rewritten: bool,
    },
    /// A live entry without the mark.
    Unmarked,
    /// `invalid`.
    Refusal,
    /// A lease into which Dify has put a verdict: nothing that anybody understands.
    Garbage,
}

/// The key in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) value: Value,
    /// For each replica: whether the value is older than its connection.
    pub(crate) older: [bool; 2],
}

/// The row in Postgres. It never comes back to life: a rotation gives it another hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Live,
    /// Past its end, and not revoked yet.
    Over,
    /// Revoked, or rotated to another hash.
    Gone,
}

/// What a replica's own map says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Miss,
    Live {
        /// Whether it lives as long as its key; otherwise `untracked_ttl` at most.
        long: bool,
        /// Whether the value that it was read from still stands.
        backed: bool,
    },
    Refused,
}

/// A report that a key has changed. Those of other changes than the revocation's are all alike,
/// and so is the one of a flush: one token is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Report {
    None,
    Change,
    Revocation,
}

/// How far `follow::changed` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Handling {
    Nothing,
    /// The first of its two steps is done.
    Half(Report),
}

/// The connection for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Track {
    /// It is told of every change.
    Up,
    /// Lost, and nobody has noticed.
    Dead,
    /// Given up.
    Gone,
}

/// How far `coherence::lost` and `local::shorten` have come, and what follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Losing {
    No,
    Begun {
        renewing: bool,
    },
    /// `followed` is false; whether it was true.
    Swapped {
        renewing: bool,
        followed: bool,
    },
    Advanced {
        renewing: bool,
        followed: bool,
    },
}

/// A proof that is under way (`tracking::prove`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    No,
    Heard {
        /// Whether the connection that it was made over has been replaced meanwhile.
        outdated: bool,
    },
}

/// One gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) local: Local,
    pub(crate) followed: bool,
    /// Whether `Coherence::reconnected` is set.
    pub(crate) doubting: bool,
    pub(crate) track: Track,
    /// Whether the reports are known to be lost and not proven anew: what the code should know.
    pub(crate) noticed: bool,
    pub(crate) losing: Losing,
    pub(crate) proof: Proof,
    /// Whether the connection for commands works, and whether there was one before.
    pub(crate) connected: bool,
    pub(crate) connected_before: bool,
    pub(crate) reports: [Report; 2],
    pub(crate) handling: Handling,
    pub(crate) flight: Flight,
    pub(crate) flights_left: u8,
}

impl Replica {
    /// Has the last report that is on its way, if any, count as the revocation's.
    pub(crate) fn await_revocation(&mut self) {
        let [first, second] = &mut self.reports;
        if *second != Report::None {
            *second = Report::Revocation;
        } else if *first != Report::None {
            *first = Report::Revocation;
        } else if let Handling::Half(report) = &mut self.handling {
            *report = Report::Revocation;
        }
    }

    /// Tells whether it has yet to hear of the revocation, and will.
    pub(crate) fn awaits_revocation(&self) -> bool {
        self.reports.contains(&Report::Revocation)
            || self.handling == Handling::Half(Report::Revocation)
    }
}

/// How far whoever revokes has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Revocation {
    NotYet,
    /// The row is gone (or, the wrong way round, the refusal written).
    First,
    /// The gateway that does it has forgotten the token.
    Forgotten,
    /// Row and key are done.
    Second,
    Acknowledged,
}

/// How far a fill of Dify's has come: `GET`, `SELECT`, `SETEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DifyFill {
    NotYet,
    Missed,
    Found { live: bool },
    Done,
}

/// How far a verdict of Dify's on a tenant has come: `GET` and `TTL`, `SETEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    NotYet,
    Read(Value),
    Done,
}

/// How often what need not happen may yet happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mishaps {
    /// The key comes to its end.
    pub(crate) expiries: u8,
    /// The key is evicted or flushed.
    pub(crate) evictions: u8,
    /// Reports stop.
    pub(crate) losses: u8,
    /// Redis is another server, or the same one with an older state.
    pub(crate) failovers: u8,
    /// The first replica's process begins anew.
    pub(crate) restarts: u8,
    /// Postgres does not answer.
    pub(crate) silences: u8,
    /// A command takes effect after the flight that sent it has ended.
    pub(crate) stragglers: u8,
    /// Redis has no room for a refusal.
    pub(crate) full: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) row: Row,
    /// Whether the token's time is over.
    pub(crate) over: bool,
    pub(crate) key: Key,
    /// What the server that may take over knows.
    pub(crate) successor: Value,
    pub(crate) failed_over: bool,
    pub(crate) revocation: Revocation,
    pub(crate) dify_fill: DifyFill,
    pub(crate) verdict: Verdict,
    /// A `settle` that is still on its way, and what it expects.
    pub(crate) straggler: Option<Value>,
    pub(crate) replicas: [Replica; 2],
    pub(crate) left: Mishaps,
    /// What went wrong in the last step.
    pub(crate) fault: Option<&'static str>,
}

impl World {
    /// Tells whether nobody who comes now may be let in.
    pub(crate) fn has_ended(&self) -> bool {
        self.over || self.revocation == Revocation::Acknowledged
    }
}
