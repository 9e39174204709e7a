//! What a flight makes of what stands in Redis.

use super::{
    Pilot,
    fill::unkept,
    state::{At, Lookup, Question},
};
use crate::{model::Model, rules::Rule, world::Value};

/// Takes in what stands in Redis; `None` where Redis is away.
fn look(pilot: &mut Pilot<'_>) -> Option<Value> {
    if !pilot.world.replicas[pilot.r].connected {
        return None;
    }
    let flight = pilot.flight();
    flight.backed = true;
    flight.spent = false;
    Some(pilot.world.key.value)
}

/// `entry::understand`: whether a value counts as written by a gateway.
pub(crate) fn is_own(model: &Model, value: Value) -> bool {
    matches!(value, Value::Own { rewritten } if !rewritten || !model.rules.hold(Rule::MarkEndsWithRewrite))
}

/// `coherence::doubts`.
fn doubts(pilot: &Pilot<'_>) -> bool {
    let replica = &pilot.world.replicas[pilot.r];
    let reconnected =
        replica.flight.doubting || replica.doubting && pilot.holds(Rule::DoubtAtJudgement);
    pilot.holds(Rule::DoubtAfterReconnect) && reconnected && pilot.world.key.older[pilot.r]
}

pub(super) fn is_expired(pilot: &Pilot<'_>) -> bool {
    pilot.world.over && pilot.holds(Rule::EntryEndsWithToken)
}

/// `resolve::resolve`, `resolve::refresh` and `resolve::judge`.
pub(super) fn read(pilot: &mut Pilot<'_>, renews: bool) {
    let Some(value) = look(pilot) else {
        pilot.go(At::AskOne(Question::Alone));
        return;
    };
    let long = pilot.flight().followed;
    let next = match value {
        own if renews && is_own(pilot.model, own) => {
            let flight = pilot.flight();
            flight.standing = own;
            flight.same_connection = true;
            At::Select(Lookup::Refresh)
        }
        Value::Absent | Value::Lease(_) => At::Claim(Value::Absent),
        Value::Garbage => At::Claim(Value::Garbage),
        Value::Refusal => At::KeepRefusal,
        Value::Own { .. } | Value::Unmarked if is_expired(pilot) => At::Select(Lookup::Verify),
        own if is_own(pilot.model, own) => {
            if doubts(pilot) {
                At::Select(Lookup::Verify)
            } else {
                At::Keep { long }
            }
        }
        Value::Own { .. } | Value::Unmarked => {
            if pilot.holds(Rule::VerifyUnmarked) {
                At::Select(Lookup::Verify)
            } else {
                At::Keep { long }
            }
        }
    };
    pilot.go(next);
}

/// `resolve::read_back`.
pub(super) fn read_back(pilot: &mut Pilot<'_>) {
    let long = pilot.flight().followed;
    let found = look(pilot);
    let trusted = !(doubts(pilot) && pilot.holds(Rule::DoubtReadBack));
    if found.is_some_and(|value| is_own(pilot.model, value)) && trusted {
        pilot.go(At::Keep { long });
    } else {
        unkept(pilot);
    }
}

/// `resolve::resolve_beside_another`.
pub(super) fn read_beside(pilot: &mut Pilot<'_>) {
    let long = pilot.flight().followed;
    let found = look(pilot);
    let next = match found {
        Some(Value::Refusal) => At::KeepRefusal,
        Some(own) if is_own(pilot.model, own) && !doubts(pilot) && !is_expired(pilot) => {
            At::Keep { long }
        }
        _ => At::Select(Lookup::Beside),
    };
    pilot.go(next);
}
