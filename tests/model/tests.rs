//! With every rule nothing goes wrong, in any order of events; without any of them something does.

use crate::{
    explore::{Violation, explore},
    flight::state::{At, Lookup},
    model::{Model, Scenario},
    rules::{Rule, Rules},
    scenarios::*,
    world::{Local, Revocation, Row, Value, World},
};

type Sight = (&'static str, fn(&World) -> bool);

/// Explores a scenario to its end; each of `sights` must be seen on the way, or the model would
/// prove nothing.
fn holds(scenario: Scenario, sights: &[Sight]) {
    let mut missing = sights.to_vec();
    let model = Model {
        rules: Rules::ALL,
        scenario,
    };
    let report = explore(&model, |world| missing.retain(|(_, seen)| !seen(world)));
    if let Some(violation) = report.violation {
        panic!("{}:\n{violation}", scenario.name);
    }
    eprintln!("{}: {} states", scenario.name, report.states);
    let missing: Vec<_> = missing.into_iter().map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "{}: never {missing:?}", scenario.name);
}

fn without(rule: Rule, scenario: Scenario) -> Option<Violation> {
    let rules = Rules::ALL.without(rule);
    let report = explore(&Model { rules, scenario }, |_| {});
    report.violation
}

/// Shows how it goes wrong without a rule.
fn needs(rule: Rule, scenario: Scenario) {
    let Some(violation) = without(rule, scenario) else {
        panic!("{}: nothing goes wrong without {rule:?}", scenario.name);
    };
    eprintln!("without {rule:?}, {}:\n{violation}\n", scenario.name);
}

const fn is_long(local: Local) -> bool {
    matches!(local, Local::Live { long: true, .. })
}

fn is_revoked(world: &World) -> bool {
    world.revocation == Revocation::Acknowledged
}

fn is_own(world: &World) -> bool {
    matches!(world.key.value, Value::Own { .. })
}

fn flight_is(world: &World, at: At) -> bool {
    world.replicas.iter().any(|replica| replica.flight.at == at)
}

const LOCAL: Sight = ("a long entry", |world| is_long(world.replicas[0].local));

const REVOKED_IN_REDIS: Sight = ("a revoked entry in redis", |world| {
    is_revoked(world) && is_own(world)
});

#[test]
fn two_gateways_and_a_revocation_by_dify() {
    holds(
        TWO_GATEWAYS,
        &[
            ("a long entry of a live token in both", |world| {
                world.row == Row::Live && world.replicas.iter().all(|one| is_long(one.local))
            }),
            ("a fill beside another", |world| {
                flight_is(world, At::Select(Lookup::Beside))
            }),
            ("a lease that is lost", |world| {
                flight_is(world, At::Select(Lookup::Again)) && is_revoked(world)
            }),
        ],
    );
}

#[test]
fn a_fill_of_difys_that_loses_its_race() {
    holds(
        DIFY_FILLS,
        &[
            LOCAL,
            ("a revoked token put back", |world| {
                is_revoked(world) && world.key.value == Value::Unmarked
            }),
            ("an entry that nobody could verify", |world| {
                world.replicas[0].flight.excused && world.replicas[0].local != Local::Miss
            }),
            ("a settle that arrives late", |world| {
                world.straggler.is_some() && is_revoked(world)
            }),
        ],
    );
}

#[test]
fn a_rewrite_of_difys_that_loses_its_race() {
    holds(
        DIFY_REWRITES,
        &[
            LOCAL,
            REVOKED_IN_REDIS,
            ("a lease rewritten", |world| {
                world.key.value == Value::Garbage
            }),
        ],
    );
}

#[test]
fn a_revocation_by_the_gateway_that_fills() {
    holds(
        GATEWAY_REVOKES,
        &[
            LOCAL,
            ("a refusal in the map", |world| {
                is_revoked(world) && world.replicas[0].local == Local::Refused
            }),
        ],
    );
}

#[test]
fn a_revocation_by_another_gateway() {
    holds(
        GATEWAY_REVOKES_BESIDE,
        &[("an entry elsewhere that is yet to be reported", |world| {
            is_revoked(world) && is_long(world.replicas[1].local)
        })],
    );
}

#[test]
fn a_revocation_that_redis_has_no_room_for() {
    holds(
        REDIS_IS_FULL,
        &[
            ("a fill whose lease was deleted", |world| {
                is_revoked(world)
                    && world.left.full == 0
                    && world.key.value == Value::Absent
                    && world.replicas[1].flight.at == At::Select(Lookup::Again)
            }),
            ("an entry elsewhere that is yet to be reported", |world| {
                is_revoked(world) && world.left.full == 0 && is_long(world.replicas[1].local)
            }),
        ],
    );
}

