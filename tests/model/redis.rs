//! What Redis does: one key, and reports to whoever tracks it.

use crate::{
    Step,
    flight::state::{At, Lookup},
    model::Model,
    rules::Rule,
    world::{Handling, Local, Losing, Replica, Report, Track, Value, World},
};

/// Writes or deletes the key, and reports it. Deleting what is not there reports nothing: then the
/// report that counts is the one of how it went, if that is still on its way.
pub(crate) fn put(world: &mut World, value: Value, report: Report) {
    if value == Value::Absent && world.key.value == Value::Absent {
        if report == Report::Revocation {
            for replica in &mut world.replicas {
                replica.await_revocation();
            }
        }
        return;
    }
    replace(world, value);
    broadcast(world, report);
}

fn replace(world: &mut World, value: Value) {
    world.key.value = value;
    world.key.older = [false; 2];
    for replica in &mut world.replicas {
        replica.flight.backed = false;
        if let Local::Live { backed, .. } = &mut replica.local {
            *backed = false;
        }
    }
}

fn broadcast(world: &mut World, report: Report) {
    for replica in &mut world.replicas {
        if replica.track != Track::Up {
            continue;
        }
        match &mut replica.reports {
            [first @ Report::None, _] | [_, first @ Report::None] => *first = report,
            // Two changes in a row may come as one report: Redis does so within one turn of its
            // loop, and it keeps the queue short.
            [_, last] if *last == Report::Revocation => {}
            [_, last] => *last = report,
        }
    }
}

/// What Redis does unasked.
pub(crate) fn steps(model: &Model, world: &World, next: &mut Vec<(Step, World)>) {
    let mut add = |what, change: &dyn Fn(&mut World)| {
        let mut world = *world;
        change(&mut world);
        next.push((Step("redis", what), world));
    };
    let present = world.key.value != Value::Absent;
    if present && world.left.expiries > 0 {
        add("the key ends with its TTL", &|world| {
            world.left.expiries -= 1;
            end(model, world);
        });
    }
    if present && world.left.evictions > 0 {
        add("the key is evicted or flushed", &|world| {
            world.left.evictions -= 1;
            put(world, Value::Absent, Report::Change);
        });
    }
    if let Some(standing) = world.straggler {
        add("a settle of a flight that gave up arrives", &|world| {
            world.straggler = None;
            let replaced =
                world.key.value == standing || !model.rules.hold(Rule::LeaseCompareAndSet);
            if replaced {
                put(world, Value::Own { rewritten: false }, Report::Change);
            }
        });
    }
    if world.left.failovers > 0 {
        if world.successor != world.key.value {
            add("the successor catches up", &|world| {
                world.successor = world.key.value;
            });
        }
        // A connection made just before breaks just after.
        if !world.replicas.iter().any(is_renewing) {
            add("the successor takes over", &fail_over);
        }
    }
}

fn is_renewing(replica: &Replica) -> bool {
    matches!(
        replica.losing,
        Losing::Begun { renewing: true }
            | Losing::Swapped { renewing: true, .. }
            | Losing::Advanced { renewing: true, .. }
    )
}

/// The end of a TTL: with it ends what has the same deadline.
fn end(model: &Model, world: &mut World) {
    if model.rules.hold(Rule::DeadlineIsPttl) {
        for replica in &mut world.replicas {
            replica.flight.spent |= replica.flight.backed;
            if matches!(replica.local, Local::Live { backed: true, .. }) {
                replica.local = Local::Miss;
            }
        }
    }
    if model.scenario.expiries_are_reported {
        put(world, Value::Absent, Report::Change);
    } else {
        replace(world, Value::Absent);
    }
}

/// Every connection breaks; what the successor does not know has never been.
fn fail_over(world: &mut World) {
    world.left.failovers -= 1;
    world.failed_over = true;
    world.straggler = None;
    replace(world, world.successor);
    for replica in &mut world.replicas {
        replica.connected = false;
        replica.reports = [Report::None; 2];
        if replica.track == Track::Up {
            replica.track = Track::Dead;
        }
    }
}

/// Takes the next report, if there is one.
pub(crate) fn next_report(world: &mut World, replica: usize) -> Option<Report> {
    let replica = &mut world.replicas[replica];
    let [first, second] = replica.reports;
    if first == Report::None || replica.handling != Handling::Nothing {
        return None;
    }
    replica.reports = [second, Report::None];
    Some(first)
}

/// Moves a replica's generation on. Only a flight that has noted it, and may insert, cares.
pub(crate) fn advance(world: &mut World, replica: usize) {
    let flight = &mut world.replicas[replica].flight;
    flight.moved |= matches!(
        flight.at,
        At::AskTwo(_)
            | At::Read(_)
            | At::Keep { .. }
            | At::KeepRefusal
            | At::Select(Lookup::Verify | Lookup::Alone)
    );
}
