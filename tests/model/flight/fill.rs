//! What a flight asks Postgres, and what it writes to Redis.

use super::{
    Pilot,
    read::is_expired,
    state::{At, Flight, Lookup, Question},
};
use crate::{
    redis::{advance, put},
    rules::Rule,
    world::{Report, Row, Value},
};

/// `resolve::fill` up to its lease.
pub(super) fn claim(pilot: &mut Pilot<'_>, expected: Value) {
    if !pilot.world.replicas[pilot.r].connected {
        pilot.go(At::AskOne(Question::Alone));
        return;
    }
    let lease = Value::Lease(2 * pilot.world.replicas[pilot.r].flights_left + pilot.r as u8);
    pilot.flight().standing = lease;
    pilot.flight().same_connection = true;
    if !pilot.holds(Rule::Lease) {
        pilot.go(At::Select(Lookup::Fill));
    } else if pilot.world.key.value == expected {
        put(&mut pilot.world, lease, Report::Change);
        pilot.go(At::Select(Lookup::Fill));
    } else {
        pilot.go(At::AskOne(Question::Beside));
    }
}

/// `truth::ask`: what the row says, and hard expiry on the way.
pub(super) fn select(pilot: &mut Pilot<'_>, lookup: Lookup) {
    if lookup != Lookup::Verify && lookup != Lookup::Alone {
        pilot.flight().joined_behind = false;
    }
    let next = match pilot.world.row {
        Row::Live => {
            let flight = pilot.flight();
            match lookup {
                Lookup::Fill | Lookup::Refresh => At::Settle,
                Lookup::Verify => At::Keep {
                    long: flight.followed,
                },
                Lookup::Alone => At::Keep { long: false },
                Lookup::Again | Lookup::Beside => {
                    unkept(pilot);
                    return;
                }
            }
        }
        Row::Over => {
            pilot.world.row = Row::Gone;
            At::Publish
        }
        Row::Gone => match lookup {
            Lookup::Fill => At::SettleRefusal,
            Lookup::Refresh | Lookup::Verify => At::Publish,
            Lookup::Alone => At::KeepRefusal,
            Lookup::Again | Lookup::Beside => At::Landing { live: false },
        },
    };
    pilot.go(next);
}

/// Nobody can say. What stands in Redis is used as it is; otherwise there is no answer.
pub(super) fn unanswered(pilot: &mut Pilot<'_>, lookup: Lookup) {
    if lookup != Lookup::Verify {
        *pilot.flight() = Flight::NONE;
    } else if is_expired(pilot) {
        pilot.go(At::Landing { live: false });
    } else {
        pilot.flight().excused = true;
        pilot.go(At::Keep { long: false });
    }
}

/// Whether a command that ends a fill goes where the one that began it went (`resolve::put`).
fn can_settle(pilot: &mut Pilot<'_>) -> bool {
    let connected = pilot.world.replicas[pilot.r].connected;
    connected && (pilot.flight().same_connection || !pilot.holds(Rule::SettleWhereClaimed))
}

/// Whether `swap.lua` puts the successor in place.
fn replaces(pilot: &mut Pilot<'_>) -> bool {
    let standing = pilot.flight().standing;
    let rule = if matches!(standing, Value::Lease(_)) {
        Rule::LeaseCompareAndSet
    } else {
        Rule::RefreshCompareAndSet
    };
    pilot.world.key.value == standing || !pilot.holds(rule) || !pilot.holds(Rule::Lease)
}

/// `resolve::settle`.
pub(super) fn settle(pilot: &mut Pilot<'_>) {
    if !can_settle(pilot) {
        unkept(pilot);
    } else if replaces(pilot) {
        let entry = Value::Own { rewritten: false };
        put(&mut pilot.world, entry, Report::Change);
        pilot.go(At::AskOne(Question::Back));
    } else {
        pilot.go(At::Select(Lookup::Again));
    }
}

/// The other branch of `resolve::fill_under`. What it reads back can only be a refusal.
pub(super) fn settle_refusal(pilot: &mut Pilot<'_>) {
    if can_settle(pilot) && replaces(pilot) {
        put(&mut pilot.world, Value::Refusal, Report::Change);
    }
    pilot.go(At::Landing { live: false });
}

/// `end::publish_refusal`.
pub(super) fn publish(pilot: &mut Pilot<'_>) {
    advance(&mut pilot.world, pilot.r);
    if pilot.world.replicas[pilot.r].connected {
        put(&mut pilot.world, Value::Refusal, Report::Change);
    }
    pilot.go(At::Landing { live: false });
}

/// `keep::unkept`: a live token is answered for, and not kept.
pub(super) fn unkept(pilot: &mut Pilot<'_>) {
    if pilot.holds(Rule::KeepOnlyWhatStands) {
        pilot.go(At::Landing { live: true });
    } else {
        let long = pilot.flight().followed;
        pilot.go(At::Keep { long });
    }
}
