//! What must never be, in any state. What a flight must not answer is in `flight::land`.

use crate::{
    flight::read::is_own,
    model::{Model, Revoker},
    world::{Local, Losing, Replica, Revocation, Row, Track, Value, World},
};

pub(crate) fn complaint(model: &Model, world: &World) -> Option<&'static str> {
    let acknowledged = world.revocation == Revocation::Acknowledged;
    let complaints = [
        (
            acknowledged && world.replicas.iter().any(keeps_what_was_revoked),
            "a local entry outlives the report of the revocation",
        ),
        (
            acknowledged
                && model.scenario.revoker == Revoker::Gateway
                && matches!(world.replicas[0].local, Local::Live { .. }),
            "the gateway that revoked lets the token in",
        ),
        (
            acknowledged && !world.failed_over && is_own(model, world.key.value),
            "redis holds a gateway's entry of a revoked token",
        ),
        (
            world.replicas.iter().any(keeps_too_long),
            "a long local entry outlives a loss that was noticed",
        ),
        (
            world.over && world.replicas.iter().any(|replica| is_live(replica.local)),
            "a local entry outlives its token",
        ),
        (
            world.row == Row::Live
                && (world.key.value == Value::Refusal
                    || world
                        .replicas
                        .iter()
                        .any(|replica| replica.local == Local::Refused))
                // The wrong way round, that is what happens first.
                && world.revocation == Revocation::NotYet,
            "a live token stands as refused",
        ),
    ];
    let state = complaints.into_iter().find(|(holds, _)| *holds);
    world
        .fault
        .or_else(|| state.map(|(_, complaint)| complaint))
}

fn is_live(local: Local) -> bool {
    matches!(local, Local::Live { .. })
}

fn is_long(local: Local) -> bool {
    matches!(local, Local::Live { long: true, .. })
}

/// Short lives are bounded by the clock. So is a loss that nobody has noticed yet: by the next
/// proof.
fn keeps_what_was_revoked(replica: &Replica) -> bool {
    is_long(replica.local) && !replica.awaits_revocation() && replica.track == Track::Up
}

fn keeps_too_long(replica: &Replica) -> bool {
    is_long(replica.local) && replica.noticed && replica.losing == Losing::No
}
