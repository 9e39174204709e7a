//! What may happen. Each scenario is small enough to be explored to its end.

use crate::{
    model::{Revoker, Scenario},
    world::{Mishaps, Value},
};

const NONE: Mishaps = Mishaps {
    expiries: 0,
    evictions: 0,
    losses: 0,
    failovers: 0,
    restarts: 0,
    silences: 0,
    stragglers: 0,
    full: 0,
};

const PLAIN: Scenario = Scenario {
    name: "dify revokes, one gateway fills",
    revoker: Revoker::Dify,
    dify_fills: false,
    dify_rewrites: false,
    token_ends: false,
    expiries_are_reported: true,
    stands: Value::Absent,
    flights: [2, 0],
    mishaps: NONE,
};

/// Dify's own fill has no lease, and can put a revoked token back.
pub(crate) const DIFY_FILLS: Scenario = Scenario {
    name: "dify fills and revokes, the key comes and goes, postgres is silent once",
    dify_fills: true,
    mishaps: Mishaps {
        expiries: 1,
        evictions: 1,
        silences: 1,
        stragglers: 1,
        ..NONE
    },
    ..PLAIN
};

/// Dify writes verdicts into entries of the gateways, and can put a revoked one back.
pub(crate) const DIFY_REWRITES: Scenario = Scenario {
    name: "dify rewrites an entry and revokes",
    dify_rewrites: true,
    mishaps: Mishaps {
        expiries: 1,
        stragglers: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const TWO_GATEWAYS: Scenario = Scenario {
    name: "dify revokes, two gateways fill",
    flights: [1, 1],
    mishaps: Mishaps {
        expiries: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const GATEWAY_REVOKES: Scenario = Scenario {
    name: "a gateway revokes or rotates while it fills",
    revoker: Revoker::Gateway,
    mishaps: Mishaps {
        expiries: 1,
        evictions: 1,
        ..NONE
    },
    ..PLAIN
};

/// There is no room for the refusal, and perhaps for the fill's entry a moment later.
pub(crate) const REDIS_IS_FULL: Scenario = Scenario {
    name: "a gateway revokes while another fills, and redis is full",
    revoker: Revoker::Gateway,
    flights: [1, 1],
    mishaps: Mishaps { full: 1, ..NONE },
    ..PLAIN
};

pub(crate) const GATEWAY_REVOKES_BESIDE: Scenario = Scenario {
    name: "a gateway revokes or rotates while another fills",
    revoker: Revoker::Gateway,
    flights: [1, 1],
    ..PLAIN
};

pub(crate) const TOKEN_ENDS: Scenario = Scenario {
    name: "the token's time is over",
    revoker: Revoker::Nobody,
    token_ends: true,
    flights: [3, 0],
    mishaps: Mishaps {
        expiries: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const SILENT_EXPIRIES: Scenario = Scenario {
    name: "redis does not report the end of a ttl",
    expiries_are_reported: false,
    mishaps: Mishaps {
        expiries: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const LOSS: Scenario = Scenario {
    name: "reports are lost and come again",
    mishaps: Mishaps {
        expiries: 1,
        losses: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const FAILOVER: Scenario = Scenario {
    name: "redis fails over, or begins anew with an older state",
    stands: Value::Own { rewritten: false },
    mishaps: Mishaps {
        failovers: 1,
        expiries: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const FAILOVER_IN_FILL: Scenario = Scenario {
    name: "redis fails over during a fill",
    mishaps: Mishaps {
        failovers: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const FAILOVER_IN_REVOCATION: Scenario = Scenario {
    name: "redis fails over while a gateway revokes",
    revoker: Revoker::Gateway,
    stands: Value::Own { rewritten: false },
    mishaps: Mishaps {
        failovers: 1,
        ..NONE
    },
    ..PLAIN
};

pub(crate) const RESTART: Scenario = Scenario {
    name: "a gateway begins anew around a failover",
    stands: Value::Own { rewritten: false },
    flights: [1, 0],
    mishaps: Mishaps {
        failovers: 1,
        restarts: 1,
        ..NONE
    },
    ..PLAIN
};
