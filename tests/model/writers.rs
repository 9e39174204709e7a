//! Who else writes: Dify's processes, a gateway that revokes, and time.

use crate::{
    Step,
    model::{Model, Revoker},
    redis::{advance, put},
    rules::Rule,
    world::{DifyFill, Local, Report, Revocation, Row, Value, Verdict, World},
};

pub(crate) fn steps(model: &Model, world: &World, next: &mut Vec<(Step, World)>) {
    let mut add = |who, what, change: &dyn Fn(&mut World)| {
        let mut world = *world;
        change(&mut world);
        next.push((Step(who, what), world));
    };
    match model.scenario.revoker {
        Revoker::Nobody => {}
        Revoker::Dify => revoke_as_dify(world, &mut add),
        Revoker::Gateway => revoke_as_gateway(model, world, &mut add),
    }
    if model.scenario.dify_fills {
        fill_as_dify(world, &mut add);
    }
    if model.scenario.dify_rewrites {
        rewrite_as_dify(world, &mut add);
    }
    if model.scenario.token_ends && !world.over {
        add("time", "the token's time is over", &|world| {
            world.over = true;
            if world.row == Row::Live {
                world.row = Row::Over;
            }
            if model.rules.hold(Rule::EntryEndsWithToken) {
                for replica in &mut world.replicas {
                    if matches!(replica.local, Local::Live { .. }) {
                        replica.local = Local::Miss;
                    }
                }
            }
        });
    }
}

type Add<'a> = dyn FnMut(&'static str, &'static str, &dyn Fn(&mut World)) + 'a;

/// Commit, then `DEL`.
fn revoke_as_dify(world: &World, add: &mut Add<'_>) {
    match world.revocation {
        Revocation::NotYet => add("dify", "revokes: commits", &|world| {
            world.row = Row::Gone;
            world.revocation = Revocation::First;
        }),
        Revocation::First => add("dify", "revokes: deletes the key, and says so", &|world| {
            put(world, Value::Absent, Report::Revocation);
            world.revocation = Revocation::Acknowledged;
        }),
        Revocation::Forgotten | Revocation::Second | Revocation::Acknowledged => {}
    }
}

/// `mint::revoke` and `mint::mint`, and then `end::end`, on the first gateway: for the old hash they are the same.
fn revoke_as_gateway(model: &Model, world: &World, add: &mut Add<'_>) {
    let who = "gateway 1";
    let commit_first = model.rules.hold(Rule::CommitFirst);
    let commit = |world: &mut World| world.row = Row::Gone;
    let overwrite = |world: &mut World| {
        if model.rules.hold(Rule::RefusalOverwrites) {
            put(world, Value::Refusal, Report::Revocation);
        }
    };
    let delete = |world: &mut World| {
        if model.rules.hold(Rule::FullRedisDeletes) {
            put(world, Value::Absent, Report::Revocation);
        }
    };
    let forget_if = |world: &mut World, rule| {
        if model.rules.hold(rule) {
            forget(world, 0);
        }
    };
    // What cannot be written is not acknowledged.
    let reaches_redis = world.replicas[0].connected;
    match world.revocation {
        Revocation::NotYet if commit_first => add(who, "revokes: commits", &|world| {
            commit(world);
            world.revocation = Revocation::First;
        }),
        Revocation::NotYet if reaches_redis => add(who, "revokes: writes the refusal", &|world| {
            overwrite(world);
            world.revocation = Revocation::First;
        }),
        Revocation::First => add(who, "revokes: forgets", &|world| {
            forget_if(world, Rule::ForgetBeforeOverwrite);
            world.revocation = Revocation::Forgotten;
        }),
        Revocation::Forgotten if !commit_first => add(who, "revokes: commits", &|world| {
            commit(world);
            world.revocation = Revocation::Second;
        }),
        Revocation::Forgotten if reaches_redis => {
            add(who, "revokes: writes the refusal", &|world| {
                overwrite(world);
                world.revocation = Revocation::Second;
            });
            if world.left.full > 0 {
                add(
                    who,
                    "revokes: deletes the key, for want of room",
                    &|world| {
                        world.left.full -= 1;
                        delete(world);
                        world.revocation = Revocation::Second;
                    },
                );
            }
        }
        Revocation::Second => add(who, "revokes: forgets again, and says so", &|world| {
            forget_if(world, Rule::ForgetAfterOverwrite);
            world.revocation = Revocation::Acknowledged;
        }),
        Revocation::NotYet | Revocation::Forgotten | Revocation::Acknowledged => {}
    }
}

/// `check::forget`. Its two halves stand in the order of `follow::changed`'s, and as there nothing
/// can be inserted between them.
fn forget(world: &mut World, r: usize) {
    advance(world, r);
    world.replicas[r].local = Local::Refused;
}

/// Dify's own check: `GET`, `SELECT`, `SETEX`, and no lease. A lease is a miss to it.
fn fill_as_dify(world: &World, add: &mut Add<'_>) {
    match world.dify_fill {
        DifyFill::NotYet => {
            if matches!(
                world.key.value,
                Value::Absent | Value::Lease(_) | Value::Garbage
            ) {
                add("dify", "checks: reads redis, a miss", &|world| {
                    world.dify_fill = DifyFill::Missed;
                });
            }
        }
        DifyFill::Missed => add("dify", "checks: asks postgres", &|world| {
            let live = world.row == Row::Live;
            world.dify_fill = DifyFill::Found { live };
        }),
        DifyFill::Found { live } => add("dify", "checks: writes redis", &|world| {
            let value = if live {
                Value::Unmarked
            } else {
                Value::Refusal
            };
            put(world, value, Report::Change);
            world.dify_fill = DifyFill::Done;
        }),
        DifyFill::Done => {}
    }
}

/// Dify notes whether the subject belongs to a tenant, in the entry itself: `GET`, `TTL`, `SETEX`
/// of the same object with one member changed. Members that it does not know stay in it.
fn rewrite_as_dify(world: &World, add: &mut Add<'_>) {
    match world.verdict {
        Verdict::NotYet => match world.key.value {
            Value::Absent | Value::Refusal | Value::Garbage => {}
            value => add("dify", "notes a verdict: reads redis", &|world| {
                world.verdict = Verdict::Read(value);
            }),
        },
        Verdict::Read(value) => add("dify", "notes a verdict: writes redis", &|world| {
            let value = match value {
                Value::Own { .. } => Value::Own { rewritten: true },
                Value::Lease(_) => Value::Garbage,
                other => other,
            };
            put(world, value, Report::Change);
            world.verdict = Verdict::Done;
        }),
        Verdict::Done => {}
    }
}