#[test]
fn a_token_whose_time_is_over() {
    holds(
        TOKEN_ENDS,
        &[
            LOCAL,
            ("an entry of it in redis", |world| {
                world.over && is_own(world)
            }),
        ],
    );
}

#[test]
fn ends_of_keys_that_are_not_reported() {
    holds(SILENT_EXPIRIES, &[LOCAL]);
}

#[test]
fn reports_that_are_lost_and_come_again() {
    holds(
        LOSS,
        &[
            ("a long entry that is out of date, unnoticed", |world| {
                is_revoked(world) && is_long(world.replicas[0].local)
            }),
            ("a long entry after a loss and a proof", |world| {
                let replica = &world.replicas[0];
                world.left.losses == 0
                    && replica.flights_left == 0
                    && replica.followed
                    && is_long(replica.local)
            }),
        ],
    );
}

#[test]
fn a_failover_that_forgets_a_revocation() {
    let doubted: Sight = ("a doubt about what came back", |world| {
        world.failed_over && is_own(world) && flight_is(world, At::Select(Lookup::Verify))
    });
    holds(FAILOVER, &[LOCAL, REVOKED_IN_REDIS, doubted]);
    holds(FAILOVER_IN_REVOCATION, &[LOCAL, REVOKED_IN_REDIS, doubted]);
    holds(RESTART, &[LOCAL, REVOKED_IN_REDIS, doubted]);
}

#[test]
fn a_failover_during_a_fill() {
    let straddling: Sight = ("a settle over another connection", |world| {
        let replica = &world.replicas[0];
        replica.connected && replica.flight.at == At::Settle && !replica.flight.same_connection
    });
    holds(FAILOVER_IN_FILL, &[LOCAL, straddling]);
}

#[test]
fn no_rule_about_fills_can_be_left_out() {
    needs(Rule::GenerationCheck, TWO_GATEWAYS);
    needs(Rule::AdvanceBeforeRemove, TWO_GATEWAYS);
    needs(Rule::Lease, TWO_GATEWAYS);
    needs(Rule::LeaseCompareAndSet, TWO_GATEWAYS);
    needs(Rule::RefreshCompareAndSet, DIFY_FILLS);
    needs(Rule::KeepOnlyWhatStands, TWO_GATEWAYS);
    needs(Rule::EntryEndsWithToken, TOKEN_ENDS);
    needs(Rule::VerifyUnmarked, DIFY_FILLS);
    needs(Rule::MarkEndsWithRewrite, DIFY_REWRITES);
    needs(Rule::JoinersAskAnew, TWO_GATEWAYS);
}

#[test]
fn no_rule_about_the_gateways_own_revocations_can_be_left_out_but_one() {
    needs(Rule::RefusalOverwrites, GATEWAY_REVOKES);
    needs(Rule::FullRedisDeletes, REDIS_IS_FULL);
    needs(Rule::CommitFirst, GATEWAY_REVOKES);
    needs(Rule::ForgetAfterOverwrite, GATEWAY_REVOKES);
    // It only has this gateway refuse the token one round trip earlier, before anybody was told.
    for scenario in [GATEWAY_REVOKES, GATEWAY_REVOKES_BESIDE] {
        assert!(without(Rule::ForgetBeforeOverwrite, scenario).is_none());
    }
}

#[test]
fn no_rule_about_losses_can_be_left_out() {
    needs(Rule::GenerationBeforeFollowed, LOSS);
    needs(Rule::AdvanceOnLoss, LOSS);
    needs(Rule::ShortenOnLoss, LOSS);
    needs(Rule::ShortUntilProven, LOSS);
    needs(Rule::ProofInEpoch, RESTART);
}

#[test]
fn no_rule_about_failovers_can_be_left_out() {
    needs(Rule::DoubtAfterReconnect, FAILOVER);
    needs(Rule::DoubtAtJudgement, FAILOVER);
    needs(Rule::DoubtReadBack, FAILOVER_IN_REVOCATION);
    needs(Rule::DoubtFirstConnection, RESTART);
    needs(Rule::SettleWhereClaimed, FAILOVER_IN_REVOCATION);
}

/// Each of the two covers for the other.
///
/// An entry that ends with its key needs no report of that
/// end, and one whose end is reported needs no deadline of its own. Redis reports an end when it
/// comes across it, which may be late, and a deadline costs nothing.
#[test]
fn the_deadline_is_needed_where_redis_does_not_report_the_end_of_a_key() {
    needs(Rule::DeadlineIsPttl, SILENT_EXPIRIES);
    for scenario in [TWO_GATEWAYS, LOSS] {
        assert!(without(Rule::DeadlineIsPttl, scenario).is_none());
    }
}
