//! What a replica does about reports: `check/follow.rs`, `store/redis/tracking.rs`, and the
//! supervisor in `store/redis.rs`.

use crate::{
    Step,
    flight::state::Flight,
    model::Model,
    redis::{advance, next_report},
    rules::Rule,
    world::{Handling, Local, Losing, Proof, Report, Track, World},
};

pub(crate) fn steps(model: &Model, world: &World, r: usize, next: &mut Vec<(Step, World)>) {
    let who = ["gateway 1", "gateway 2"][r];
    let mut add = |what, change: &dyn Fn(&mut World)| {
        let mut world = *world;
        change(&mut world);
        next.push((Step(who, what), world));
    };
    let replica = &world.replicas[r];
    handle(model, world, r, &mut add);
    if replica.local != Local::Miss {
        add("its local entry ends", &|world| {
            world.replicas[r].local = Local::Miss;
        });
    }
    if replica.track == Track::Up && world.left.losses > 0 {
        add("loses its reports in silence", &|world| {
            world.left.losses -= 1;
            let replica = &mut world.replicas[r];
            replica.track = Track::Dead;
            replica.reports = [Report::None; 2];
        });
    }
    if r == 0 && world.left.restarts > 0 {
        add("begins anew as a process", &|world| {
            world.left.restarts -= 1;
            restart(world, r);
        });
    }
    lose(model, world, r, &mut add);
    prove(model, world, r, &mut add);
}

type Add<'a> = dyn FnMut(&'static str, &dyn Fn(&mut World)) + 'a;

/// `follow::changed` and `follow::all_changed`, which for one token are the same.
fn handle(model: &Model, world: &World, r: usize, add: &mut Add<'_>) {
    let advance_first = model.rules.hold(Rule::AdvanceBeforeRemove);
    let remove = |world: &mut World| world.replicas[r].local = Local::Miss;
    if let Handling::Half(_) = world.replicas[r].handling {
        add("handles a report, second half", &|world| {
            world.replicas[r].handling = Handling::Nothing;
            if advance_first {
                remove(world);
            } else {
                advance(world, r);
            }
        });
    } else if world.replicas[r].reports[0] != Report::None {
        add("handles a report, first half", &|world| {
            let Some(report) = next_report(world, r) else {
                return;
            };
            world.replicas[r].handling = Handling::Half(report);
            if advance_first {
                advance(world, r);
            } else {
                remove(world);
            }
        });
    }
}

/// `follow::give_up`, when the reports are missed and before another connection is used.
fn lose(model: &Model, world: &World, r: usize, add: &mut Add<'_>) {
    let replica = &world.replicas[r];
    match replica.losing {
        Losing::No => {
            // The task that follows proves or gives up, never both at a time.
            if replica.track == Track::Dead && replica.proof == Proof::No {
                add("misses its reports", &|world| {
                    world.replicas[r].losing = Losing::Begun { renewing: false };
                });
            }
            if !replica.connected {
                add("has another connection, and notes when", &|world| {
                    reconnect(model, world, r);
                });
            }
        }
        Losing::Begun { renewing } => {
            add("notes that nothing is followed", &|world| {
                let replica = &mut world.replicas[r];
                let followed = replica.followed;
                replica.followed = false;
                replica.losing = Losing::Swapped { renewing, followed };
            });
        }
        Losing::Swapped { renewing, followed } => {
            add("moves every generation on", &|world| {
                if model.rules.hold(Rule::AdvanceOnLoss) {
                    advance(world, r);
                }
                world.replicas[r].losing = Losing::Advanced { renewing, followed };
            });
        }
        Losing::Advanced { renewing, followed } => {
            add("ends long lives", &|world| {
                if followed
                    && model.rules.hold(Rule::ShortenOnLoss)
                    && let Local::Live { long, .. } = &mut world.replicas[r].local
                {
                    *long = false;
                }
                lost(world, r, renewing);
            });
        }
    }
}

fn lost(world: &mut World, r: usize, renewing: bool) {
    let replica = &mut world.replicas[r];
    replica.losing = Losing::No;
    replica.noticed = true;
    if renewing {
        replica.connected = true;
        replica.connected_before = true;
        replica.flight.same_connection = false;
        if let Proof::Heard { outdated } = &mut replica.proof {
            *outdated = true;
        }
    } else {
        replica.track = Track::Gone;
    }
}

/// `redis::renew`, up to the point where the connection is used.
fn reconnect(model: &Model, world: &mut World, r: usize) {
    let replica = &mut world.replicas[r];
    if replica.connected_before || model.rules.hold(Rule::DoubtFirstConnection) {
        replica.doubting = true;
        world.key.older[r] = true;
    }
    replica.losing = Losing::Begun { renewing: true };
}

/// `tracking::connect`, `tracking::prove` and `coherence::proven`.
fn prove(model: &Model, world: &World, r: usize, add: &mut Add<'_>) {
    let replica = &world.replicas[r];
    if replica.losing != Losing::No {
        return;
    }
    if replica.track == Track::Gone {
        if !replica.followed && !model.rules.hold(Rule::ShortUntilProven) {
            add("takes itself for told", &|world| {
                world.replicas[r].followed = true;
            });
        }
        add("is told of changes again", &|world| {
            world.replicas[r].track = Track::Up;
        });
    }
    match replica.proof {
        Proof::No if !replica.followed && replica.track == Track::Up && replica.connected => {
            add("hears of its own write", &|world| {
                world.replicas[r].proof = Proof::Heard { outdated: false };
            });
        }
        Proof::No => {}
        Proof::Heard { outdated } => add("takes that for a proof", &|world| {
            let replica = &mut world.replicas[r];
            replica.proof = Proof::No;
            if outdated && model.rules.hold(Rule::ProofInEpoch) {
                return;
            }
            replica.followed = true;
            replica.noticed = replica.noticed && outdated;
        }),
    }
}

fn restart(world: &mut World, r: usize) {
    let replica = &mut world.replicas[r];
    replica.local = Local::Miss;
    replica.followed = false;
    replica.doubting = false;
    replica.track = Track::Gone;
    replica.noticed = true;
    replica.losing = Losing::No;
    replica.proof = Proof::No;
    replica.connected = false;
    replica.connected_before = false;
    replica.reports = [Report::None; 2];
    replica.handling = Handling::Nothing;
    replica.flight = Flight::NONE;
    world.key.older[r] = false;
}
