//! Where a flight is, and what it remembers.

use crate::world::Value;

/// What a flight asks next, once it has noted what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// `resolve`, `refresh`: Redis.
    First,
    /// `read_back`: Redis, after a fill.
    Back,
    /// `resolve_beside_another`: Redis, while another fills.
    Beside,
    /// `resolve_without_redis`: Postgres.
    Alone,
}

/// Why Postgres is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lookup {
    Fill,
    Refresh,
    Verify,
    Again,
    Beside,
    Alone,
}

/// What a flight does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Ground,
    /// The first half of `coherence::ask`.
    AskOne(Question),
    /// The second half.
    AskTwo(Question),
    Read(Question),
    Claim(Value),
    Select(Lookup),
    Settle,
    SettleRefusal,
    Publish,
    Keep {
        long: bool,
    },
    KeepRefusal,
    /// The answer is known, and the flight still on the board.
    Landing {
        live: bool,
    },
}

/// The one flight that a replica has for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) at: At,
    pub(crate) refreshes: bool,
    /// Whether the token had ended, for everybody to see, when the flight began.
    pub(crate) late: bool,
    /// Whether Postgres could not say, so that an entry was used as it was.
    pub(crate) excused: bool,
    /// `Asked::followed`.
    pub(crate) followed: bool,
    /// `Asked::reconnected`.
    pub(crate) doubting: bool,
    /// Whether the generation has moved since `Asked::generation`.
    pub(crate) moved: bool,
    /// Whether the value that was read still stands, and whether it has since come to its end.
    pub(crate) backed: bool,
    pub(crate) spent: bool,
    /// What `settle` expects, and whether the connection is still the one that it was put over.
    pub(crate) standing: Value,
    pub(crate) same_connection: bool,
    /// Somebody has joined who came when the token had ended, for everybody to see,
    pub(crate) joined: bool,
    /// … and after the question was put whose answer this is.
    pub(crate) joined_behind: bool,
}

impl Flight {
    pub(crate) const NONE: Self = Self {
        at: At::Ground,
        refreshes: false,
        late: false,
        excused: false,
        followed: false,
        doubting: false,
        moved: false,
        backed: false,
        spent: false,
        standing: Value::Absent,
        same_connection: true,
        joined: false,
        joined_behind: false,
    };
}
